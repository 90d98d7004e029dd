"""What can be published at which promise, by cross-fitting, kind by kind."""

import numpy as np

from evaluation.calibration import HeldOut
from evaluation.predictions import SplitOutputs
from evaluation.publishable import Publishable, least_budget, publishable, publishable_table, suggestion, with_interval
from tests.drawn_outputs import EITHER, TREE, outputs, two_kinds


def certain(label: int, rows: int, truth: int, members: np.ndarray | None = None, sure: float = 9.0) -> SplitOutputs:
    logits = np.tile(sure * np.eye(4, dtype=np.float32)[label], (rows, 1))
    return SplitOutputs(logits, None, np.full(rows, truth), np.arange(rows).astype(str), members)


def mixed_photos() -> SplitOutputs:
    """250 unsure answers, 45 of them wrong, and 200 surer ones, all right."""
    unsure, sure = certain(2, 250, 1, EITHER, sure=4), certain(2, 200, 1, EITHER, sure=5)
    truth = np.r_[np.zeros(45, dtype=int), unsure.truth[45:], sure.truth]
    logits = np.concatenate([unsure.logits, sure.logits])
    groups = np.random.default_rng(0).permutation(450).astype(str)
    return SplitOutputs(logits, None, truth, groups, EITHER)


def test_nothing_is_judged_by_what_it_helped_to_set():
    truth = np.zeros(300, dtype=int)
    logits = np.tile([[3.0, 0, 0, 0]], (300, 1)).astype(np.float32)
    alone = HeldOut({"all": SplitOutputs(logits, None, truth, np.array(["one"] * 300))})
    assert publishable(TREE, alone) == []  # one group cannot be split
    catalog = HeldOut({"catalog": outputs(6, 1, 800, 0)})
    rows = publishable(TREE, catalog, [0.9])
    assert [(row.kind, row.level, row.rows) for row in rows] == [("catalog", level, 800) for level in TREE.levels]
    known = np.zeros(800, dtype=bool)
    assert all(row.published == 0 for row in publishable(TREE, catalog, [0.9], known))


def test_each_kind_is_counted_by_itself_with_every_label_of_a_class_right():
    kinds = {"catalog": certain(2, 400, 2), "photos": certain(1, 300, 0, EITHER), "bad": certain(0, 40, 3)}
    rows = publishable(TREE, HeldOut(kinds), [0.9])
    counted = {(row.kind, row.level): (row.target, row.rows, row.published, row.right) for row in rows}
    assert len(rows) == 9 and counted["catalog", "articleType"] == (0.9, 400, 400, 400)
    assert counted["photos", "articleType"] == (0.9, 300, 300, 300)  # "Shirts" is one of the two
    assert counted["bad", "subCategory"] == (0.9, 40, 0, 0)  # wrong each time: its category has no threshold
    known = np.arange(740) % 2 == 0
    half = {(row.kind, row.level): row.published for row in publishable(TREE, HeldOut(kinds), [0.9], known)}
    assert (half["catalog", "articleType"], half["photos", "articleType"]) == (200, 150)


def test_wrong_published_answers_are_published_and_not_right():
    wrong = np.concatenate([np.zeros(20, dtype=int), np.full(380, 2)])
    mixed = SplitOutputs(certain(2, 400, 2).logits, None, wrong, np.random.default_rng(0).permutation(400).astype(str))
    rows = [row for row in publishable(TREE, HeldOut({"a": mixed}), [0.8]) if row.level == "articleType"]
    assert [(row.published, row.right) for row in rows] == [(400, 380)]


def test_promises_are_fitted_for_each_kind_as_the_calibration_fits_them():
    kinds = {"catalog": certain(2, 2000, 2, sure=6), "photos": mixed_photos()}
    photos = {row.kind: row for row in publishable(TREE, HeldOut(kinds), [0.95]) if row.level == "articleType"}[
        "photos"
    ]
    assert 150 < photos.published < 250 and photos.right == photos.published  # 45 wrong ones are not
    again = [publishable(TREE, HeldOut(two_kinds()), [0.9]) for _ in range(2)]
    assert again[0] == again[1]


def test_two_groups_are_enough_to_judge_one_by_the_other():
    part = certain(2, 400, 2)
    halves = SplitOutputs(part.logits, None, part.truth, np.repeat(["one", "two"], 200))
    assert {row.published for row in publishable(TREE, HeldOut({"a": halves}), [0.9])} == {400}


def test_shares_are_shown_with_wilsons_interval():
    assert with_interval(50, 100) == "50.0% (40.4–59.6)"  # a known value
    assert with_interval(0, 0) == "–"
    table = publishable_table([Publishable("photos", "label", 0.98, 200, 100, 50)])
    assert table == [
        "| images | level | promise | published | right among them |",
        "|---|---|---|---|---|",
        "| photos | label | 98% | 50.0% (43.1–56.9) | 50.0% (40.4–59.6) |",
    ]


def test_the_budget_is_a_share_of_all_products_of_each_kind():
    rows = [Publishable("a", "label", 0.9, 1000, 800, 790), Publishable("a", "label", 0.99, 1000, 300, 300)]
    assert suggestion(rows, "label", 0.01) == 0.9  # 10 of 1,000
    assert suggestion(rows, "label", 0.0099) == 0.99
    photos = [Publishable("b", "label", 0.9, 100, 50, 48), Publishable("b", "label", 0.99, 100, 20, 19)]
    assert suggestion([*rows, *photos], "label", 0.01) == 0.99
    assert suggestion([*rows, *photos], "label", 0.0099) is None
    assert least_budget([*rows, *photos], "label") == 0.01
    assert suggestion([*rows, *photos], "label", 0.02) == 0.9


def test_the_least_budget_is_rounded_up_to_thousandths_and_none_where_nothing_is_published():
    rows = [Publishable("a", "label", 0.9, 7, 5, 4)]  # 14.29% wrong
    assert least_budget(rows, "label") == 0.143
    assert suggestion(rows, "label", 0.143) == 0.9 and suggestion(rows, "label", 0.142) is None
    assert least_budget([Publishable("a", "label", 0.9, 7, 0, 0)], "label") is None


def test_the_least_budget_is_of_its_level_and_of_the_worst_kind():
    rows = [
        Publishable("a", "label", 0.9, 1000, 500, 440),
        Publishable("b", "label", 0.9, 1000, 500, 490),
        Publishable("none", "label", 0.9, 0, 0, 0),
        Publishable("a", "top", 0.9, 1000, 500, 100),
    ]
    assert least_budget(rows, "label") == 0.06
    assert least_budget([Publishable("a", "label", 0.9, 5000, 5000, 4929)], "label") == 0.015  # 14.2 thousandths
