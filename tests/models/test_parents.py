"""Graphs and calibrations name what they were made from, and answer for nothing else."""

import shutil
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification

import export
from app.calibration import model_hash
from app.classifier import Classifier
from app.model_files import ModelError
from evaluation import checked_export
from models.export_onnx import ExportError
from models.half import halve_weights
from tests.make_tiny_model import write_calibration, write_tiny_model
from training.model_card import remove_derived


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("app.model_files._cpu_computes_int8", lambda: True)
    return write_tiny_model(tmp_path / "model")


def write_int8(folder: Path, **parents: str) -> None:
    graph = onnx.load(folder / "model.onnx")
    onnx.helper.set_model_props(graph, parents)
    onnx.save(graph, folder / "model.int8.onnx")


@pytest.mark.parametrize("parents", [{}, {"graph_sha256": "0" * 64}])
def test_an_int8_graph_of_other_weights_never_answers(folder, parents, capsys):
    write_int8(folder, **parents)
    assert Classifier.load(folder).precision == "fp32"
    said = capsys.readouterr().err
    assert "was not made from the model.onnx beside it: it is not used" in said and said.count("\n") == 1
    with pytest.raises(ModelError, match="was not made from .* make it again"):
        Classifier.load(folder, precision="int8")


def test_an_int8_graph_of_this_graph_answers_in_silence(folder, capsys):
    write_int8(folder, graph_sha256=model_hash(folder / "model.onnx"))
    assert Classifier.load(folder).precision == "int8"
    assert not capsys.readouterr().err


def test_a_calibration_of_another_model_is_left_aside(folder, capsys):
    write_calibration(folder, model_sha256="0" * 64)
    assert Classifier.load(folder).calibration is None
    said = capsys.readouterr().err
    assert "made for another model.onnx" in said and said.count("\n") == 1


@pytest.fixture
def own(trained, tmp_path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json", "model.safetensors", "model.onnx"):
        shutil.copy(trained / name, folder)
    return folder


def test_a_graph_beside_other_weights_says_how_to_make_it_again(own):
    Classifier.load(own)
    weights = load_file(own / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, own / "model.safetensors")
    with pytest.raises(ModelError, match="other weights than the model.safetensors beside it; .*export.py"):
        Classifier.load(own)


def test_training_removes_what_was_made_from_the_weights_before(own, capsys):
    names = ("model.int8.onnx", "calibration.json", "unknown_centres.npy")
    for name in names:
        (own / name).write_bytes(b"old")
    remove_derived(own)
    assert not any((own / name).exists() for name in (*names, "model.onnx"))
    assert "made from the weights before" in capsys.readouterr().out
    remove_derived(own)
    assert not capsys.readouterr().out


def test_weights_in_16_bits_stay_a_model_and_the_graph_agrees(own, drawn_dataset):
    before = (own / "model.safetensors").stat().st_size
    halve_weights(own)
    assert (own / "model.safetensors").stat().st_size < 0.6 * before
    model = AutoModelForImageClassification.from_pretrained(own)
    assert model.dtype == torch.float32
    with pytest.raises(ModelError, match="other weights"):
        Classifier.load(own)
    export.main(["--model", str(own), "--dataset", str(drawn_dataset)])
    assert Classifier.load(own).precision == "fp32"


@pytest.mark.parametrize(("ratio", "size"), [(0.9, 10), (2.0, 1000)])
def test_int8_that_is_not_smaller_or_not_faster_is_refused(tmp_path, monkeypatch, ratio, size):
    monkeypatch.setattr(checked_export, "time_ratio", lambda *_: ratio)
    (tmp_path / "model.onnx").write_bytes(bytes(100))
    (tmp_path / "int8").write_bytes(bytes(size))
    with pytest.raises(ExportError, match="gains nothing here"):
        checked_export.check_worthwhile(tmp_path / "model.onnx", tmp_path / "int8", None)
