"""Write the graphs of a model folder, each checked on images of the validation split before it appears."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from app.classifier import Classifier
from app.errors import UserError
from app.files import replacing
from app.images import load_image, preprocess, target_size
from app.model_files import CONFIG_FILE, INT8_FILE, MODEL_FILE, PREPROCESSOR_FILE, ModelError
from app.model_json import read_json
from app.parents import WEIGHTS_FILE
from data_prep.pipeline.empty_splits import check_filled
from data_prep.pipeline.prepared import load_prepared
from evaluation.predictions import read_pixels, run_split, some_images
from models.export_onnx import CHECKED_IMAGES, ExportError, export_onnx
from models.half import halve_weights
from models.quantize import BATCH_SIZE, quantize, time_ratio
from models.registry import load_trained
from models.stock_processor import adopt_stock_processor, check_stock_processor

STOCK_IMAGES = 16  # images that transformers' processor has to read as predict.py does
RANGE_IMAGES = 256  # training images that give the ranges of int8 activations
MIN_AGREEMENT = 0.99  # of the int8 graph's labels with the float graph's
MAX_LOSS = 0.003  # accuracy that int8 may cost


def export_folder(folder: Path, dataset: str, half: bool = False) -> None:
    """Write model.onnx from the safetensors. half: round these to 16 bits first. Raises ExportError or UserError."""
    if not (folder / WEIGHTS_FILE).is_file():
        raise UserError(f"--model {folder}: no {WEIGHTS_FILE} to export; take the folder that train.py wrote")
    pixels = validation_pixels(folder, label_of(folder), dataset)
    adopt_stock_processor(folder)
    check_stock_processor(folder, validation_images(label_of(folder), dataset, STOCK_IMAGES))
    if half:
        halve_weights(folder)
    model = load_trained(folder)
    difference = export_onnx(model, pixels, folder / MODEL_FILE)
    size = (folder / MODEL_FILE).stat().st_size / 1e6
    print(f"{folder / MODEL_FILE}: {size:.1f} MB, probabilities within {difference:.0e} of torch's")


def label_of(folder: Path) -> str:
    """The column of the dataset that the model learned."""
    try:
        return read_json(folder / CONFIG_FILE, ModelError)["taxonomy"]["levels"][-1]
    except (KeyError, IndexError, TypeError):
        raise ModelError(f"{folder / CONFIG_FILE} has no taxonomy, which names the label column") from None


def validation_pixels(folder: Path, label: str, dataset: str) -> np.ndarray:
    """Validation images as the model reads them: (images, 3, height, width) float32."""
    preprocessor = read_json(folder / PREPROCESSOR_FILE, ModelError)
    wanted = target_size(preprocessor)
    images = validation_images(label, dataset, CHECKED_IMAGES)
    return np.stack([preprocess(load_image(image, wanted), preprocessor) for image in images])


def validation_images(label: str, dataset: str, count: int) -> Iterator[bytes]:
    """So many files, spread over the split."""
    prepared = load_prepared(dataset, label, ["validation"])["validation"]
    check_filled(dataset, {"validation": prepared})
    return some_images(prepared, count)


def quantize_folder(folder: Path, dataset: str) -> None:
    """Write model.int8.onnx if it is as good as model.onnx on validation. Raises ExportError or UserError."""
    classifier = Classifier.load(folder, precision="fp32", calibrated=False)
    check = Int8Check(classifier, folder, dataset)
    training = read_pixels(classifier, dataset, "train", RANGE_IMAGES)
    with replacing(folder / INT8_FILE) as partial:
        float_layers = quantize(folder / MODEL_FILE, partial, training, check)
        if float_layers is None:
            raise ExportError(f"no int8 graph was good enough; the last {check.verdict}")
        speedup = check_worthwhile(folder / MODEL_FILE, partial, training[:BATCH_SIZE])
    size = (folder / INT8_FILE).stat().st_size / 1e6
    print(f"{folder / INT8_FILE}: {size:.1f} MB, {len(float_layers)} layers in float, {speedup:.1f} times as fast")
    print(f"it {check.verdict}")


def check_worthwhile(source: Path, quantized: Path, pixels: np.ndarray) -> float:
    """How many times as fast the int8 graph is. Raises ExportError unless it is smaller and faster."""
    before, after = (path.stat().st_size / 1e6 for path in (source, quantized))
    speedup = time_ratio(source, quantized, pixels)
    if after >= before or speedup <= 1:
        raise ExportError(
            f"an int8 graph gains nothing here: {after:.1f} MB instead of {before:.1f}, {speedup:.2f} times as fast as "
            f"{MODEL_FILE}"
        )
    return speedup


class Int8Check:
    """Compares int8 graphs with the float graph on the validation split. verdict: what the last one loses."""

    def __init__(self, classifier: Classifier, folder: Path, dataset: str):
        self.folder, self.dataset = folder, dataset
        split = run_split(classifier, dataset, "validation")
        self.expected, self.truth = split.logits.argmax(axis=1), split.truth
        self.verdict = ""

    def __call__(self, candidate: Path, float_layers: int) -> bool:
        """Whether the graph in the file `candidate` is good enough."""
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copy(candidate, Path(scratch, MODEL_FILE))
            for name in (CONFIG_FILE, PREPROCESSOR_FILE):
                shutil.copy(self.folder / name, scratch)
            predicted = run_split(Classifier.load(scratch), self.dataset, "validation").logits.argmax(axis=1)
        agreement = float((predicted == self.expected).mean())
        loss = float((self.expected == self.truth).mean() - (predicted == self.truth).mean())
        self.verdict = (
            f"agrees with fp32 on {agreement:.2%} of {len(self.truth)} validation images (at least "
            f"{MIN_AGREEMENT:.0%}) and loses {100 * loss:.2f} points of accuracy (at most {100 * MAX_LOSS:.1f})"
        )
        print(f"with {float_layers} layers in float it {self.verdict}", file=sys.stderr)
        return agreement >= MIN_AGREEMENT and loss <= MAX_LOSS
