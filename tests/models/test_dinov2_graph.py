"""DINOv2 out of a graph: every weight under the name that transformers has for it, and none taken unchecked."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import Dinov2Config, Dinov2Model

from models import dinov2_graph
from models.dinov2_graph import GraphError, read_dinov2
from models.registry import MODELS

WIDTH, SIDE = 12, 42
BEFORE = {now: before for before, now in dinov2_graph.RENAMED.items()}


@pytest.fixture
def tiny(monkeypatch) -> Dinov2Model:
    """A DINOv2 of one layer with random weights, in the place of the real one."""
    config = partial(Dinov2Config, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2)
    monkeypatch.setitem(MODELS, "dinov2_small", replace(MODELS["dinov2_small"], config=config))
    monkeypatch.setattr(dinov2_graph, "IMAGE_SIZE", SIDE)
    monkeypatch.setattr(dinov2_graph, "NUM_POSITIONS", 1 + (SIDE // 14) ** 2)
    torch.manual_seed(0)
    model = Dinov2Model(config(image_size=SIDE)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def write_graph(model: Dinov2Model, path: Path) -> Path:
    """The weights as PyTorch's exporter stored them: linear ones transposed and without a name of their own."""
    weights, nodes = [], []
    for name, tensor in model.state_dict().items():
        value = tensor.numpy()
        for now, before in BEFORE.items():
            name = name.replace(now, before)
        if name == "embeddings.position_embeddings":
            for number, part in enumerate((value[:, :1], value[:, 1:])):
                weights.append(numpy_helper.from_array(np.ascontiguousarray(part), f"onnx::Concat_{number}"))
        elif name.startswith("encoder.layer") and name.endswith(".weight") and value.ndim == 2:
            own = f"onnx::MatMul_{len(weights)}"
            weights.append(numpy_helper.from_array(np.ascontiguousarray(value.T), own))
            layer = name.removesuffix(".weight")
            path_of_layer = layer.replace(".", "/").replace("layer/0", "layer.0")
            nodes.append(
                helper.make_node("MatMul", ["x", own], [f"y{len(nodes)}"], f"/backbone/{path_of_layer}/MatMul")
            )
        elif name != "embeddings.mask_token":
            weights.append(numpy_helper.from_array(value, f"backbone.{name}"))
    weights.append(numpy_helper.from_array(np.zeros(3, np.float32), "decoder.final_conv.bias"))
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    onnx.save(helper.make_model(helper.make_graph(nodes, "saliency", [image], [image], weights)), path)
    return path


def test_every_weight_gets_the_name_that_transformers_has_for_it(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(dinov2_graph, "difference_from", lambda graph, model: 0.0)
    read = read_dinov2(write_graph(tiny, tmp_path / "graph.onnx")).state_dict()
    for name, tensor in tiny.state_dict().items():
        assert name == "embeddings.mask_token" or torch.equal(read[name], tensor), name


def test_a_graph_that_computes_something_else_is_refused(tiny, tmp_path, monkeypatch):
    path = write_graph(tiny, tmp_path / "graph.onnx")
    monkeypatch.setattr(dinov2_graph, "difference_from", lambda graph, model: 0.01)
    with pytest.raises(GraphError, match=r"compute something else than the graph: off by 1.0e-02"):
        read_dinov2(path)


def test_a_graph_without_one_of_the_weights_is_refused_by_its_name(tiny, tmp_path):
    path = write_graph(tiny, tmp_path / "graph.onnx")
    graph = onnx.load(path)
    (bias,) = (w for w in graph.graph.initializer if w.name == "backbone.layernorm.bias")
    graph.graph.initializer.remove(bias)
    onnx.save(graph, path)
    with pytest.raises(GraphError, match="lacks weights of DINOv2-small: layernorm.bias"):
        read_dinov2(path)
