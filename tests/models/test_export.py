"""Exported graphs compute what torch does, carry embeddings and class maps, are small; int8 is as good or absent."""

import json
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from transformers import (
    Dinov2Config,
    Dinov2ForImageClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

import export
from app.calibration import model_hash
from app.classifier import Classifier
from app.images import ImageError
from app.model_files import ModelError
from evaluation import checked_export
from models import export_onnx as exporter
from models import quantize
from models.export_onnx import ExportError, compact_weights, export_onnx
from models.onnx_outputs import GraphOutputs
from models.small_cnns import BasicCNNConfig, BasicCNNForImageClassification
from tests.make_tiny_model import write_tiny_model

SIDE = 64
TINY = {"num_labels": 5, "image_size": SIDE}
TRANSFORMER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 16}


def small_model(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "cnn":
        model = BasicCNNForImageClassification(BasicCNNConfig(widths=[8, 16, 32, 32], **TINY))
    elif kind == "mobilenet":
        model = MobileNetV2ForImageClassification(MobileNetV2Config(depth_multiplier=0.35, **TINY))
    elif kind == "vit":
        model = ViTForImageClassification(ViTConfig(intermediate_size=64, **TRANSFORMER, **TINY))
    else:
        model = Dinov2ForImageClassification(Dinov2Config(**TRANSFORMER, **TINY))
    return model.eval()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("kind", ["cnn", "mobilenet", "vit", "dino"])
def test_embeddings_are_what_the_head_reads_and_maps_what_each_place_says(kind, pixels):
    model, given = small_model(kind), torch.from_numpy(pixels)
    outputs = GraphOutputs(model, given)
    assert outputs.names == ["logits", "embeddings", "class_maps"]
    with torch.inference_mode():
        logits, embeddings, maps = outputs(given)
        head = model.get_submodule(outputs.head)
        assert torch.allclose(head(embeddings), logits, atol=1e-5)
    assert maps.shape[:2] == logits.shape
    assert maps.shape[2] == maps.shape[3] > 1
    if kind != "vit":  # its logits come from the class token alone
        assert torch.allclose(maps.mean(dim=(2, 3)), logits, atol=1e-4)


def test_a_head_that_does_not_read_an_average_has_no_class_maps(pixels):
    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Linear(3 * 16, 8), torch.nn.Linear(8, 5)

        def forward(self, pixel_values):
            pooled = torch.nn.functional.adaptive_avg_pool2d(pixel_values, 4).flatten(1)
            logits = self.last(self.first(pooled).relu())
            return type("Output", (), {"logits": logits})()

    assert GraphOutputs(Flat().eval(), torch.from_numpy(pixels)).names == ["logits", "embeddings"]


@pytest.fixture(scope="module")
def graph(pixels, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    assert export_onnx(small_model("cnn"), pixels, path) < 1e-3
    return path


def run(path: Path, pixels: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits", "embeddings", "class_maps"], {"pixel_values": pixels})


def test_the_graph_takes_any_batch_and_gives_all_three_outputs(graph, pixels):
    alone = [run(graph, pixels[row : row + 1]) for row in range(4)]
    for together, single in zip(run(graph, pixels), zip(*alone, strict=True), strict=True):
        assert together == pytest.approx(np.concatenate(single), abs=1e-5)


@pytest.fixture(scope="module")
def classifier(graph) -> Classifier:
    config = {"id2label": {str(i): f"label {i}" for i in range(5)}}
    preprocessor = {"size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (graph.parent / "config.json").write_text(json.dumps(config))
    (graph.parent / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return Classifier.load(graph.parent, workers=2)


def test_the_classifier_gives_embeddings_of_length_1_in_order(classifier):
    images = [Image.effect_noise((40, 40), spread).convert("RGB") for spread in range(10, 110, 10)]
    together = classifier.embed(images)
    assert together.shape == (10, 32)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    alone = np.concatenate([classifier.embed([image]) for image in images])
    assert together == pytest.approx(alone, abs=1e-5)
    assert classifier.embed([]).shape[0] == 0


def test_a_bad_image_among_those_to_embed_is_named(classifier):
    with pytest.raises(ImageError, match="image 1: .*empty"):
        classifier.embed([Image.new("RGB", (8, 8)), b""])


def test_class_maps_come_from_the_graph(classifier, pixels):
    maps = classifier.class_maps(pixels)
    assert maps.shape[:2] == (4, 5)
    assert maps.mean(axis=(2, 3)) == pytest.approx(classifier.logits(pixels), abs=1e-4)


def test_a_graph_with_logits_only_says_what_it_lacks(tmp_path):
    plain = Classifier.load(write_tiny_model(tmp_path / "model"))
    for ask in (lambda: plain.embed([]), lambda: plain.class_maps(np.zeros((1, 3, 32, 32), np.float32))):
        with pytest.raises(ModelError, match="has no (embeddings|class_maps); python export.py"):
            ask()


def test_large_weights_take_16_bits_in_the_file(graph):
    large = [tensor for tensor in onnx.load(graph).graph.initializer if np.prod(tensor.dims) >= 4096]
    assert len(large) >= 3
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.INT16}
    assert not list(graph.parent.glob("model.onnx.*"))


def test_compact_weights_are_nearly_the_same(graph):
    values = np.random.default_rng(0).normal(size=(64, 80)).astype(np.float32) * np.logspace(-3, 3, 64)[:, None]
    weights = onnx.numpy_helper.from_array(values.astype(np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["w", "x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", [80, 1]), ("y", [64, 1]))]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "one", ends[:1], ends[1:], [weights]),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=9,
    )
    ones, session = np.ones((80, 1), np.float32), onnxruntime.InferenceSession
    before = session(model.SerializeToString()).run(None, {"x": ones})[0]
    after = session(compact_weights(model).SerializeToString()).run(None, {"x": ones})[0]
    largest = np.abs(values).max(axis=1, keepdims=True)
    assert (np.abs(after - before) / largest).max() < 80 * 1e-4
    assert not np.array_equal(after, before)


def test_a_graph_that_computes_something_else_is_not_written(graph, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "trace", lambda *_: onnx.load(graph))  # which takes seconds
    monkeypatch.setattr(exporter, "MAX_FLOAT32_DIFFERENCE", 0.0)
    with pytest.raises(ExportError, match="differ from torch"):
        export_onnx(small_model("cnn"), pixels, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


# --- int8 ------------------------------------------------------------------------------------------------------------


def test_int8_agrees_with_fp32_and_gives_the_same_outputs(graph, pixels, tmp_path):
    target = tmp_path / "model.int8.onnx"
    seen = []
    kept = quantize.quantize(graph, target, pixels, lambda path, number: seen.append(number) or number > 0)
    assert (len(kept), seen) == (quantize.BLOCK, [0, quantize.BLOCK])
    expected, quantized = run(graph, pixels), run(target, pixels)
    assert [output.shape for output in quantized] == [output.shape for output in expected]
    assert np.abs(quantized[0] - expected[0]).max() < 0.2 * np.abs(expected[0]).max()
    operations = {node.op_type for node in onnx.load(target).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operations


def test_int8_that_is_not_good_enough_leaves_no_file(graph, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "FLOAT_BLOCKS", (0,))
    assert quantize.quantize(graph, tmp_path / "model.int8.onnx", pixels, lambda path, number: False) is None
    assert not list(tmp_path.iterdir())


def test_precision_is_chosen_by_what_folder_and_processor_offer(tmp_path, monkeypatch):
    folder = write_tiny_model(tmp_path / "model")
    assert Classifier.load(folder).precision == "fp32"
    with pytest.raises(ModelError, match="no model.int8.onnx; make it with"):
        Classifier.load(folder, precision="int8")
    graph = onnx.load(folder / "model.onnx")
    onnx.helper.set_model_props(graph, {"graph_sha256": model_hash(folder / "model.onnx")})
    onnx.save(graph, folder / "model.int8.onnx")
    for able, chosen in ((True, "int8"), (False, "fp32")):
        monkeypatch.setattr("app.model_files._cpu_computes_int8", lambda able=able: able)
        assert Classifier.load(folder).precision == chosen
    assert Classifier.load(folder, precision="fp32").precision == "fp32"


@pytest.mark.parametrize(("given", "message"), [({"precision": "int4"}, "'int4'"), ({"device": "tpu"}, "'tpu'")])
def test_unknown_precisions_and_devices_are_named(tmp_path, given, message):
    with pytest.raises(ModelError, match=message):
        Classifier.load(write_tiny_model(tmp_path / "model"), **given)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ModelError, match="onnxruntime-gpu"):
        Classifier.load(write_tiny_model(tmp_path / "model"), device="cuda")


# --- the command -----------------------------------------------------------------------------------------------------


def test_a_trained_folder_is_exported_and_quantized_or_told_what_is_lost(trained, drawn_dataset, tmp_path, capsys):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (folder / name).write_bytes((trained / name).read_bytes())
    processor = (folder / "preprocessor_config.json").read_text()  # its resizing changed with transformers 5
    (folder / "preprocessor_config.json").write_text(processor.replace("PilBackend", "ViTImageProcessor"))
    export.main(["--model", str(folder), "--dataset", str(drawn_dataset)])
    assert "within" in capsys.readouterr().out
    assert json.loads((folder / "preprocessor_config.json").read_text()) == json.loads(processor)
    assert b".py" not in (folder / "model.onnx").read_bytes(), "no stack trace of this machine goes out with the model"
    # At 32 px MobileNetV2's last map is one place, which says nothing about where.
    assert Classifier.load(folder).outputs == {"logits", "embeddings"}


def test_int8_that_loses_too_much_ends_with_the_loss(trained, drawn_dataset, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json", "model.onnx"):
        (folder / name).write_bytes((trained / name).read_bytes())
    monkeypatch.setattr(checked_export, "MIN_AGREEMENT", 1.1)  # more than any graph reaches
    monkeypatch.setattr(quantize, "FLOAT_BLOCKS", (0,))
    monkeypatch.setattr(quantize, "by_error", lambda folded, ranges, layers, pixels: [layers])
    with pytest.raises(SystemExit, match="agrees with fp32 on .* loses"):
        export.main(["--model", str(folder), "--int8", "--dataset", str(drawn_dataset)])
    assert not (folder / "model.int8.onnx").exists()


@pytest.mark.parametrize(("more", "message"), [([], "no model.safetensors"), (["--int8"], "is not a prepared dataset")])
def test_wrong_folders_are_explained(tmp_path, more, message, capsys):
    folder = write_tiny_model(tmp_path / "model")
    with pytest.raises(SystemExit) as caught:
        export.main(["--model", str(folder), "--dataset", "nowhere", *more])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
