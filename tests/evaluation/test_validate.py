"""validate.py as a user runs it, on a model of drawn images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import validate


def validated(model: Path, dataset: Path, output: Path, *more: str) -> dict:
    validate.main(["--model", str(model), "--dataset", str(dataset), "--output", str(output), *more])
    name = more[more.index("--name") + 1] if "--name" in more else model.name
    return json.loads((output / "runs" / f"{name}.json").read_text())


def test_a_run_records_scores_with_intervals_and_where_they_come_from(trained, drawn_dataset, tmp_path):
    run = validated(trained, drawn_dataset, tmp_path)
    trained_on = json.loads((trained / "all_results.json").read_text())
    assert run["accuracy"]["value"] == pytest.approx(trained_on["test_accuracy"], abs=1e-4)
    assert run["macro_f1"]["value"] == pytest.approx(trained_on["test_macro_f1"], abs=1e-4)
    assert run["subCategory_accuracy"]["value"] == pytest.approx(trained_on["test_subCategory_accuracy"], abs=1e-4)
    low, high = run["accuracy"]["interval"]
    assert low <= run["accuracy"]["value"] <= high
    assert set(run["per_class"]) == {"Jeans", "Shirts", "Sports Shoes", "Tshirts"}
    assert run["rows"] == 16 and run["split"] == "test" and len(run["fingerprint"]) == 16
    assert run["command"].startswith("python validate.py --model")
    assert "train.py" in run["training"] and run["training_seed"] == 42
    assert run["seed"] == 42 and run["parameters"] > 1_000_000 and run["megabytes"] > 1
    assert run["precision"] == "fp32" and run["images_per_second"] > 0 and "commit" in run


def test_another_seed_moves_the_intervals_and_not_the_figures(trained, drawn_dataset, tmp_path):
    first = validated(trained, drawn_dataset, tmp_path, "--no-figures")
    other = validated(trained, drawn_dataset, tmp_path, "--no-figures", "--seed", "7")
    assert other["seed"] == 7 and other["accuracy"]["value"] == first["accuracy"]["value"]
    assert other["macro_f1"]["value"] == first["macro_f1"]["value"]


def test_the_figures_are_drawn(trained, drawn_dataset, tmp_path):
    validated(trained, drawn_dataset, tmp_path, "--name", "drawn")
    figures = sorted(file.name for file in (tmp_path / "runs" / "drawn").iterdir())
    assert figures == ["confusion.png", "mistakes.png", "reliability.png"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--split", "holdout", "has no split holdout; it has train, validation, test"),
        ("--label", "gender", "the model does not know 2 classes of gender: Men, Women"),
        ("--dataset", "nowhere", "nowhere is not a prepared dataset"),
        ("--model", "nowhere", "no model folder 'nowhere'"),
    ],
)
def test_a_wrong_option_ends_with_one_line(trained, drawn_dataset, tmp_path, capsys, option, value, message):
    given = {"--model": str(trained), "--dataset": str(drawn_dataset), "--output": str(tmp_path), option: value}
    with pytest.raises(SystemExit) as stopped:
        validate.main([word for pair in given.items() for word in pair])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["../escaped", "a/b", ".."])
def test_a_run_cannot_be_named_out_of_the_results(trained, drawn_dataset, tmp_path, capsys, name):
    with pytest.raises(SystemExit):
        validated(trained, drawn_dataset, tmp_path / "results", "--name", name)
    assert "must be the name of a file, without a path" in capsys.readouterr().err


def test_an_unwritable_results_folder_is_found_before_the_work(trained, drawn_dataset, capsys):
    with pytest.raises(SystemExit):
        validated(trained, drawn_dataset, Path("/proc/results"))
    assert "cannot write --output /proc/results" in capsys.readouterr().err.splitlines()[-1]


def test_a_calibrated_model_is_scored_by_its_labels_whatever_it_would_publish(trained, drawn_dataset, tmp_path):
    """A threshold that nothing reaches turns every answer into a review; the temperature moves the confidences only."""
    plain = validated(trained, drawn_dataset, tmp_path, "--no-figures", "--name", "plain")
    model = shutil.copytree(trained, tmp_path / "calibrated", ignore=shutil.ignore_patterns("checkpoint-*"))
    taxonomy = json.loads((model / "config.json").read_text())["taxonomy"]
    columns = zip(taxonomy["levels"], zip(*taxonomy["paths"].values(), strict=True), strict=True)
    nothing_is_sure = {level: dict.fromkeys(categories) for level, categories in columns}
    calibration = {"version": 1, "temperature": 3.0, "target_precision": 0.99, "thresholds": nothing_is_sure}
    (model / "calibration.json").write_text(json.dumps(calibration))
    softer = validated(model, drawn_dataset, tmp_path, "--no-figures", "--name", "softer")
    assert softer["accuracy"] == plain["accuracy"] and softer["per_class"] == plain["per_class"]
    assert softer["temperature"] == 3.0 and plain["temperature"] is None
    mean = [np.average([filled["confidence"] for filled in run["reliability"]]) for run in (plain, softer)]
    assert mean[1] < mean[0]
