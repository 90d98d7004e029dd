"""What calibrate.py fits, of one kind of image and of several: temperature, floor, prediction sets, the whole file."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from app.calibration import Calibration
from app.probabilities import Softmax
from app.probabilities import softmax as own_softmax
from app.taxonomy import Taxonomy
from evaluation.calibration import (
    FEW_ROWS,
    PRIOR_DEVIATION,
    HeldOut,
    category_shares,
    conformal,
    fit_calibration,
    fit_detector,
    fit_softmax,
    fit_temperature,
    rows_for_coverage,
    write_calibration,
)
from evaluation.kinds import pool
from evaluation.ood import centers_of, fit_unknown
from evaluation.predictions import SplitOutputs
from evaluation.scoring import expected_calibration_error
from evaluation.thresholds import answers, fit_thresholds, shared_interval
from evaluation.unknown_head import fit_head
from tests.drawn_outputs import EITHER, TREE, elsewhere, outputs, smoothed_answers, two_kinds


@pytest.fixture(scope="module")
def kinds() -> dict[str, SplitOutputs]:
    return two_kinds()


# --- the temperature --------------------------------------------------------------------------------------------------


def answers_too_sure_by(factor: float, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    honest = generator.normal(size=(rows, 4)) * 1.5
    truth = np.array([generator.choice(4, p=row) for row in softmax(honest, axis=1)])
    return honest * factor, truth


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_how_much_too_sure_the_answers_are(factor):
    logits, truth = answers_too_sure_by(factor, 6000)
    assert fit_temperature(logits, truth) == pytest.approx(factor, rel=0.06)


def test_fewer_than_the_few_rows_never_sharpen_and_that_many_do():
    logits, truth = answers_too_sure_by(0.4, 6000)
    assert fit_temperature(logits[: FEW_ROWS - 1], truth[: FEW_ROWS - 1]) == 1.0
    assert fit_temperature(logits[:FEW_ROWS], truth[:FEW_ROWS]) < 0.8


def test_a_prior_holds_the_temperature_near_one_where_there_is_little_evidence():
    logits, truth = answers_too_sure_by(8.0, 6000)
    few, many = fit_temperature(logits[:10], truth[:10]), fit_temperature(logits, truth)
    assert 1.0 <= few < 4.0 < many


def test_every_kind_counts_alike_however_many_images_it_has():
    many, many_truth = answers_too_sure_by(1.0, 4000)
    few, few_truth = answers_too_sure_by(4.0, 400, seed=1)
    logits, truth = np.concatenate([many, few]), np.concatenate([many_truth, few_truth])
    kind_of = np.repeat([0, 1], [4000, 400])
    assert fit_temperature(logits, truth) < 1.4 < 1.7 < fit_temperature(logits, truth, None, kind_of)


def test_of_a_coarser_class_the_probability_is_that_of_all_its_labels():
    logits = np.tile([[2.0, 2.0, -2.0, -2.0]], (400, 1))
    halves = np.arange(400) % 2  # either of two labels, alike often: exactly as sure as it says
    members = np.array([[True, True, False, False], [False, False, True, True]])
    plain = fit_temperature(logits, halves)
    assert plain == pytest.approx(fit_temperature(logits, np.zeros(400, dtype=int), members), rel=0.5)
    always = fit_temperature(logits, np.zeros(400, dtype=int), members)
    assert always < 1.0  # never wrong: more sure may be


def loss_of(images: SplitOutputs, kind_of: np.ndarray, temperature: float) -> float:
    """The mean negative log-likelihood of the kinds, times the rows, and the prior; as in the function's docstring."""
    of_right = (softmax(images.logits.astype(float) / temperature, axis=1) * images.right()).sum(axis=1)
    of_kinds = [-np.log(np.maximum(of_right[kind_of == kind], 1e-12)).mean() for kind in np.unique(kind_of)]
    return len(of_right) * np.mean(of_kinds) + (np.log(temperature) / PRIOR_DEVIATION) ** 2 / 2


@pytest.mark.parametrize("rows", [FEW_ROWS // 10, 900])
def test_the_temperature_is_the_most_likely_one_under_the_prior(rows):
    images, kind_of = pool([outputs(6, 4, rows, 0), outputs(4, 5, rows // 3, 1, EITHER)])
    best = minimize_scalar(lambda t: loss_of(images, kind_of, t), bounds=(0.2, 9), method="bounded").x
    assert best > 1.05
    assert fit_temperature(images.logits, images.truth, images.members, kind_of) == pytest.approx(best, rel=1e-3)


# --- the floor --------------------------------------------------------------------------------------------------------


def test_the_floor_that_smoothed_labels_leave_is_found_which_no_temperature_undoes():
    images = smoothed_answers(4000)
    scale, temperature = fit_softmax(images), Softmax(fit_temperature(images.logits, images.truth))
    assert scale.floor is not None and scale.floor.sum() == pytest.approx(0.2, abs=0.06)
    with_floor, without = (expected_calibration_error(one(images.logits), images.truth) for one in (scale, temperature))
    assert with_floor < 0.02 < without


def test_few_images_cannot_show_a_floor():
    assert fit_softmax(smoothed_answers(FEW_ROWS - 1)).floor is None


def test_a_floor_is_fitted_on_the_kinds_and_the_classes_there_are(kinds):
    images, kind_of = pool([smoothed_answers(900, 4), kinds["photos"]])
    scale = fit_softmax(images, kind_of)
    fits = {}
    for share in (0, 1, 2, 4):
        floor = share * np.median(own_softmax(images.logits), axis=0) if share else None
        logits = images.logits if floor is None else np.log(Softmax(1.0, floor)(images.logits))
        changed = SplitOutputs(logits, None, images.truth, images.groups, images.members)
        fits[share] = min(loss_of(changed, kind_of, t) for t in np.geomspace(0.5, 3, 200))
    chosen = min(fits, key=fits.get)
    assert chosen and scale.floor == pytest.approx(chosen * np.median(own_softmax(images.logits), axis=0))


# --- prediction sets --------------------------------------------------------------------------------------------------


def test_the_quantile_is_the_conformal_one_of_the_sums_above_the_right_label():
    # The right label is the best in 8 of 10 rows (sum 0), the second in the others (sum 0.6).
    probabilities = np.tile([[0.6, 0.3, 0.1]], (10, 1))
    right = np.eye(3, dtype=bool)[[0] * 8 + [1] * 2]
    assert conformal(probabilities, right, 0.7)["quantile"] == pytest.approx(0.0, abs=1e-8)  # rank 8 of 10
    assert conformal(probabilities, right, 0.8)["quantile"] == pytest.approx(0.6, abs=1e-8)  # rank 9 of 10
    assert conformal(probabilities, right, 0.8)["coverage"] == 0.8
    assert conformal(probabilities, right, 0.95) == {"coverage": 0.95, "quantile": 1.0}  # rank 11 of 10: all labels


def test_of_several_right_labels_the_best_counts():
    probabilities = np.tile([[0.6, 0.3, 0.1]], (10, 1))
    right = np.tile([[True, False, True]], (10, 1))
    assert conformal(probabilities, right, 0.8)["quantile"] == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize(("coverage", "rows"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1), (0.93, 14)])
def test_a_coverage_takes_so_many_rows(coverage, rows):
    assert rows_for_coverage(coverage) == rows
    probabilities, right = np.full((rows, 2), 0.5), np.ones((rows, 2), dtype=bool)
    assert conformal(probabilities, right, coverage)["quantile"] < 1
    if rows > 1:
        assert conformal(probabilities[1:], right[1:], coverage)["quantile"] == 1.0


def test_a_set_holds_labels_while_the_sum_before_them_does_not_exceed_the_quantile():
    probabilities = np.array([0.1, 0.6, 0.3])
    sets = {
        q: Calibration(1.0, 0.99, [], None, q).prediction_set(probabilities).tolist() for q in (0.0, 0.59, 0.61, 1.0)
    }
    assert sets == {0.0: [1], 0.59: [1], 0.61: [1, 2], 1.0: [1, 2, 0]}


def test_a_quantile_of_one_takes_every_label_whatever_rounding_does():
    probabilities = np.array([0.6, 0.4 + 1e-9, 0.0, 0.0])
    assert len(Calibration(1.0, 0.99, [], None, 1.0).prediction_set(probabilities)) == 4


# --- all together -----------------------------------------------------------------------------------------------------


def test_the_shares_are_those_of_the_best_labels_broadest_category():
    probabilities = np.eye(4)[[0, 1, 3, 3, 0, 1, 2, 2]]
    assert category_shares(TREE, probabilities) == {"Apparel": 0.75, "Footwear": 0.25}
    assert category_shares(TREE, np.eye(4)[[0, 1, 2]]) == {"Apparel": 0.66667, "Footwear": 0.33333}
    assert category_shares(TREE, probabilities[:1]) == {"Apparel": 1.0, "Footwear": 0.0}


def test_a_calibration_is_of_all_kinds_and_of_every_right_label(kinds):
    held_out = HeldOut(kinds)
    images, kind_of = held_out.pooled()
    fitted, _ = fit_calibration(TREE, held_out, 0.9, 0.8)
    scale = fit_softmax(images, kind_of)
    probabilities = scale(images.logits)
    assert fitted["temperature"] == scale.temperature and fitted["rows"] == {"catalog": 900, "photos": 400}
    expected = fit_thresholds(TREE, probabilities, images.truth, 0.9, images.members, kind_of)
    assert fitted["thresholds"] == expected
    assert expected != fit_thresholds(TREE, probabilities, images.truth, 0.9, images.members)  # kinds make a difference
    for depth, level in enumerate(TREE.levels):
        of_level = answers(TREE, probabilities, images.truth, depth, images.members)
        assert fitted["threshold_intervals"][level] == shared_interval(of_level, 0.9)
    assert fitted["conformal"] == conformal(probabilities, images.right(), 0.8)


def test_where_there_are_other_things_the_file_holds_a_head_and_how_well_it_does(kinds, tmp_path):
    others, learned = {"tiles": elsewhere(200, 2)}, {"training": outputs(4, 1, 300, 3)}
    held_out = HeldOut(kinds, None, others, learned)
    fitted, detector = fit_calibration(TREE, held_out, 0.9, None)
    expected, report = fit_head(kinds, others, learned)
    assert np.array_equal(detector.head, expected.head) and detector.middle == expected.middle
    unknown = fitted["unknown"]
    assert unknown["head"] == [float(f"{weight:.5g}") for weight in expected.head]
    assert unknown["called_unknown"] == {name: round(share, 4) for name, share in report.items()}
    assert set(unknown) == {"method", "threshold", "middle", "width", "weight", "head", "called_unknown"}
    write_calibration(tmp_path, fitted, detector)
    read = Calibration.load(tmp_path, TREE.levels, TREE.paths).unknown
    assert (read.method, read.threshold, read.middle, read.width) == ("head", 0.5, detector.middle, 1.0)
    assert read.head.tolist() == unknown["head"]


def test_without_other_things_the_file_says_the_area_on_held_out_labels():
    catalog = outputs(4, 1, 400, 0)
    rare = catalog.rows(np.flatnonzero((catalog.truth == 0) | (np.arange(400) < 40)))
    centers = centers_of(outputs(4, 1, 400, 5), rare)
    detector, content = fit_detector(TREE, HeldOut({"catalog": rare}, centers))
    expected, area = fit_unknown(rare, centers, TREE)
    assert detector.method == expected.method == "centres" and detector.middle == expected.middle
    assert content == {"held_out_auroc": None if np.isnan(area) else round(area, 4)}


def test_rare_labels_have_an_area_also_where_the_graph_has_no_embeddings():
    flat = Taxonomy([[str(label)] for label in range(4)])
    truth = np.array([0] * 197 + [1, 2, 3])
    logits = 3 * np.eye(4)[truth] + np.random.default_rng(0).normal(size=(200, 4))
    split = SplitOutputs(logits, None, truth, np.arange(200).astype(str))
    _, area = fit_unknown(split, None, flat)
    assert 0.5 < area < 1 and round(area, 4) != round(area, 5)
    assert fit_detector(flat, HeldOut({"a": split}))[1] == {"held_out_auroc": round(area, 4)}
