"""A model folder small enough for tests: its labels are the colors of an image, so every right answer is known."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE = 32
# The label's logit is GAIN times the mean of its channel, all within [-1, 1]; "Scarves" stands for a dark image.
LABELS = ("Tshirts", "Shirts", "Flats", "Scarves")
GAIN = 8.0
WEIGHTS = GAIN * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32)
TAXONOMY = {
    "levels": ["masterCategory", "subCategory", "articleType"],
    "paths": {
        "Tshirts": ["Apparel", "Topwear", "Tshirts"],
        "Shirts": ["Apparel", "Topwear", "Shirts"],
        "Flats": ["Footwear", "Shoes", "Flats"],
        "Scarves": ["Apparel", "Scarves", "Scarves"],
    },
}
COLOR_FOR_LABEL = {"Tshirts": "#ff0000", "Shirts": "#00ff00", "Flats": "#0000ff", "Scarves": "#000000"}


def write_tiny_model(folder: Path, weights: np.ndarray = WEIGHTS, batch: str | int = "batch", side: int = SIDE) -> Path:
    """Write model.onnx, config.json and preprocessor_config.json; weights: (labels, 3) float32."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(weights, batch, side), folder / "model.onnx")
    config = {"id2label": {str(i): label for i, label in enumerate(LABELS)}, "taxonomy": TAXONOMY}
    (folder / "config.json").write_text(json.dumps(config))
    preprocessor = {
        "size": {"height": SIDE, "width": SIDE},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "rescale_factor": 1 / 255,
        "resample": 2,
        "do_pad_to_square": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def write_calibration(folder: Path, least: float | None = 0.9, **changes) -> Path:
    """A calibration.json that fits the tiny model; `least`: the threshold of every category."""
    thresholds = {
        level: {path[depth]: least for path in TAXONOMY["paths"].values()}
        for depth, level in enumerate(TAXONOMY["levels"])
    }
    content = {"version": 1, "temperature": 1.0, "target_precision": 0.99, "thresholds": thresholds} | changes
    (folder / "calibration.json").write_text(json.dumps(content))
    return folder


def save_image(path: Path, label: str, size: tuple[int, int] = (60, 80)) -> Path:
    """An image that the tiny model calls `label`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOR_FOR_LABEL[label]).save(path)
    return path


def _graph(weights: np.ndarray, batch: str | int, side: int) -> onnx.ModelProto:
    pixel_values = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [batch, 3, side, side])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, len(weights)])
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weights"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(nodes, "tiny", [pixel_values], [logits], [numpy_helper.from_array(weights, "weights")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
