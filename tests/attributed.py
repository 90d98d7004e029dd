"""Drawn products whose color is their category and whose stripes are an attribute, and a tiny model that says both."""

import io
from pathlib import Path

import onnx
from make_tiny_model import COLOR_FOR_LABEL, TAXONOMY, write_calibration, write_tiny_model
from onnx import TensorProto, helper
from PIL import Image, ImageDraw

from data_prep.pipeline.images import FileImage
from data_prep.pipeline.schema import Row

PATTERNS = ("Plain", "Striped")
SEEDS = {"train": range(10), "validation": range(10, 25), "test": range(25, 30)}


def draw_striped(label: str, pattern: str, seed: int = 0) -> bytes:
    """A PNG in the label's color, with a white stripe across its middle if it is striped."""
    image = Image.new("RGB", (40, 40), COLOR_FOR_LABEL[label])
    if pattern == "Striped":
        ImageDraw.Draw(image).rectangle((0, 15 + seed % 3, 40, 19 + seed % 5), fill="white")
    else:
        image.putpixel((seed % 40, seed // 40), (9, 9, 9))  # or all of a label would be one file
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def write_striped_dataset(folder: Path) -> Path:
    """Label columns articleType … masterCategory, and pattern and fabric; the fabric is hardly ever stated."""
    from data_prep.pipeline.build import write_dataset
    from data_prep.pipeline.schema import Options, Source

    rows = []
    for split, seeds in SEEDS.items():
        for label, pattern, seed in [
            (label, pattern, seed) for label in COLOR_FOR_LABEL for pattern in PATTERNS for seed in seeds
        ]:
            name = f"{label} {pattern} {seed}"
            (folder / f"{name}.png").write_bytes(draw_striped(label, pattern, seed))
            labels = dict(zip(TAXONOMY["levels"], TAXONOMY["paths"][label], strict=True))
            labels |= {
                "pattern": pattern,
                "fabric": ("Cotton", "Wool")[seed % 2] if seed % 5 else "NA",
                "origin": "here",
            }
            rows.append(Row(f"{name}.png", FileImage(str(folder), f"{name}.png"), name, name, labels, split))
    columns = ("articleType", "subCategory", "masterCategory", "pattern", "fabric", "origin")
    source = Source("Striped", "tests", "cc0-1.0", columns, "articleType", tuple(TAXONOMY["levels"]), drop_leaks=False)
    write_dataset(rows, source, Options(output=folder / "prepared"))
    return folder / "prepared"


def write_embedding_model(folder: Path) -> Path:
    """The tiny model, calibrated, with embeddings: the means of the three channels."""
    write_calibration(write_tiny_model(folder), least=0.5)
    graph = onnx.load(folder / "model.onnx")
    graph.graph.node.append(helper.make_node("Identity", ["features"], ["embeddings"]))
    graph.graph.output.append(helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 3]))
    onnx.save(graph, folder / "model.onnx")
    return folder


def write_attributed_model(folder: Path, dataset: Path) -> Path:
    """With the attributes pattern and fabric."""
    from training.attributes import main

    write_embedding_model(folder)
    main(["--model", str(folder), "--dataset", str(dataset), "--attributes", "pattern", "fabric"])
    return folder
