"""The graph of pretrained weights: exported once, and with any head the same as an export of its own."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoModelForImageClassification, MobileNetV2Config

from models import pretrained_graph as module
from models.export_onnx import export_onnx
from models.pretrained_graph import Features, key_of, pretrained_graph, with_head
from training.frozen_head import set_layer
from training.network import linear_head

SIDE = 64


@pytest.fixture
def graphs(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GRAPHS", tmp_path / "graphs")
    return tmp_path / "graphs"


def network(labels: int, seed: int = 0):
    torch.manual_seed(seed)
    config = MobileNetV2Config(image_size=SIDE, depth_multiplier=0.35, num_labels=labels)
    return AutoModelForImageClassification.from_config(config).eval()


def test_a_head_of_another_size_goes_into_the_kept_graph_and_answers_as_torch_does(graphs, tmp_path, monkeypatch):
    first = network(3)
    pretrained_graph(first, linear_head(first), SIDE)
    (kept,) = graphs.iterdir()

    monkeypatch.setattr(module, "trace", lambda *_: pytest.fail("exported again"))
    model = network(7)
    graph = pretrained_graph(model, linear_head(model), SIDE)
    pixels = np.random.default_rng(1).standard_normal((5, 3, SIDE, SIDE)).astype(np.float32)
    with torch.inference_mode():
        embeddings = model.mobilenet_v2(torch.from_numpy(pixels)).pooler_output.numpy()
    assert Features(graph).embeddings(pixels) == pytest.approx(embeddings, abs=1e-4)

    generator = np.random.default_rng(2)
    weight, bias = generator.standard_normal((7, embeddings.shape[1])), generator.standard_normal(7)
    set_layer(model, weight, bias)
    assert export_onnx(model, pixels, tmp_path / "model.onnx", with_head(graph, weight, bias)) < 1e-3
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    logits, maps = session.run(["logits", "class_maps"], {"pixel_values": pixels})
    assert logits.shape == (5, 7) and maps.shape[:2] == (5, 7)
    assert maps.mean(axis=(2, 3)) == pytest.approx(logits, abs=1e-2)


def test_other_weights_another_size_and_a_damaged_file_are_exported_anew(graphs, monkeypatch):
    model = network(3)
    assert key_of(model, SIDE) == key_of(network(5), SIDE)
    assert key_of(model, SIDE) != key_of(network(3, seed=1), SIDE)
    assert key_of(model, SIDE) != key_of(model, SIDE * 2)
    graphs.mkdir()
    (graphs / f"{key_of(model, SIDE)}.onnx").write_bytes(b"\xff\xff not a graph")
    exported: list[int] = []
    monkeypatch.setattr(module, "trace", lambda *_: exported.append(1) or onnx.ModelProto())
    assert pretrained_graph(model, linear_head(model), SIDE) is None, "that graph has no embeddings"
    assert exported == [1]


def test_only_a_few_graphs_are_kept_the_latest(graphs, monkeypatch):
    for number in range(module.KEPT + 3):
        module._keep(onnx.ModelProto(), graphs / f"{number}.onnx")
    assert len(list(graphs.iterdir())) == module.KEPT
    assert (graphs / f"{module.KEPT + 2}.onnx").exists()
