"""The page on attributes, and the rows of validate.py and the leaderboard."""

import csv
import json

import numpy as np
import pytest

import leaderboard
import validate
from evaluation import attributes
from evaluation.attribute_scores import AttributeAnswers, confusions, coverage, fit_head, score_attribute

LABELS = ["Blue", "Navy Blue", "Red"]


def answers(right: np.ndarray, sure: np.ndarray) -> AttributeAnswers:
    """One row for each: the answer is Blue, and Navy Blue is true where it is wrong."""
    logits = np.zeros((len(right), 3))
    logits[:, 0] = sure
    truth = np.where(right, "Blue", "Navy Blue").astype(object)
    return AttributeAnswers(LABELS, logits, truth, np.arange(len(right)).astype(str))


def test_an_attribute_is_published_where_it_is_right_as_often_as_promised():
    generator = np.random.default_rng(0)
    sure = generator.uniform(0, 6, 4000)
    right = generator.random(4000) < np.exp(sure) / (np.exp(sure) + 2)
    held_out = answers(right, sure)
    temperature, thresholds = fit_head(held_out, 0.95)
    assert temperature == pytest.approx(1, abs=0.15)
    assert 0.5 < thresholds["Blue"] < 0.99
    for line in coverage(held_out, answers(right[::-1], sure[::-1]), (0.9, 0.95)):
        assert line.right / line.published >= line.target
        assert 0 < line.published < line.rows


def test_labels_are_named_that_are_taken_for_each_other():
    held_out = answers(np.array([True, False, False]), np.ones(3))
    assert confusions(held_out) == [("Blue", "Navy Blue", 2)]
    scores = score_attribute(held_out, 1.0)
    assert scores["accuracy"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert scores["images"] == 3


def test_a_label_that_training_did_not_have_counts_as_wrong():
    held_out = AttributeAnswers(
        LABELS, np.eye(3), np.array(["Blue", "Navy Blue", "Taupe"], dtype=object), np.array(["a", "b", "c"])
    )
    assert score_attribute(held_out, 1.0)["accuracy"]["value"] == pytest.approx(2 / 3, abs=1e-4)


def test_the_page_has_scores_coverage_and_the_proof(attributed, striped_dataset, tmp_path):
    attributes.main(["--model", str(attributed), "--dataset", str(striped_dataset), "--output", str(tmp_path)])
    page = (tmp_path / "attributes.md").read_text()
    assert "| pattern | 2 | 100.0 (100.0–100.0) | – |" in page
    assert "| pattern | 95% |" in page
    assert page.count("| the same |") == 2
    assert "different" not in page
    assert "- fabric: Cotton and Wool " in page


def test_a_folder_without_attributes_is_refused(striped_dataset, tmp_path, capsys):
    from attributed import write_embedding_model

    folder = write_embedding_model(tmp_path / "model")
    with pytest.raises(SystemExit):
        attributes.main(["--model", str(folder), "--dataset", str(striped_dataset), "--output", str(tmp_path)])
    assert "has no attributes of its own: make it again with" in capsys.readouterr().err


def test_validate_and_the_leaderboard_have_a_row_per_attribute(attributed, striped_dataset, tmp_path):
    given = ["--model", str(attributed), "--dataset", str(striped_dataset), "--output", str(tmp_path)]
    validate.main([*given, "--no-figures"])
    run = json.loads((tmp_path / "runs" / "striped.json").read_text())
    assert run["attributes"]["pattern"]["accuracy"]["value"] == 1.0
    leaderboard.main(["--results", str(tmp_path)])
    assert "| striped | pattern | 100.0" in (tmp_path / "README.md").read_text()
    with (tmp_path / "leaderboard_attributes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["attribute"], row["dataset"]) for row in rows] == [
        ("striped", "pattern", "prepared"),
        ("striped", "fabric", "prepared"),
    ]
    assert float(rows[0]["accuracy_low"]) == 1.0
