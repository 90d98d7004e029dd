"""A start that cannot work: one line that says what was probably meant, and nothing is left behind."""

import models.torchvision_cpu  # noqa: F401  before transformers

import pytest
import torch

import train
from training.arguments import build_parser, parse
from training.usage import nearest


def last_words(capsys, *given: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        train.main(["--dataset", "nowhere", *given])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1 and error.startswith("train.py: error: ")
    return error


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--epochs", "3"], "did you mean --num_train_epochs?"),
        (["--batch-size", "3"], "did you mean --per_device_train_batch_size?"),
        (["--lr", "0.1"], "did you mean --learning_rate?"),
        (["--augmnt", "basic"], "did you mean --augment?"),
        (["--model", "resnet"], "did you mean resnet18, resnet50?"),
        (["--model", "mobilnet_v2"], "did you mean mobilenet_v2?"),
        (["--model", "/nowhere/model"], "no such folder"),
        (["--num_train_epochs", "many"], "invalid float value: 'many'"),
        (["stray"], "'stray' belongs to no option"),
        (["--model", "basic_cnn"], "there is no such folder, archive or table"),
        (["--time_limit", "soon", "--model", "basic_cnn"], "write it like 90s, 30m or 1h30m"),
    ],
)
def test_a_mistake_is_one_line_with_what_was_probably_meant(given, meant, capsys):
    assert meant in last_words(capsys, *given)


def test_an_option_that_is_like_nothing_gets_no_suggestion():
    assert nearest("qqqqqq", ["augment", "optim"]) == []


def test_fp16_needs_a_gpu_and_takes_the_place_of_the_preset_bf16(monkeypatch, capsys):
    if not torch.accelerator.is_available():
        assert "--fp16 needs a GPU" in last_words(capsys, "--fp16")
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    parser = build_parser("Trains.")
    parser.set_defaults(bf16=True, use_cpu=True)
    training = parse(parser, ["--dataset", "data", "--fp16"])[2]
    assert (training.fp16, training.bf16) == (True, False)


def test_a_failed_start_leaves_nothing_behind(drawn_dataset, tmp_path, capsys):
    given = ["--dataset", str(drawn_dataset), "--label", "articleType", "--model", "inception_v3", "--from_scratch"]
    cache = tmp_path / "cache" / "pixels"
    with pytest.raises(SystemExit):
        more = ["--image_size", "32", "--cache_dir", str(cache), "--output_dir", str(tmp_path / "runs" / "new")]
        train.main([*given, *more])
    assert "--image_size 32 is too small" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
