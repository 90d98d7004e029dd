"""Scores, their intervals and where they come from: NumPy's agree with scikit-learn's."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import f1_score, precision_recall_fscore_support, top_k_accuracy_score

from evaluation.metrics import ClassificationMetrics
from evaluation.provenance import command_line, commit, machine
from evaluation.scoring import expected_calibration_error, group_resamples, score

CLASSES = 9


def logits_and_truth(rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Answers that are often right; the last class never occurs, the one before it only as an answer."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, CLASSES - 2, rows)
    logits = generator.normal(size=(rows, CLASSES)) + 2 * np.eye(CLASSES)[truth]
    logits[:, -1] = -9.0
    logits[:5, -2] = 9.0
    return logits, truth


def test_the_scores_of_a_training_are_those_of_scikit_learn():
    logits, truth = logits_and_truth()
    scores = ClassificationMetrics().compute(predictions=logits, references=truth)
    predicted = logits.argmax(axis=1)
    assert scores == {
        "accuracy": pytest.approx((predicted == truth).mean()),
        "top5": pytest.approx(top_k_accuracy_score(truth, logits, k=5, labels=range(CLASSES))),
        "macro_f1": pytest.approx(f1_score(truth, predicted, average="macro"), abs=1e-12),
    }


def test_the_scores_of_a_run_are_those_of_scikit_learn():
    logits, truth = logits_and_truth()
    predicted, names = logits.argmax(axis=1), list("abcdefghi")
    scores = score(softmax(logits, axis=1), truth, [str(row) for row in range(len(truth))], names)
    assert scores["macro_f1"]["value"] == pytest.approx(f1_score(truth, predicted, average="macro"), abs=1e-5)
    columns = precision_recall_fscore_support(truth, predicted, labels=range(CLASSES), zero_division=np.nan)[:3]
    for number, name in enumerate(names[: CLASSES - 2]):
        values = [scores["per_class"][name][measure]["value"] for measure in ("precision", "recall", "f1")]
        assert values == pytest.approx([column[number] for column in columns], abs=1e-5)
    assert set(scores["per_class"]) == set(names[: CLASSES - 2])


def test_intervals_hold_the_figure_and_shrink_with_more_images():
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


def test_images_of_one_product_are_drawn_together():
    weights = group_resamples(["a", "a", "b", "c"], np.zeros(4, int))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert not (weights[:, 0] == weights[:, 2]).all()


def test_the_calibration_error_is_zero_for_an_honest_and_large_for_a_boastful_model():
    truth = np.array([0, 0, 0, 1] * 100)
    honest, boastful = np.tile([0.75, 0.25], (400, 1)), np.tile([1.0, 0.0], (400, 1))
    assert expected_calibration_error(honest, truth) == pytest.approx(0)
    assert expected_calibration_error(boastful, truth) == pytest.approx(0.25)


# --- provenance ------------------------------------------------------------------------------------------------------


def test_a_command_line_can_be_typed_again(monkeypatch):
    monkeypatch.setattr("sys.argv", ["validate.py", "--model", "a folder"])
    assert command_line("validate.py") == "python validate.py --model 'a folder'"
    assert command_line("-m evaluation.automation", []) == "python -m evaluation.automation"


def test_the_machine_and_the_commit_are_named(monkeypatch, tmp_path):
    assert "cores" in machine() and "Python 3." in machine()
    monkeypatch.setattr("evaluation.provenance.CHECKOUT", tmp_path)
    assert commit() is None  # outside a checkout
