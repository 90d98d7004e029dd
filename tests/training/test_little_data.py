"""Few images: what cannot be done is said before any work, and a last batch of one image trains."""

from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pytest
import torch
from drawings import fill

import calibrate
import export
import train
import validate
from data_prep import balance, competition, doctor, image_folder
from training.trainer import use_running_statistics_for_one_value

NOTHING = "nothing is left to validate on: no images in validation; a class needs images of at least 3 different "


def prepare(folder: Path, counts: dict[str, int] | int, labels: str = "hs") -> Path:
    """A dataset with so many images of each class, in one folder or by split."""
    by_split = {"": counts} if isinstance(counts, int) else counts
    names = [
        "/".join(filter(None, (split, label, f"{number}.jpg")))
        for split, count in by_split.items()
        for label in labels
        for number in range(count)
    ]
    image_folder.main(["--input", str(fill(folder / "in", names)), "--output", str(folder / "data")])
    return folder / "data"


def training(dataset: Path, output: Path, *more: str) -> None:
    given = ["--dataset", str(dataset), "--output_dir", str(output), "--from_scratch", "--image_size", "32"]
    train.main([*given, "--num_train_epochs", "1", "--per_device_train_batch_size", "16", *more])


@pytest.fixture(scope="module")
def two_a_class(tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("two"), 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model of the same classes, trained on enough images."""
    folder = tmp_path_factory.mktemp("model")
    training(prepare(folder, {"train": 8, "validation": 3, "test": 3}), folder / "run", "--model", "basic_cnn")
    return folder / "run"


def test_preparing_two_images_a_class_says_that_none_are_left_to_validate_on(tmp_path, capsys):
    prepare(tmp_path, 2)
    assert NOTHING in capsys.readouterr().out


def test_train_refuses_them_before_any_work(two_a_class, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        training(two_a_class, tmp_path / "run", "--model", "basic_cnn")
    assert stopped.value.code == 2 and not (tmp_path / "run").exists()
    assert f"train.py: error: {two_a_class}: {NOTHING}" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (calibrate, []),
        (export, []),
        (export, ["--int8"]),
        (validate, ["--split", "validation"]),
    ],
)
def test_commands_that_need_validation_images_refuse_in_one_line(two_a_class, model, tmp_path, capsys, command, more):
    before = {path.name: path.stat().st_mtime_ns for path in model.iterdir()}
    with pytest.raises(SystemExit) as stopped:
        command.main(["--model", str(model), "--dataset", str(two_a_class), *more])
    assert stopped.value.code == 2
    assert NOTHING in capsys.readouterr().err.splitlines()[-1]
    assert {path.name: path.stat().st_mtime_ns for path in model.iterdir()} == before


@pytest.mark.parametrize(
    ("command", "given"),
    [
        (balance, ["{dataset}", "--strategy", "oversample", "--output", "{out}"]),
        (doctor, ["{dataset}", "--output", "{out}"]),
        (competition, ["--dataset", "{dataset}", "--output", "{out}"]),
    ],
)
def test_commands_that_can_do_without_say_it_and_go_on(two_a_class, tmp_path, capsys, command, given):
    command.main([word.format(dataset=two_a_class, out=tmp_path / "out") for word in given])
    assert f"note: {two_a_class}: {NOTHING}" in capsys.readouterr().err
    assert (tmp_path / "out").is_dir()


def test_a_training_without_test_images_ends_with_the_scores_of_validation(tmp_path):
    import json

    counts = {"train": 6, "validation": 3}
    names = [f"{split}/{label}/{number}.jpg" for split, n in counts.items() for label in "hs" for number in range(n)]
    given = ["--input", str(fill(tmp_path / "in", names)), "--output", str(tmp_path / "data"), "--given_splits_only"]
    image_folder.main(given)
    training(tmp_path / "data", tmp_path / "run", "--model", "basic_cnn", "--export_onnx", "False")
    scores = json.loads((tmp_path / "run" / "all_results.json").read_text())
    assert "validation_accuracy" in scores and "test_accuracy" not in scores


@pytest.mark.parametrize("more", [[], ["--mixup", "0.2", "--cutmix", "1", "--ema", "0.9", "--sampler", "balanced"]])
def test_a_last_batch_of_one_image_trains(tmp_path, more):
    dataset = prepare(tmp_path, {"train": 17, "validation": 2, "test": 2}, labels="h")
    given = ["--model", "mobilenet_v2", "--export_onnx", "False", *more]
    training(dataset, tmp_path / "run", *given)
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_batches_of_one_image_only_train_too(tmp_path):
    dataset = prepare(tmp_path, {"train": 3, "validation": 2, "test": 2})
    given = ["--model", "mobilenet_v2", "--export_onnx", "False", "--per_device_train_batch_size", "1"]
    training(dataset, tmp_path / "run", *given)
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_only_a_layer_that_sees_one_value_a_channel_uses_its_running_statistics():
    layer = torch.nn.BatchNorm2d(2)
    layer.register_forward_pre_hook(use_running_statistics_for_one_value)
    layer(torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]]))  # one image, two places
    assert np.allclose(layer.running_mean, [0.15, 0.35])
    layer(torch.ones(1, 2, 1, 1))
    assert np.allclose(layer.running_mean, [0.15, 0.35])
    layer.train()
    layer(torch.ones(2, 2, 1, 1))
    assert np.allclose(layer.running_mean, [0.235, 0.415])
