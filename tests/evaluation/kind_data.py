"""Two kinds of image in colors that the tiny model tells apart, images of other things, and embeddings for it."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.images import FileImage
from data_prep.pipeline.schema import Options, Row, Source
from tests.make_tiny_model import LABELS, TAXONOMY

COLORS = {"Tshirts": (200, 60, 60), "Shirts": (60, 200, 60), "Flats": (60, 60, 200), "Scarves": (30, 30, 30)}
PHOTOS = {"tee": "Tshirts", "blouse": "Shirts", "shoe": "Flats"}  # by names of their own
LABEL_MAP = {"tee": ["Tshirts"], "blouse": ["Shirts"], "shoe": ["Footwear"]}
SPLITS = {"train": 20, "validation": 110, "test": 40}  # images of each class


def colored(label: str, generator: np.random.Generator, spread: float) -> Image.Image:
    color = np.array(COLORS[label]) + generator.normal(scale=spread, size=3)
    pixels = color + generator.normal(scale=20, size=(12, 10, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_kind(output: Path, classes: dict[str, str], spread: float, levels: tuple[str, ...], seed: int) -> Path:
    """A prepared dataset. classes: {name in the dataset: label whose color its images have}."""
    generator, rows, images = np.random.default_rng(seed), [], output.with_name(f"{output.name}_images")
    images.mkdir(parents=True)
    for split, count in SPLITS.items():
        for name, label in classes.items():
            names = dict(zip(levels, TAXONOMY["paths"][label], strict=True)) if len(levels) > 1 else {levels[0]: name}
            for number in range(count):
                file = f"{split} {name} {number}.png"
                colored(label, generator, spread).save(images / file)
                rows.append(Row(file, FileImage(str(images), file), file, file, names, split))
    source = Source(
        output.name, "tests", "cc0-1.0", levels, levels[-1], levels if len(levels) > 1 else (), drop_leaks=False
    )
    write_dataset(rows, source, Options(output=output))
    return output


def write_others(folder: Path, seed: int) -> Path:
    """Bright grays: no color leads."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(40):
        level = generator.integers(150, 255)
        noise = generator.normal(scale=20, size=(12, 10, 3))
        Image.fromarray(np.clip(level + noise, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def with_embeddings(folder: Path) -> Path:
    """The tiny model, whose embeddings are the means of the channels."""
    graph = onnx.load(folder / "model.onnx")
    for node in graph.graph.node:
        for names in (node.input, node.output):
            names[:] = ["embeddings" if name == "features" else name for name in names]
    graph.graph.output.append(helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 3]))
    onnx.save(graph, folder / "model.onnx")
    return folder


def write_catalog(output: Path) -> Path:
    return write_kind(output, {label: label for label in LABELS}, 6, tuple(TAXONOMY["levels"]), seed=0)


def write_photos(output: Path) -> Path:
    return write_kind(output, PHOTOS, 40, ("label",), seed=1)
