"""What is called unknown: the scores by their papers' formulas, class means, held-out categories, the learned head."""

from dataclasses import replace

import numpy as np
import pytest

from app.calibration import HEAD_EXTRAS, UnknownDetector, center_distance, energy, head_inputs, normalized
from app.taxonomy import Taxonomy
from evaluation import ood
from evaluation.kinds import pool
from evaluation.ood import (
    Centers,
    centers_of,
    class_means,
    exactly_labeled,
    fit_unknown,
    folds,
    held_out_auroc,
    out_of_fold_centers,
    raw_scores,
)
from evaluation.predictions import SplitOutputs
from evaluation.unknown_head import FALSE_ALARMS, balanced, fit_head, least_of_few, regress, scale_of, thinned
from tests.drawn_outputs import elsewhere, outputs, two_kinds

EIGHT = Taxonomy([[f"family {i // 2}", str(i)] for i in range(8)], ["family", "label"])


def split_of(logits, embeddings=None, truth=None) -> SplitOutputs:
    rows = len(logits)
    truth = np.zeros(rows, dtype=int) if truth is None else np.asarray(truth)
    embeddings = None if embeddings is None else np.asarray(embeddings, dtype=np.float32)
    return SplitOutputs(np.asarray(logits, dtype=np.float32), embeddings, truth, np.arange(rows).astype(str))


@pytest.fixture(scope="module")
def kinds() -> dict[str, SplitOutputs]:
    return two_kinds()


# --- scores ----------------------------------------------------------------------------------------------------------


def test_the_energy_is_minus_the_log_of_the_sum_of_exponentials():
    logits = np.array([[1.0, 2.0, 3.0], [-5.0, 0.0, 5.0]])
    assert energy(logits) == pytest.approx(-np.log(np.exp(logits).sum(axis=1)))
    assert energy(np.array([[1e4, 1e4]], dtype=np.float32)) == pytest.approx([-1e4 - np.log(2)])


def test_the_distance_is_one_minus_the_largest_cosine():
    centers = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert center_distance(np.array([[3.0, 4.0], [-2.0, 0.0]]), centers) == pytest.approx([0.2, 1.0])


def test_rows_of_length_1_and_zeros_stay_zeros():
    assert normalized(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]


def test_a_head_reads_the_direction_the_energy_the_largest_logit_and_the_length():
    (row,) = head_inputs(np.array([[1.0, 3.0]]), np.array([[3.0, 4.0]], dtype=np.float32))
    assert row == pytest.approx([0.6, 0.8, -np.log(np.e + np.e**3), 3.0, 5.0])
    assert len(row) == 2 + HEAD_EXTRAS


@pytest.mark.parametrize(
    ("method", "more", "raw"),
    [
        ("energy", {}, -np.log(np.e + np.e**3)),
        ("centres", {"weight": 2.0, "centers": np.array([[1.0, 0.0]])}, -np.log(np.e + np.e**3) + 2 * 0.4),
        ("head", {"head": np.array([1.0, 0.0, 0.0, 0.0, 1.0])}, 0.6 + 5.0),
    ],
)
def test_a_score_is_a_logistic_function_of_the_raw_value(method, more, raw):
    detector = UnknownDetector(method, 0.5, middle=1.0, width=2.0, **more)
    scores = detector.scores(np.array([[1.0, 3.0]]), np.array([[3.0, 4.0]], dtype=np.float32))
    assert scores == pytest.approx([1 / (1 + np.exp((1.0 - raw) / 2.0))])


def test_an_extreme_value_is_a_score_and_no_overflow():
    scores = UnknownDetector("energy", 0.5, middle=0, width=1e-3).scores(np.array([[1e4], [-1e4]]), None)
    assert scores == pytest.approx([np.exp(-60), 1.0])


@pytest.mark.parametrize(
    ("more", "size"), [({}, None), ({"centers": np.ones((4, 7))}, 7), ({"head": np.ones(7 + HEAD_EXTRAS)}, 7)]
)
def test_a_detector_knows_how_long_the_embeddings_are_that_it_reads(more, size):
    assert UnknownDetector("any", 0.5, 0.0, 1.0, **more).embedding_size == size


def test_the_surest_scores_are_held_where_exponentials_can():
    detector = UnknownDetector("energy", 0.5, middle=0, width=1e-3)
    with np.errstate(all="raise"):
        low, high = detector.scores(np.array([[1e4], [-1e4]]), None)
    assert low == pytest.approx(1 / (1 + np.exp(60)), rel=1e-9, abs=0) and high == 1 / (1 + np.exp(-60))


def test_a_detector_of_energies_needs_no_embeddings():
    detector = UnknownDetector("energy", 0.5, 0.0, 1.0)
    assert detector.embedding_size is None and detector.scores(np.zeros((1, 1)), None) == pytest.approx([0.5])


# --- class means -----------------------------------------------------------------------------------------------------


def test_a_class_mean_counts_every_image_alike_and_has_length_1():
    embeddings = np.array([[2.0, 0.0], [0.0, 9.0], [5.0, 5.0]], dtype=np.float32)
    means = class_means(embeddings, np.array([0, 0, 1]), np.array([0, 1, 2]))
    half = np.sqrt(0.5)
    assert means == pytest.approx(np.array([[half, half], [half, half], [0.0, 0.0]]), abs=1e-6)


def test_centers_are_of_training_images_and_similarities_of_held_out_ones():
    training = split_of(np.zeros((3, 4)), [[1, 0], [0, 1], [0, 1]], [1, 3, 3])
    centers = centers_of(training, split_of(np.zeros((1, 4)), [[3, 4]]))
    assert centers.labels.tolist() == [1, 3]
    assert centers.similarity == pytest.approx(np.array([[0.6, 0.8]]))


def test_out_of_fold_an_image_is_compared_with_the_means_of_the_other_folds():
    embeddings = np.array([[1, 0], [0, 1], [0, 2], [3, 0], [0, 5], [4, 3]], dtype=np.float32)
    truth, fold_of = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 1, 0, 1, 1, 2])
    images = SplitOutputs(np.zeros((6, 2), dtype=np.float32), embeddings, truth, np.arange(6).astype(str))
    centers = out_of_fold_centers(images, fold_of)

    def means(*rows: tuple[float, float]) -> np.ndarray:
        return np.sum(rows, axis=0) / np.linalg.norm(np.sum(rows, axis=0))

    # The means of label 0 and of label 1 without the images of fold 0, of fold 1 and of fold 2.
    without = [
        (means((0, 1), (0.8, 0.6)), means((1, 0), (0, 1))),
        (means((1, 0), (0.8, 0.6)), means((0, 1))),
        (means((1, 0), (0, 1)), means((0, 1), (1, 0), (0, 1))),
    ]
    directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected = [[row @ mean for mean in without[fold]] for row, fold in zip(directions, fold_of, strict=True)]
    assert centers.similarity == pytest.approx(np.array(expected), abs=1e-6)
    assert centers.similarity.dtype == np.float32 and centers.labels.tolist() == [0, 1]
    of_all = [means((1, 0), (0, 1), (0.8, 0.6)), means((0, 1), (1, 0), (0, 1))]
    assert centers.vectors == pytest.approx(np.array(of_all), abs=1e-6)


def test_only_images_with_a_label_of_their_own_are_held_out(kinds):
    images, kind_of = pool(list(kinds.values()))
    centers = centers_of(outputs(3, 1, 40, 5), images)
    rows, kept = exactly_labeled(images, centers)
    catalog = kind_of == 0
    assert np.array_equal(rows.logits, images.logits[catalog]) and rows.members is None
    assert np.array_equal(rows.truth, kinds["catalog"].truth)
    assert np.array_equal(kept.similarity, centers.similarity[catalog]) and kept.vectors is centers.vectors
    assert exactly_labeled(images, None)[1] is None
    assert exactly_labeled(kinds["catalog"], centers) == (kinds["catalog"], centers)
    single = replace(kinds["photos"], members=np.array([[False, False, True, False], [True, True, False, False]]))
    labels = exactly_labeled(single, None)[0].truth
    assert set(labels) == {2} and len(labels) == (single.truth == 0).sum()


def test_rare_categories_one_level_above_the_labels_are_held_out_in_turn(monkeypatch):
    monkeypatch.setattr(ood, "RARE", 0.2)
    truth = np.repeat(np.arange(8), [50, 50, 5, 5, 5, 5, 0, 0])  # family 0 is large, family 3 has no image
    masks = folds(truth, EIGHT)
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [[2, 3], [4, 5]]


def test_a_taxonomy_of_one_level_holds_out_labels_and_never_all(monkeypatch):
    monkeypatch.setattr(ood, "RARE", 0.6)
    flat = Taxonomy([["x"], ["y"]])
    assert [np.flatnonzero(mask).tolist() for mask in folds(np.array([0, 1]), flat)] == [[0], [1]]
    monkeypatch.setattr(ood, "FOLDS", 1)
    assert folds(np.array([0, 1]), flat) == []


def test_a_category_of_exactly_the_limit_is_not_rare(monkeypatch):
    monkeypatch.setattr(ood, "RARE", 0.25)
    truth = np.repeat([0, 2, 4], [10, 5, 5])
    assert folds(truth, EIGHT) == []


def test_the_raw_score_adds_the_weighted_distance():
    logits, similarity = np.zeros((1, 2)), np.array([[0.1, 0.7]])
    assert raw_scores(logits, similarity, 10.0) == pytest.approx([-np.log(2) + 3.0])
    assert raw_scores(logits, None, 0.0) == pytest.approx([-np.log(2)])


def eight_classes(rows: int = 640) -> tuple[SplitOutputs, Centers]:
    """Classes on the axes of an 8-dimensional space; logits do not tell the unknown ones, distances do."""
    generator, truth = np.random.default_rng(0), np.arange(rows) % 8
    embeddings = np.eye(8)[truth] + generator.normal(scale=0.05, size=(rows, 8))
    split = split_of(generator.normal(size=(rows, 8)), embeddings, truth)
    return split, centers_of(split, split)


def test_distances_count_as_much_as_they_help(monkeypatch):
    monkeypatch.setattr(ood, "RARE", 0.5)
    split, centers = eight_classes()
    alone, together = (held_out_auroc(split, centers, EIGHT, weight) for weight in (0.0, 40.0))
    assert alone == pytest.approx(0.5, abs=0.1) and together > 0.99
    detector, area = fit_unknown(split, centers, EIGHT)
    assert (detector.method, detector.weight, detector.threshold) == ("centres", 40.0, 0.5)
    assert area == pytest.approx(together)
    assert np.array_equal(detector.centers, centers.vectors)
    raw = raw_scores(split.logits, centers.similarity, 40.0)
    assert (detector.middle, detector.width) == pytest.approx((np.quantile(raw, 0.98), raw.std()))
    called = (detector.scores(split.logits, split.embeddings) >= detector.threshold).mean()
    assert called == pytest.approx(0.02, abs=0.002)


def test_without_embeddings_the_energy_decides_and_without_rare_categories_the_area_is_not_known():
    split = split_of(np.random.default_rng(0).normal(size=(100, 8)), None, np.zeros(100, dtype=int))
    detector, area = fit_unknown(split, None, EIGHT)
    assert (detector.method, detector.weight, detector.centers) == ("energy", 0.0, None)
    assert np.isnan(area)
    raw = energy(split.logits)
    assert (detector.middle, detector.width) == pytest.approx((np.quantile(raw, 0.98), raw.std()))


def test_equal_scores_leave_a_width_that_can_divide():
    detector, _ = fit_unknown(split_of(np.zeros((10, 8)), None, np.zeros(10, dtype=int)), None, EIGHT)
    assert detector.width == 1e-6


# --- the learned head ------------------------------------------------------------------------------------------------


def cloud(place: float, rows: int, seed: int) -> SplitOutputs:
    generator = np.random.default_rng(seed)
    embeddings = np.array([1.0, place, 0.0, 0.0]) + generator.normal(scale=0.3, size=(rows, 4))
    return split_of(generator.normal(size=(rows, 4)), embeddings)


def test_of_every_kind_at_most_the_allowed_share_is_called_unknown():
    kinds = {"near": cloud(-1, 600, 0), "far": cloud(-0.2, 600, 1)}
    detector, report = fit_head(kinds, {"others": cloud(1.5, 300, 2)})
    assert report["far"] == pytest.approx(FALSE_ALARMS, abs=0.002)  # the kind that decides
    assert report["near"] < report["far"]
    assert report["others"] > 0.9 and 0.9 < report["auroc"] <= 1
    assert set(report) == {"near", "far", "others", "auroc"}
    for name, kind in kinds.items():
        called = (detector.scores(kind.logits, kind.embeddings) >= detector.threshold).mean()
        assert called == pytest.approx(report[name], abs=0.03)
    assert (detector.method, detector.threshold, detector.width) == ("head", 0.5, 1.0)


@pytest.mark.parametrize(("rows", "reach"), [(100, 4), (124, 4), (125, 5), (10, 0)])
def test_no_more_than_the_allowed_share_reaches_the_limit(rows, reach):
    scores = np.random.default_rng(0).permutation(rows).astype(float)
    assert (scores >= least_of_few(scores)).sum() == reach
    assert (np.r_[scores, scores] >= least_of_few(np.r_[scores, scores])).sum() <= FALSE_ALARMS * 2 * rows


def test_images_that_the_model_learned_teach_the_head_and_do_not_set_its_threshold():
    kinds, others = {"photos": cloud(-0.2, 300, 0)}, {"others": cloud(1.5, 300, 1)}
    like_others = {"photos": cloud(1.5, 300, 2)}
    _, before = fit_head(kinds, others)
    _, after = fit_head(kinds, others, like_others)
    assert after["photos"] == pytest.approx(FALSE_ALARMS, abs=0.005)
    assert after["auroc"] == pytest.approx(before["auroc"], abs=0.05)
    assert set(after) == set(before)


def test_every_part_counts_alike_and_known_ones_as_much_as_others():
    part_of = np.repeat([0, 1, 2, 3], [10, 30, 5, 15])
    weights = balanced(part_of, part_of >= 2)
    sums = np.bincount(part_of, weights)
    assert sums == pytest.approx([15.0] * 4)
    assert weights.mean() == pytest.approx(1)


def test_a_large_part_is_thinned_evenly(monkeypatch):
    monkeypatch.setattr("evaluation.unknown_head.MAX_ROWS", 3)
    assert thinned(split_of(np.arange(9)[:, None])).logits[:, 0].tolist() == [0, 4, 8]
    assert thinned(split_of(np.arange(2)[:, None])).logits[:, 0].tolist() == [0, 1]


def test_inputs_weigh_alike():
    inputs = np.array([[1.0, 1.0, 0.0, 3.0], [1.0, -1.0, 0.0, 5.0]])
    assert scale_of(inputs) == pytest.approx([0.1, 1.0, 1e-6, 1.0])


def repeated(part: SplitOutputs, times: int) -> SplitOutputs:
    return part.rows(np.tile(np.arange(len(part.truth)), times))


def test_a_folder_of_others_counts_alike_however_many_images_it_has(kinds):
    photos = {"photos": kinds["photos"]}
    near, far = outputs(1, 1, 150, 7), elsewhere(150, 8)
    _, report = fit_head(photos, {"near": near, "far": far})
    _, again = fit_head(photos, {"near": near, "far": repeated(far, 6)})
    assert again["auroc"] == pytest.approx(report["auroc"], abs=0.01) and report["auroc"] < 0.97


def test_the_head_is_a_regression_between_what_is_known_and_the_others():
    known, learned, others = outputs(4, 1, 90, 0), outputs(3, 1, 40, 2), elsewhere(30, 1)
    detector, _ = fit_head({"a": known}, {"o": others}, {"a": learned})
    parts = [known, others, learned]
    inputs = np.concatenate([head_inputs(part.logits, part.embeddings) for part in parts])
    part_of = np.repeat([0, 1, 2], [90, 30, 40])
    scale = scale_of(inputs[part_of != 1])
    head, _ = regress(inputs / scale, part_of == 1, balanced(part_of, part_of == 1))
    assert detector.head == pytest.approx(head / scale)


def test_a_weight_is_how_often_an_image_counts():
    generator = np.random.default_rng(0)
    inputs, is_other = 5 + generator.normal(size=(60, 3)), np.arange(60) % 3 == 0
    inputs[is_other] += 1
    weights = np.repeat([1, 4], 30)
    times = np.repeat(np.arange(60), weights)
    head, constant = regress(inputs, is_other, weights.astype(float))
    again, of_again = regress(inputs[times], is_other[times], np.ones(len(times)))
    assert again == pytest.approx(head, rel=1e-2) and of_again == pytest.approx(constant, rel=1e-2)
    scores = inputs @ head + constant
    assert (scores[is_other] > 0).mean() > 0.5 > (scores[~is_other] > 0).mean()


def test_learned_images_are_known_ones():
    known, others = outputs(4, 1, 300, 0), elsewhere(200, 1)
    _, alone = fit_head({"a": known}, {"o": others})
    _, joined = fit_head({"a": known}, {"o": others}, {"a": outputs(4, 1, 600, 2), "b": outputs(4, 1, 600, 3)})
    assert alone["auroc"] > 0.99 and joined["auroc"] > 0.99 and joined["o"] > 0.95
