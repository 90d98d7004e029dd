"""`--tune`, `--lr_find`, the sweep file and `--time_limit`: what is searched, drawn and kept."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pytest
import yaml
from transformers import TrainingArguments

import train
from training.arguments import Arguments, build_parser, parse_command_line
from training.data import PreparedData
from training.lr_find import steepest
from training.step_rate import Rate
from training.suited import suit
from training.time_limit import PATIENCE, Clock, fit_to_time, images_to_follow, patient_deadline, seconds_of

ROOT = Path(__file__).resolve().parents[2]


def arguments(dataset: Path, output: Path, *more: str) -> list[str]:
    given = ["--dataset", str(dataset), "--label", "articleType", "--model", "basic_cnn", "--image_size", "32"]
    return [*given, "--per_device_train_batch_size", "16", "--output_dir", str(output), "--export_onnx", "False", *more]


def test_tune_trains_with_the_best_trial_and_searches_nothing_that_is_given(drawn_dataset, tmp_path, capsys):
    more = ["--tune", "2", "--num_train_epochs", "3", "--weight_decay", "0.01"]
    train.main(arguments(drawn_dataset, tmp_path / "run", *more))
    trials = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("trial", "best of 2"))]
    assert len(trials) == 3 and not any("--weight_decay" in line or "--image_size" in line for line in trials)
    used = json.loads((tmp_path / "run" / "arguments.json").read_text())
    assert f"--learning_rate {used['training']['learning_rate']:.3g}" in trials[-1] and used["augment"] in trials[-1]
    assert not list((tmp_path / "run").glob("trial_*"))


def test_lr_find_draws_a_curve_and_trains_nothing(drawn_dataset, tmp_path, capsys):
    train.main(arguments(drawn_dataset, tmp_path / "run", "--lr_find"))
    assert "the loss falls fastest at" in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / "run").glob("lr_find.*")) == ["lr_find.csv", "lr_find.png"]
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_the_suggested_rate_is_where_the_loss_falls_fastest():
    rates = 10.0 ** np.linspace(-6, 0, 61)
    losses = 1 / (1 + np.exp(5 * (np.log10(rates) + 3)))  # a fall around 1e-3
    assert steepest(rates, losses.tolist()) == pytest.approx(1e-3, rel=0.3)


def test_every_parameter_of_the_sweep_is_an_option_of_train_py():
    sweep = yaml.safe_load((ROOT / "training" / "sweep.yaml").read_text())
    options = build_parser("Trains.")._option_string_actions
    assert {f"--{name}" for name in sweep["parameters"]} <= set(options)
    assert {word for word in sweep["command"] if str(word).startswith("--")} <= set(options)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400)])
def test_a_time_is_written_as_people_write_it(text, seconds):
    assert seconds_of(text) == seconds


def test_the_learning_rate_follows_the_clock_and_is_at_its_end_when_the_time_is():
    now = time.monotonic()
    clock = Clock(deadline=now + 1000, images_to_follow=0)
    clock.begun = now - 1000
    assert clock.share() == pytest.approx(0.5, abs=0.01) and 0.3 < clock.rate(1) < 0.7
    clock.deadline = now
    assert clock.share() == 1 and clock.rate(1) == pytest.approx(0, abs=1e-9)


def test_a_training_ends_earlier_for_what_follows_it():
    plain, titled = Arguments("d"), Arguments("d", title_column="title")
    described = Arguments("d", title_column="title", attributes=["gender"])
    counts = [images_to_follow(arguments, 30_000, 8000) for arguments in (plain, titled, described)]
    assert counts == [20_000, 28_000, 66_000]
    now = time.monotonic()
    ends = []
    for count in counts:
        clock = Clock(now + 1000, count)
        clock.on_evaluate(None, None, None, metrics={"eval_samples_per_second": 500})
        clock.begun = now - 500
        ends.append(clock.share())
    assert ends == sorted(ends) and ends[2] == pytest.approx(500 / (1500 - 1.3 * 66_000 / 500), abs=0.01)


def prepared(images: int) -> SimpleNamespace:
    """As much of PreparedData as the clock looks at."""
    return SimpleNamespace(splits={"train": range(images), "validation": range(100)})


@pytest.mark.parametrize(("minutes", "size"), [(60, 224), (12, 192), (5, 96), (1, 64)])
def test_a_time_limit_takes_the_largest_images_that_leave_time_to_learn(minutes, size, capsys):
    arguments, training = Arguments("d", image_size=224), SimpleNamespace()
    rate = Rate(fixed=0.006, per_pixel=1e-6, num_weights=5_000_000)
    deadline = time.monotonic() + 60 * minutes
    fit_to_time(arguments, training, {"dataset"}, prepared(3000), deadline, rate)
    assert arguments.image_size == size and f"--image_size {size}" in capsys.readouterr().out
    fit_to_time(arguments, training, {"image_size"}, prepared(3000), deadline, rate)
    assert arguments.image_size == size  # what is given stays


def test_few_images_on_a_processor_take_no_longer_than_people_wait(capsys):
    arguments, training = Arguments("d", image_size=224), SimpleNamespace(num_train_epochs=27)
    slow, fast = (Rate(fixed=seconds, per_pixel=0, num_weights=1) for seconds in (0.1, 0.001))
    assert patient_deadline(arguments, training, prepared(3000), 5.0, slow) == 5.0 + PATIENCE
    assert "would take about 2.2 hours on this machine: fitted to 45 min; --time_limit 3h" in capsys.readouterr().out
    assert patient_deadline(arguments, training, prepared(3000), 5.0, fast) is None
    assert patient_deadline(arguments, training, prepared(30_000), 5.0, slow) is None
    assert "--time_limit 1h" in capsys.readouterr().out


def test_several_processes_have_no_common_clock(drawn_dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    with pytest.raises(SystemExit):
        train.main(arguments(drawn_dataset, tmp_path / "run", "--time_limit", "5m"))
    assert "--time_limit is for one process" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "metric"), [((), ("loss", False)), (("metric_for_best_model",), ("accuracy", True))])
def test_the_checkpoint_of_few_images_is_chosen_by_loss_unless_another_is_given(drawn_dataset, tmp_path, given, metric):
    line = parse_command_line(build_parser(""), arguments(drawn_dataset, tmp_path / "run"))
    suit(line.arguments, line.recipe, line.training, given, PreparedData.open(str(drawn_dataset), "articleType"))
    assert (line.training.metric_for_best_model, line.training.greater_is_better) == metric


def test_freed_memory_is_kept_in_a_training_on_a_processor(drawn_dataset, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    monkeypatch.setattr("training.one_command.keep_freed_memory", lambda: kept.append(True))
    monkeypatch.setattr("training.one_command.check_tracking", lambda _: sys.exit(3))  # what comes next
    with pytest.raises(SystemExit):
        train.main(arguments(drawn_dataset, tmp_path / "run"))
    assert kept == [True]
