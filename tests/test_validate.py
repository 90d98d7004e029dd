"""validate.py and leaderboard.py as a user runs them, on a model of drawn pictures."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import leaderboard
import validate
from scoring import expected_calibration_error, group_resamples, score


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
    assert "train.py" in run["training"]


def test_the_figures_are_drawn(trained, drawn_dataset, tmp_path):
    validated(trained, drawn_dataset, tmp_path, "--name", "drawn")
    figures = sorted(file.name for file in (tmp_path / "runs" / "drawn").iterdir())
    assert figures == ["confusion.png", "mistakes.png", "reliability.png"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--split", "holdout", "has no split holdout; it has train, validation, test"),
        ("--label", "gender", "the model does not know 2 classes of gender: Men, Women"),
        ("--dataset", "nowhere", "nowhere is no prepared dataset"),
        ("--model", "nowhere", "no model folder 'nowhere'"),
    ],
)
def test_a_wrong_option_ends_with_one_line(trained, drawn_dataset, tmp_path, capsys, option, value, message):
    given = {"--model": str(trained), "--dataset": str(drawn_dataset), "--output": str(tmp_path), option: value}
    with pytest.raises(SystemExit) as stopped:
        validate.main([word for pair in given.items() for word in pair])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_the_leaderboard_names_the_smallest_model_that_is_as_good(trained, drawn_dataset, tmp_path):
    run = validated(trained, drawn_dataset, tmp_path, "--no-figures")
    right = np.ones(16, np.uint8)
    runs = {"large": (right, 20.0), "small": (np.r_[0, right[1:]], 5.0), "poor": (0 * right, 1.0)}
    for name, (correct, megabytes) in runs.items():
        accuracy = {"value": float(correct.mean()), "interval": [0.0, 1.0]}
        changed = run | {"name": name, "megabytes": megabytes, "accuracy": accuracy}
        changed["correct_rows"] = np.packbits(correct).tobytes().hex()
        (tmp_path / "runs" / f"{name}.json").write_text(json.dumps(changed))
    (tmp_path / "runs" / f"{run['name']}.json").unlink()
    (tmp_path / "README.md").write_text(f"# Mine\n\n{leaderboard.START}\nold\n{leaderboard.END}\nkept\n")
    leaderboard.main(["--results", str(tmp_path)])
    text = (tmp_path / "README.md").read_text()
    assert "small is the smallest model as good as large (p = 1.00)." in text
    assert "old" not in text and text.startswith("# Mine") and text.endswith("kept\n")
    with (tmp_path / "leaderboard.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["large", "small", "poor"]


def test_a_file_that_is_no_run_is_named(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "odd.json").write_text("{}")
    with pytest.raises(SystemExit):
        leaderboard.main(["--results", str(tmp_path)])
    assert "odd.json is not a run that validate.py wrote" in capsys.readouterr().err


def test_intervals_hold_the_figure_and_shrink_with_more_pictures():
    generator = np.random.default_rng(0)

    def scored(rows: int) -> dict:
        truth = generator.integers(0, 5, rows)
        probabilities = np.eye(5)[np.where(generator.random(rows) < 0.8, truth, 0)]
        return score(probabilities, truth, [str(i) for i in range(rows)], list("abcde"))

    widths = []
    for scores in (scored(100), scored(2000)):
        for name in ("accuracy", "macro_f1"):
            low, high = scores[name]["interval"]
            assert low < scores[name]["value"] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_pictures_of_one_product_are_drawn_together():
    weights = group_resamples(["a", "a", "b", "c"], np.zeros(4, int))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert not (weights[:, 0] == weights[:, 2]).all()


def test_the_calibration_error_is_zero_for_an_honest_and_large_for_a_boastful_model():
    truth = np.array([0, 0, 0, 1] * 100)
    honest, boastful = np.tile([0.75, 0.25], (400, 1)), np.tile([1.0, 0.0], (400, 1))
    assert expected_calibration_error(honest, truth) == pytest.approx(0)
    assert expected_calibration_error(boastful, truth) == pytest.approx(0.25)
