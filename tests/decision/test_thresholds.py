"""Which confidence is enough: bounds with known values, thresholds at exact places, kinds of image, taxonomies."""

import numpy as np
import pytest

from app.taxonomy import Taxonomy
from evaluation.thresholds import (
    ROUNDING,
    LevelAnswers,
    accepted,
    answers,
    candidates,
    fit_category,
    fit_level,
    fit_thresholds,
    holds,
    lower_bound,
    raise_for_kinds,
    raised_to,
    shared_interval,
    upper_bound,
)

TREE = Taxonomy([["A", "a1"], ["A", "a2"], ["B", "b1"]], ["top", "leaf"])


def level_of(*rows: tuple[str, float, bool, int]) -> LevelAnswers:
    """Rows of (category, confidence, right, how many)."""
    return LevelAnswers(
        np.array([name for name, _, _, count in rows for _ in range(count)], dtype=object),
        np.array([confidence for _, confidence, _, count in rows for _ in range(count)]),
        np.array([right for _, _, right, count in rows for _ in range(count)]),
    )


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 20, 229, 230])
def test_without_a_wrong_answer_the_upper_bound_is_that_of_the_rule_of_three(count):
    # (1 - p)^n = risk
    assert upper_bound(np.array(0), np.array(count)) == pytest.approx(1 - 0.1 ** (1 / count))
    assert upper_bound(np.array(0), np.array(count), 0.3) == pytest.approx(1 - 0.3 ** (1 / count))


def test_bounds_are_those_of_clopper_and_pearson():
    # From the table for 2 of 50 at 80% (both tails 10%).
    assert float(upper_bound(np.array(2), np.array(50))) == pytest.approx(0.1032, abs=5e-4)
    assert lower_bound(2, 50) == pytest.approx(0.0107, abs=5e-4)
    assert lower_bound(1, 10) == pytest.approx(1 - 0.9 ** (1 / 10))
    assert lower_bound(1, 10, 0.5) == pytest.approx(1 - 0.5 ** (1 / 10))


def test_the_upper_bound_of_wrong_answers_alone_is_one_and_the_lower_of_none_is_zero():
    assert upper_bound(np.array([3, 0]), np.array([3, 0])).tolist() == [1.0, 1.0]
    assert lower_bound(0, 5) == 0.0 and lower_bound(0, 0) == 0.0


def test_a_promise_of_99_percent_needs_230_right_answers_and_none_holds_without_any():
    assert not holds(0, 229, 0.99) and holds(0, 230, 0.99)
    assert not holds(0, 0, 0.5)
    assert holds(0, 120, 0.99, risk=0.3) and not holds(0, 119, 0.99, risk=0.3)


# --- thresholds ------------------------------------------------------------------------------------------------------


def test_candidates_are_the_confidences_above_which_the_answers_hold_lowest_first():
    confidence = np.array([0.9] * 30 + [0.8] * 30 + [0.7] * 10 + [0.6] * 200)
    right = np.array([True] * 60 + [False] * 10 + [True] * 200)
    # 0 of 30 (bound 7.4%) and 0 of 60 (3.8%) hold 90%, 10 of 70 do not, 10 of 270 (5.7%) do.
    assert candidates(confidence, right, 0.9) == pytest.approx(
        [0.6 - ROUNDING, 0.8 - ROUNDING, 0.9 - ROUNDING], abs=1e-12
    )


def test_equal_confidences_stand_or_fall_together():
    confidence, right = np.full(60, 0.8), np.array([True] * 50 + [False] * 10)
    assert candidates(confidence, right, 0.9) == []
    assert candidates(confidence[::-1], right[::-1], 0.9) == []


def test_a_candidate_is_never_below_zero_and_no_answers_give_none():
    assert candidates(np.zeros(30), np.ones(30, dtype=bool), 0.9) == [0.0]
    assert candidates(np.array([]), np.array([], dtype=bool), 0.9) == []


def test_a_category_that_proves_a_threshold_has_its_own():
    level = level_of(("own", 0.5, True, 30), ("other", 0.9, True, 30))
    assert fit_category(level, "own", 0.85, 0.9) == pytest.approx(0.5 - ROUNDING)


def test_a_category_with_few_answers_takes_the_shared_threshold():
    level = level_of(("few", 0.9, False, 4), ("few", 0.4, False, 40))
    assert fit_category(level, "few", 0.85, 0.9) == 0.85


def test_a_category_that_contradicts_the_shared_threshold_takes_the_next_that_it_does_not():
    # Above 0.85 4 of 8 are wrong (lower bound 24%), above 0.95 none of 5.
    level = level_of(("bad", 0.9, False, 4), ("bad", 0.95, True, 5))
    assert fit_category(level, "bad", 0.85, 0.9) == pytest.approx(0.95)


def test_a_category_that_is_wrong_even_where_it_is_surest_has_no_threshold():
    assert fit_category(level_of(("bad", 0.95, False, 5)), "bad", 0.85, 0.9) is None
    assert fit_category(level_of(("bad", 0.95, False, 4)), "bad", 0.85, 0.9) == 0.85


def test_the_shared_threshold_rises_until_all_answers_together_hold():
    level = level_of(("a", 0.9, True, 60), ("b", 0.7, False, 4), ("c", 0.7, True, 40))
    thresholds = fit_level(level, {"a", "b", "c"}, 0.95)
    assert accepted(level, thresholds)[:60].all()
    assert holds(int((~level.right[accepted(level, thresholds)]).sum()), int(accepted(level, thresholds).sum()), 0.95)


def test_where_nothing_holds_every_category_is_there_without_a_threshold():
    assert fit_level(level_of(("a", 0.9, False, 50)), {"b", "a"}, 0.9) == {"a": None, "b": None}


def test_an_answer_passes_from_the_threshold_of_its_own_category_on():
    level = level_of(("a", 0.5, True, 1), ("a", 0.4, True, 1), ("b", 0.9, True, 1), ("c", 0.9, True, 1))
    assert accepted(level, {"a": 0.5, "b": None, "c": 0.91}).tolist() == [True, False, False, False]


def test_the_interval_of_the_shared_threshold_holds_it_and_is_none_without_one():
    level = level_of(("a", 0.9, True, 300), ("a", 0.5, False, 100))
    assert shared_interval(level, 0.95) == pytest.approx([0.9 - ROUNDING] * 2)
    assert shared_interval(level_of(("a", 0.9, False, 50)), 0.95) == [None, None]
    sometimes = level_of(("a", 0.9, True, 24), ("a", 0.9, False, 1))  # in a third of the samples none is wrong
    low, high = shared_interval(sometimes, 0.9)
    assert low == pytest.approx(0.9 - ROUNDING) and high is None


def test_the_interval_is_of_fifty_seeded_samples_of_all_rows():
    generator = np.random.default_rng(7)
    confidence = generator.uniform(size=400).round(3)
    level = LevelAnswers(np.full(400, "a", dtype=object), confidence, generator.uniform(size=400) < confidence + 0.1)
    samples, lowest = np.random.default_rng(0), []
    for _ in range(50):
        rows = samples.integers(0, 400, 400)
        lowest.append(min(candidates(confidence[rows], level.right[rows], 0.9), default=2.0))
    lowest.sort()
    assert shared_interval(level, 0.9) == [lowest[2], lowest[47]]


# --- several kinds of image ------------------------------------------------------------------------------------------


def two_kinds(wrong: int, right: int = 119) -> tuple[LevelAnswers, np.ndarray]:
    """2,000 right answers of the first kind at 0.6; of the second some wrong ones at 0.7, and right ones at 0.8."""
    level = level_of(("a", 0.6, True, 2000), ("a", 0.7, False, wrong), ("a", 0.8, True, right))
    return level, np.repeat([0, 1], [2000, wrong + right])


def test_a_kind_that_holds_the_promise_leaves_the_thresholds():
    level, kind_of = two_kinds(wrong=0, right=120)  # 0 of 120: the bound at 30% is 0.998%
    assert raise_for_kinds(level, {"a": 0.5}, 0.99, kind_of) == {"a": 0.5}


def test_a_kind_of_few_images_must_only_not_speak_against_the_promise():
    level, kind_of = two_kinds(wrong=0, right=30)
    assert raise_for_kinds(level, {"a": 0.5}, 0.99, kind_of) == {"a": 0.5}
    level, kind_of = two_kinds(wrong=1, right=30)  # 1 of 31 is wrong: even at best 2.2%
    assert raise_for_kinds(level, {"a": 0.5}, 0.99, kind_of) == {"a": pytest.approx(0.7 + ROUNDING)}


def test_a_kind_that_could_prove_the_promise_raises_thresholds_until_it_does():
    level, kind_of = two_kinds(wrong=1, right=125)  # 1 of 126: the bound at 30% is 1.9%
    assert raise_for_kinds(level, {"a": 0.5, "b": None}, 0.99, kind_of) == {
        "a": pytest.approx(0.7 + ROUNDING),
        "b": None,
    }
    level, kind_of = two_kinds(wrong=1, right=250)  # 1 of 251: 0.97%
    assert raise_for_kinds(level, {"a": 0.5}, 0.99, kind_of) == {"a": 0.5}


def test_wrong_answers_that_are_not_published_anyway_raise_nothing():
    level, kind_of = two_kinds(wrong=50, right=130)
    assert raise_for_kinds(level, {"a": 0.75}, 0.99, kind_of) == {"a": 0.75}


def test_wrong_answers_below_their_own_threshold_do_not_raise_another_categorys():
    level = level_of(("a", 0.7, False, 50), ("b", 0.55, False, 1), ("b", 0.6, True, 300))
    assert raise_for_kinds(level, {"a": 0.75, "b": 0.5}, 0.99, np.zeros(351, dtype=int)) == {"a": 0.75, "b": 0.5}


def test_of_three_kinds_each_is_looked_at_by_itself():
    level = level_of(("a", 0.6, True, 2000), ("b", 0.7, False, 5), ("b", 0.8, True, 200), ("a", 0.65, True, 500))
    kind_of = np.repeat([0, 1, 2], [2000, 205, 500])
    raised = raise_for_kinds(level, {"a": 0.5, "b": 0.5}, 0.99, kind_of)
    assert raised == {"a": 0.5, "b": pytest.approx(0.7 + ROUNDING)}


def test_a_kind_speaks_against_the_promise_when_it_is_more_likely_broken_than_kept():
    level, kind_of = two_kinds(wrong=1, right=79)  # 1 of 80: as likely above as below 0.86%
    assert raise_for_kinds(level, {"a": 0.5}, 0.99, kind_of) == {"a": 0.5}
    level, kind_of = two_kinds(wrong=1, right=59)  # 1 of 60: 1.15%
    assert raise_for_kinds(level, {"a": 0.5}, 0.99, kind_of) == {"a": pytest.approx(0.7 + ROUNDING)}


def test_only_categories_with_wrong_answers_of_the_kind_are_raised():
    level, kind_of = two_kinds(wrong=5, right=130)
    level = LevelAnswers(np.where(np.arange(2135) < 1000, "b", level.category), level.confidence, level.right)
    level.category[-1] = "c"
    raised = raise_for_kinds(level, {"a": 0.5, "b": 0.5, "c": 0.5}, 0.99, kind_of)
    assert raised == {"a": pytest.approx(0.7 + ROUNDING), "b": 0.5, "c": 0.5}


def test_a_threshold_above_one_is_none():
    thresholds = {"a": 0.5, "b": 0.9, "c": None, "d": 0.5}
    assert raised_to(thresholds, 0.7, {"a", "b", "c"}) == {"a": 0.7, "b": 0.9, "c": None, "d": 0.5}
    assert raised_to({"a": 0.5}, 1.0, {"a"}) == {"a": 1.0}
    assert raised_to({"a": 0.5}, 1 + 1e-9, {"a"}) == {"a": None}


def test_each_level_of_the_taxonomy_has_its_thresholds_and_kinds_raise_them():
    probabilities = np.array([[0.5, 0.4, 0.1]] * 300 + [[0.1, 0.1, 0.8]] * 300)
    truth = np.repeat([0, 2], 300)
    fitted = fit_thresholds(TREE, probabilities, truth, 0.99)
    assert fitted["top"] == pytest.approx({"A": 0.9 - ROUNDING, "B": 0.8 - ROUNDING})
    assert fitted["leaf"] == pytest.approx({"a1": 0.5 - ROUNDING, "a2": 0.5 - ROUNDING, "b1": 0.8 - ROUNDING})
    truth = np.r_[truth[:-40], np.zeros(40, dtype=int)]  # the last 40 are wrong, and a kind of their own
    kinds = fit_thresholds(TREE, probabilities, truth, 0.8, None, np.repeat([0, 1], [560, 40]))
    assert kinds["top"]["B"] == pytest.approx(0.8 + ROUNDING)
    assert fit_thresholds(TREE, probabilities, truth, 0.8)["top"]["B"] == pytest.approx(0.8 - ROUNDING)


# --- answers ---------------------------------------------------------------------------------------------------------


def test_an_answer_is_the_category_with_the_largest_sum():
    probabilities = np.array([[0.3, 0.3, 0.4], [0.1, 0.2, 0.7]])
    top = answers(TREE, probabilities, np.array([1, 2]), 0)
    assert top.category.tolist() == ["A", "B"] and top.right.tolist() == [True, True]
    assert top.confidence == pytest.approx([0.6, 0.7])
    leaf = answers(TREE, probabilities, np.array([1, 2]), 1)
    assert leaf.category.tolist() == ["b1", "b1"] and leaf.right.tolist() == [False, True]


def test_a_confidence_is_at_most_one_whatever_rounding_does():
    assert answers(TREE, np.array([[0.6, 0.4 + 1e-9, 0.0]]), np.array([0]), 0).confidence.tolist() == [1.0]


def test_of_a_coarser_class_every_category_of_its_labels_is_right():
    members = np.array([[True, False, True], [False, True, False]])  # class 0 is a1 or b1, class 1 is a2
    probabilities = np.array([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8]])
    truth = np.array([0, 1, 0])
    assert answers(TREE, probabilities, truth, 1, members).right.tolist() == [True, False, True]
    assert answers(TREE, probabilities, truth, 0, members).right.tolist() == [True, True, True]


def test_chosen_rows_keep_their_columns():
    chosen = level_of(("a", 0.5, True, 1), ("b", 0.6, False, 1)).rows(np.array([False, True]))
    assert (chosen.category.tolist(), chosen.confidence.tolist(), chosen.right.tolist()) == (["b"], [0.6], [False])


def test_thresholds_of_a_coarser_class_take_each_of_its_labels_for_right():
    members = np.array([[True, True, False]])  # the one class is a1 or a2
    probabilities = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05]] * 150)
    fitted = fit_thresholds(TREE, probabilities, np.zeros(300, dtype=int), 0.95, members)
    assert fitted["leaf"]["a2"] == pytest.approx(0.9 - ROUNDING)


def test_one_right_answer_holds_what_one_can_show():
    assert holds(0, 1, 0.1 - 1e-9) and not holds(0, 1, 0.11)
