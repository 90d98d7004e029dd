"""Files that were made from another file carry its hash, so that none of them answers for other weights.

model.onnx names the model.safetensors it was exported from, model.int8.onnx the model.onnx, both in the graph's
metadata; calibration.json names the model.onnx in `model_sha256`.
"""

from pathlib import Path

import onnxruntime

from .calibration import model_hash

WEIGHTS_FILE = "model.safetensors"
ATTRIBUTES_FILE = "attributes.json"  # names its model.onnx as calibration.json does
WEIGHTS_KEY = "weights_sha256"  # in model.onnx
GRAPH_KEY = "graph_sha256"  # in model.int8.onnx


def is_of_other_weights(session: onnxruntime.InferenceSession, folder: Path) -> bool:
    """Whether model.onnx says that it was exported from another model.safetensors than the one beside it."""
    weights, parent = folder / WEIGHTS_FILE, _recorded(session, WEIGHTS_KEY)
    return parent is not None and weights.is_file() and parent != model_hash(weights)


def is_of_other_graph(session: onnxruntime.InferenceSession, graph: Path) -> bool:
    """Whether model.int8.onnx was made from another model.onnx than `graph`, or does not say from which."""
    return _recorded(session, GRAPH_KEY) != model_hash(graph)


def _recorded(session: onnxruntime.InferenceSession, key: str) -> str | None:
    value = session.get_modelmeta().custom_metadata_map.get(key)
    return None if value is None else str(value)
