"""Make sure that stock transformers reads images as this project does, so that a folder gives one answer everywhere.

    adopt_stock_processor(folder)                   # a folder of before names the torchvision processor
    check_stock_processor(folder, images)           # ExportError unless both make the same pixels

preprocessor_config.json names `PilBackend` (transformers 5.4 and later), which resizes with Pillow, as app/images.py
does. `ViTImageProcessor` resizes with torchvision there: it rounds some pixels one level off, and probabilities then
move by up to 0.003.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
from PIL import Image
from transformers import AutoImageProcessor
from transformers.image_utils import load_image as stock_load_image

from app.files import write_json
from app.images import load_image, preprocess, target_size
from app.model_files import PREPROCESSOR_FILE, ModelError
from app.model_json import read_json
from models.export_onnx import ExportError

STOCK_PROCESSOR = "PilBackend"
OF_TORCHVISION = "ViTImageProcessor"
SIZES = ((60, 80), (400, 300), (1, 30))  # (width, height) of drawn images; one more is far larger than the input
LARGE = 10  # times the side of the input: what a JPEG decoder could reduce while it decodes
TOLERANCE = 1e-5  # of normalized pixels, whose levels are about 0.01 apart


def adopt_stock_processor(folder: Path) -> None:
    """Name the processor that resizes with Pillow where the folder's own differs in nothing else."""
    path = folder / PREPROCESSOR_FILE
    content = read_json(path, ModelError)
    if content.get("image_processor_type") == OF_TORCHVISION and not content.get("do_pad_to_square", False):
        write_json(path, content | {"image_processor_type": STOCK_PROCESSOR})


def check_stock_processor(folder: Path, images: Iterable[bytes] = ()) -> float:
    """The largest difference of normalized pixels, over drawn images and these. Raises ExportError.

    images: encoded ones of the dataset. They are decoded once for both: color profiles and transparency, which stock
    tools do not look at, are not a matter of the processor.
    """
    config = read_json(folder / PREPROCESSOR_FILE, ModelError)
    if config.get("do_pad_to_square", False):
        raise ExportError(
            f"{folder / PREPROCESSOR_FILE} pads images to a square, as no processor of transformers does: the folder "
            "would answer otherwise there. Train again: train.py resizes without padding"
        )
    processor = AutoImageProcessor.from_pretrained(folder)
    wanted, largest = target_size(config), 0.0
    pairs = [(load_image(data, wanted), stock_load_image(Image.open(io.BytesIO(data)))) for data in drawn(config)]
    pairs += [(image, image) for image in map(load_image, images)]
    for ours, theirs in pairs:
        stock = np.asarray(processor(theirs, return_tensors="np")["pixel_values"][0])
        own = preprocess(ours, config)
        difference = float(np.abs(stock - own).max()) if stock.shape == own.shape else float("inf")
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{type(processor).__name__} of transformers reads an image of {theirs.width}x{theirs.height} pixels "
                f"otherwise than predict.py (by {difference:.1e}): {folder / PREPROCESSOR_FILE} must name "
                f"{STOCK_PROCESSOR} and hold what train.py writes"
            )
        largest = max(largest, difference)
    return largest


def drawn(config: dict) -> Iterator[bytes]:
    """Encoded noise, in which every pixel counts: small, elongated, and far larger than what the model reads."""
    generator = np.random.default_rng(0)
    side = LARGE * max(config["size"].values())
    for number, (width, height) in enumerate((*SIZES, (side, side * 3 // 4))):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG" if number == 0 else "JPEG", quality=90)
        yield data.getvalue()
