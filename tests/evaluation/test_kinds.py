"""Several kinds of image: classes of other names are matched, no kind is forgotten, little data proves little."""

import numpy as np
import pytest
from scipy.special import softmax

from app.calibration import Calibration
from app.errors import UserError
from app.taxonomy import Taxonomy
from evaluation.calibration import HeldOut, conformal, fit_temperature
from evaluation.kinds import members_of, pool, read_label_map
from evaluation.predictions import SplitOutputs
from evaluation.publishable import Publishable, publishable, publishable_table, suggestion
from evaluation.thresholds import LevelAnswers, accepted, raise_for_kinds
from evaluation.unknown_head import FALSE_ALARMS, fit_head
from tests.make_tiny_model import LABELS, TAXONOMY

TREE = Taxonomy([TAXONOMY["paths"][label] for label in LABELS], TAXONOMY["levels"])


def members(names: list[str], label_map: dict[str, list[str]] | None = None) -> list[list[str]]:
    table = members_of(names, LABELS, TREE, label_map or {}, "data/mine")
    return [[label for label, right in zip(LABELS, row, strict=True) if right] for row in table]


def outputs(rows: int, seed: int = 0, noise: float = 1.0) -> SplitOutputs:
    """Answers of four labels that are mostly right, with an embedding on its label's axis."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, rows)
    logits = (6 * np.eye(4)[truth] + generator.normal(scale=noise, size=(rows, 4))).astype(np.float32)
    embeddings = (np.eye(4)[truth] + generator.normal(scale=0.1, size=(rows, 4))).astype(np.float32)
    return SplitOutputs(logits, embeddings, truth, np.arange(rows).astype(str))


def test_a_class_is_matched_by_the_name_of_a_label_or_of_a_category():
    assert members(["t-shirt", "topwear", "Footwear"]) == [["Tshirts"], ["Tshirts", "Shirts"], ["Flats"]]


def test_a_label_map_says_what_other_names_mean():
    assert members(["pumps"], {"pumps": ["Flats", "Scarves"]}) == [["Flats", "Scarves"]]


def test_a_class_without_a_match_is_named_with_the_cure():
    with pytest.raises(UserError, match="called trousers: .*--label_map"):
        members(["shirt", "trousers"])


@pytest.mark.parametrize("content", ["[]", "{", '{"pants": "Jeans"}', '{"pants": []}'])
def test_a_label_map_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "map.json").write_text(content)
    with pytest.raises(UserError, match="map.json"):
        read_label_map(tmp_path / "map.json")


def test_pooled_kinds_keep_what_is_right_for_each_row():
    fine = outputs(5)
    coarse = SplitOutputs(
        fine.logits, fine.embeddings, np.array([1, 0, 1, 0, 1]), fine.groups, TREE.nodes[0] == [[0], [1]]
    )
    images, kind_of = pool([fine, coarse])
    assert kind_of.tolist() == [0] * 5 + [1] * 5
    assert (images.right()[:5] == np.eye(4, dtype=bool)[fine.truth]).all()
    assert (images.right()[5:] == coarse.right()).all()


def test_a_kind_that_is_often_wrong_raises_the_thresholds_for_all():
    confidence = np.concatenate([np.full(2000, 0.6), np.full(100, 0.6), np.full(100, 0.9)])
    right = np.concatenate([np.ones(2000, bool), np.arange(100) % 5 > 0, np.ones(100, bool)])
    level = LevelAnswers(np.full(2200, "a", dtype=object), confidence, right)
    raised = raise_for_kinds(level, {"a": 0.5}, 0.99, np.repeat([0, 1], [2000, 200]))
    assert 0.6 < raised["a"] <= 0.9
    assert accepted(level, raised)[-100:].all()


def test_ten_right_answers_do_not_sharpen():
    logits = np.eye(4)[[0, 1, 2, 3] * 3][:10] * 3
    assert fit_temperature(logits, np.array([0, 1, 2, 3] * 3)[:10]) == 1.0


def test_every_answer_right_hardly_sharpens():
    truth = np.arange(400) % 4
    assert fit_temperature(np.eye(4)[truth] * 9.0, truth) > 0.5


def test_sets_hold_all_labels_where_the_rows_cannot_hold_the_coverage():
    probabilities = softmax(np.eye(4)[[0, 1, 2, 3]] * 9, axis=1)
    quantile = conformal(probabilities, np.eye(4, dtype=bool), 0.95)["quantile"]
    calibration = Calibration(1.0, 0.99, [], prediction_set_quantile=quantile)
    assert sorted(calibration.prediction_set(probabilities[0])) == [0, 1, 2, 3]


def test_a_head_tells_others_from_every_kind():
    others = SplitOutputs(
        np.full((80, 4), 3.0, dtype=np.float32) + np.random.default_rng(2).normal(size=(80, 4)).astype(np.float32),
        np.random.default_rng(3).normal(size=(80, 4)).astype(np.float32) - 1,
        np.zeros(80, dtype=int),
        np.arange(80).astype(str),
    )
    kinds = {"catalog": outputs(400), "photos": outputs(100, seed=1, noise=1.5)}
    detector, report = fit_head(kinds, {"noise": others})
    fresh = outputs(300, seed=5)
    assert (detector.scores(fresh.logits, fresh.embeddings) >= detector.threshold).mean() < 0.06
    assert (detector.scores(others.logits, others.embeddings) >= detector.threshold).mean() > 0.9
    assert max(report["catalog"], report["photos"]) <= FALSE_ALARMS + 0.01
    assert report["noise"] > 0.9


def test_what_can_be_published_is_measured_for_each_kind():
    rows = publishable(TREE, HeldOut({"catalog": outputs(600), "photos": outputs(200, seed=1)}), [0.9])
    assert {(row.kind, row.level) for row in rows} == {
        (k, level) for k in ("catalog", "photos") for level in TREE.levels
    }
    assert all(row.right <= row.published <= row.rows and row.published > 0 for row in rows)
    assert len(publishable_table(rows)) == 2 + len(rows)


def test_the_suggestion_publishes_most_within_the_budget_of_every_kind():
    rows = [
        Publishable("catalog", "label", 0.9, 100, 90, 85),
        Publishable("catalog", "label", 0.95, 100, 70, 69),
        Publishable("catalog", "label", 0.99, 100, 40, 40),
    ]
    assert suggestion(rows, "label", 0.01) == 0.95
    assert suggestion(rows, "label", 0.2) == 0.9
    assert suggestion([*rows, Publishable("photos", "label", 0.95, 10, 9, 8)], "label", 0.01) == 0.99
    assert suggestion(rows[:1], "label", 0.01) is None
