"""The figures that the choices are made by, computed here a second time with plain loops."""

import numpy as np
import pytest

from app.taxonomy import Taxonomy
from evaluation import scoring
from evaluation.scoring import (
    class_counts,
    divide,
    expected_calibration_error,
    group_resamples,
    in_top_k,
    level_scores,
    macro_f1,
    none_if_nan,
    rate,
    reliability,
    score,
    score_once,
    with_interval,
)

TRUTH = np.array([0, 0, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 1, 1, 1, 2, 0, 2])
ONES = np.ones((1, 7), np.float32)


def answers(predicted=PREDICTED, sure: float = 0.7, classes: int = 4) -> np.ndarray:
    rest = (1 - sure) / (classes - 1)
    return np.full((len(predicted), classes), rest) + np.eye(classes)[predicted] * (sure - rest)


def f1_by_hand(truth, predicted, label) -> float:
    both = ((truth == label) & (predicted == label)).sum()
    return 2 * both / ((truth == label).sum() + (predicted == label).sum())


def test_each_score_of_a_run_is_what_its_name_says():
    groups = [str(row) for row in range(7)]
    result = score(answers(), TRUTH, groups, ["a", "b", "c", "d"])
    assert set(result) == {"accuracy", "top5", "macro_f1", "expected_calibration_error", "per_class"}
    assert result["accuracy"]["value"] == pytest.approx(5 / 7, abs=1e-5)
    assert result["top5"]["value"] == 1.0
    assert result["macro_f1"]["value"] == pytest.approx(
        np.mean([f1_by_hand(TRUTH, PREDICTED, label) for label in range(3)]), abs=1e-5
    )
    assert result["expected_calibration_error"] == pytest.approx(abs(0.7 - 5 / 7))
    assert set(result["per_class"]) == {"a", "b", "c"}
    of_b = result["per_class"]["b"]
    assert of_b["images"] == 2 and set(of_b) == {"images", "precision", "recall", "f1"}
    assert of_b["precision"]["value"] == pytest.approx(2 / 3, abs=1e-5) and of_b["recall"]["value"] == 1.0
    assert of_b["f1"]["value"] == pytest.approx(0.8, abs=1e-5)


def test_the_seed_draws_the_intervals_and_is_42_unless_given():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 60)
    probabilities, groups = generator.dirichlet([1] * 3, 60), [str(row // 2) for row in range(60)]
    assert score(probabilities, truth, groups, list("abc")) == score(probabilities, truth, groups, list("abc"), 42)
    assert score(probabilities, truth, groups, list("abc")) != score(probabilities, truth, groups, list("abc"), 43)
    assert (group_resamples(groups, truth) == group_resamples(groups, truth, 42)).all()


def test_resamples_are_the_data_and_then_draws_of_whole_groups_class_by_class():
    groups, truth = ["b", "a", "a", "c", "d"], np.array([0, 1, 1, 0, 1])
    weights = group_resamples(groups, truth, seed=3)
    assert weights.shape == (1 + scoring.RESAMPLES, 5) and weights.dtype == np.float32
    assert weights[0].tolist() == [1] * 5
    generator = np.random.default_rng(3)  # groups a, b, c, d have the classes 1, 0, 0, 1
    of_0 = generator.multinomial(2, [0.5, 0.5], scoring.RESAMPLES)
    of_1 = generator.multinomial(2, [0.5, 0.5], scoring.RESAMPLES)
    expected = np.stack([of_0[:, 0], of_1[:, 0], of_1[:, 0], of_0[:, 1], of_1[:, 1]], axis=1)
    assert (weights[1:] == expected).all()


def test_a_rate_is_the_weighted_share_with_the_middle_95_percent_of_the_samples():
    hit = np.array([True, False, True, False])
    weights = np.vstack([np.ones((1, 4)), np.random.default_rng(0).integers(0, 3, (200, 4)) + 0.5]).astype(np.float32)
    shares = [(row * hit).sum() / row.sum() for row in weights]
    result = rate(hit, weights)
    assert result["value"] == 0.5
    assert result["interval"] == pytest.approx(np.percentile(shares[1:], [2.5, 97.5]).tolist(), abs=2e-5)


def test_samples_without_a_score_do_not_count_and_json_gets_null_for_none():
    assert with_interval(np.array([0.5, np.nan, 0.25, 0.25])) == {"value": 0.5, "interval": [0.25, 0.25]}
    assert with_interval(np.array([np.nan, np.nan])) == {"value": None, "interval": [None, None]}
    assert none_if_nan(0.1234567) == 0.12346 and isinstance(none_if_nan(np.float32(0.5)), float)


def test_levels_are_compared_by_the_path_of_the_predicted_label():
    paths = [["Top", "Shirts", "a"], ["Top", "Knit", "b"], ["Shoes", "Flat", "c"]]
    taxonomy = Taxonomy(paths, ["kind", "family", "label"])
    actual = {"kind": ["Top", "Shoes", "Top"], "family": ["Knit", "Flat", "Shirts"]}
    scores = level_scores(taxonomy, actual, np.array([0, 2, 2]), np.ones((3, 3), np.float32))
    assert {name: value["value"] for name, value in scores.items()} == {
        "kind_accuracy": pytest.approx(2 / 3, abs=1e-5),
        "family_accuracy": pytest.approx(1 / 3, abs=1e-5),
    }


def test_the_scores_of_an_epoch_are_those_of_a_run():
    once = score_once(answers(), TRUTH)
    assert once == {
        "accuracy": pytest.approx(5 / 7),
        "top5": 1.0,
        "macro_f1": pytest.approx(np.mean([f1_by_hand(TRUTH, PREDICTED, label) for label in range(3)])),
    }
    assert all(type(value) is float for value in once.values())


def test_the_five_best_count_or_all_where_there_are_fewer():
    scores = np.array([[6, 5, 4, 3, 2, 1, 0]] * 7, float)
    assert in_top_k(scores, np.arange(7)).tolist() == [True] * 5 + [False] * 2
    assert in_top_k(scores[:, :3], np.array([0, 1, 2, 0, 1, 2, 0])).all()
    assert score_once(scores, np.array([4, 5, 0, 0, 0, 0, 0]))["top5"] == pytest.approx(6 / 7)


def test_counts_are_weighted_and_by_class():
    weights = np.array([[1, 2, 3, 4, 5, 6, 7]], np.float32)
    hits, true, answered = class_counts(TRUTH, PREDICTED, weights, 4)
    assert (
        hits.tolist() == [[1, 7, 12, 0]] and true.tolist() == [[3, 7, 18, 0]] and answered.tolist() == [[7, 9, 12, 0]]
    )
    assert hits.dtype == true.dtype == answered.dtype == np.float32


def test_macro_f1_passes_over_classes_that_neither_occur_nor_are_answered():
    hits, true, answered = class_counts(TRUTH, PREDICTED, np.vstack([ONES, 2 * ONES]), 5)
    expected = np.mean([f1_by_hand(TRUTH, PREDICTED, label) for label in range(3)])
    assert macro_f1(hits, true, answered) == pytest.approx([expected, expected])


def test_a_quotient_by_zero_is_not_a_number():
    quotient = divide(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    assert quotient[0] == 0.5 and np.isnan(quotient[1])


def test_reliability_has_the_bins_that_have_rows():
    confidence = np.array([0.52, 0.52, 0.99, 1.0, 0.5])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    bins = reliability(probabilities, np.array([0, 1, 0, 1, 0]))
    assert bins == [
        {"confidence": pytest.approx((0.52 + 0.52 + 0.5) / 3), "accuracy": pytest.approx(2 / 3), "rows": 3},
        {"confidence": pytest.approx(0.995), "accuracy": 0.5, "rows": 2},
    ]


def test_the_calibration_error_weights_the_bins_by_their_rows():
    confidence = np.array([0.55, 0.55, 0.55, 0.9])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    error = expected_calibration_error(probabilities, np.array([0, 0, 1, 1]))
    assert error == pytest.approx((3 * abs(0.55 - 2 / 3) + abs(0.9 - 0)) / 4)


def test_an_interval_leaves_out_a_fortieth_of_the_samples_at_either_end():
    assert with_interval(np.r_[500.0, np.arange(1001.0)]) == {"value": 500.0, "interval": [25.0, 975.0]}


def test_a_weight_of_one_image_or_less_divides_too():
    assert divide(np.array([1.0, 0.25]), np.array([1.0, 0.5])).tolist() == [1.0, 0.5]


def test_the_fifth_best_of_many_counts_and_the_sixth_does_not():
    scores = np.random.default_rng(0).normal(size=(100, 3000))
    order = np.argsort(-scores, axis=1)
    assert in_top_k(scores, order[:, 4]).all() and not in_top_k(scores, order[:, 5]).any()
