"""What calibrate.py fits: the temperature, prediction sets, shares of categories; and how calibration.json is read."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from app.calibration import (
    CENTERS_FILE,
    Calibration,
    CalibrationError,
    UnknownDetector,
    decide,
    model_hash,
    read_thresholds,
)
from app.probabilities import Softmax
from app.taxonomy import Taxonomy
from evaluation.calibration import (
    FEW_ROWS,
    HeldOut,
    category_shares,
    conformal,
    fit_calibration,
    fit_softmax,
    fit_temperature,
    rows_for_coverage,
    write_calibration,
)
from evaluation.predictions import SplitOutputs
from evaluation.publishable import Publishable, least_budget, publishable, suggestion
from evaluation.scoring import expected_calibration_error
from tests.make_tiny_model import LABELS, TAXONOMY, write_tiny_model

TREE = Taxonomy([TAXONOMY["paths"][label] for label in LABELS], TAXONOMY["levels"])


def answers_too_sure_by(factor: float, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    honest = generator.normal(size=(rows, 4)) * 1.5
    truth = np.array([generator.choice(4, p=row) for row in softmax(honest, axis=1)])
    return honest * factor, truth


# --- the temperature -------------------------------------------------------------------------------------------------


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


# --- prediction sets -------------------------------------------------------------------------------------------------


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


# --- what the file holds ---------------------------------------------------------------------------------------------


def held_out(rows: int = 800) -> HeldOut:
    generator = np.random.default_rng(0)
    truth = np.arange(rows) % 4
    logits = (6 * np.eye(4)[truth] + generator.normal(size=(rows, 4))).astype(np.float32)
    return HeldOut({"catalog": SplitOutputs(logits, None, truth, np.arange(rows).astype(str))})


def test_the_shares_are_those_of_the_best_labels_broadest_category():
    probabilities = np.eye(4)[[0, 1, 3, 3, 0, 1, 2, 2]]
    assert category_shares(TREE, probabilities) == {"Apparel": 0.75, "Footwear": 0.25}
    assert category_shares(TREE, np.eye(4)[[0, 1, LABELS.index("Flats")]]) == {"Apparel": 0.66667, "Footwear": 0.33333}
    assert category_shares(TREE, probabilities[:1]) == {"Apparel": 1.0, "Footwear": 0.0}


def test_what_is_fitted_is_what_is_read(tmp_path):
    fitted, detector = fit_calibration(TREE, held_out(), 0.95, 0.9)
    (tmp_path / CENTERS_FILE).write_bytes(b"of another detector")
    write_calibration(tmp_path, fitted, detector)
    assert not (tmp_path / CENTERS_FILE).exists()
    read = Calibration.load(tmp_path, TREE.levels, TREE.paths)
    assert read.temperature == fitted["temperature"] and read.target_precision == 0.95
    assert read.thresholds == [fitted["thresholds"][level] for level in TREE.levels]
    assert read.prediction_set_quantile == fitted["conformal"]["quantile"]
    assert (read.unknown.method, read.unknown.middle, read.unknown.width) == ("energy", detector.middle, detector.width)
    assert fitted["rows"] == {"catalog": 800}
    assert fitted["category_shares"] == {"Apparel": 0.75, "Footwear": 0.25}
    assert set(fitted["threshold_intervals"]) == set(TREE.levels)
    without, _ = fit_calibration(TREE, held_out(), 0.95, None)
    assert without["conformal"] is None


def test_class_means_are_written_in_16_bits_beside_the_file(tmp_path):
    detector = UnknownDetector("centres", 0.5, 0.0, 1.0, 2.0, np.array([[0.6, 0.8]], dtype=np.float32))
    write_calibration(tmp_path, {"version": 1}, detector)
    stored = np.load(tmp_path / CENTERS_FILE)
    assert stored.dtype == np.float16 and stored == pytest.approx(np.array([[0.6, 0.8]]), abs=1e-3)
    assert json.loads((tmp_path / "calibration.json").read_text()) == {"version": 1}


def test_calibrated_probabilities_are_the_softmax_at_the_temperature():
    assert Softmax(2.0)(np.array([[2.0, 0.0]])) == pytest.approx(softmax(np.array([[1.0, 0.0]]), axis=1))


def test_a_floor_is_taken_from_every_label_but_the_best():
    smoothed = np.log([[0.90, 0.06, 0.04], [0.48, 0.49, 0.03]])
    floor = np.array([0.05, 0.02, 0.03])
    kept = np.array(
        [[0.90, 0.04, 0.01], [0.43, 0.49, 0.02 * 0.03]]
    )  # a hundredth part or two stays of what is all floor
    assert Softmax(1.0, floor)(smoothed) == pytest.approx(kept / kept.sum(axis=1, keepdims=True))


def test_no_floor_changes_an_answer():
    generator = np.random.default_rng(0)
    logits, floor = generator.normal(0, 2, (500, 20)), generator.uniform(0, 0.2, 20)
    assert np.array_equal(Softmax(0.7, floor)(logits).argmax(axis=1), logits.argmax(axis=1))


def test_a_row_that_is_not_finite_stays_so_and_fails_its_own_image():
    probabilities = Softmax(1.0, np.full(2, 0.1))(np.array([[np.nan, 1.0], [3.0, 1.0]]))
    assert np.isnan(probabilities[0]).all() and probabilities[1].sum() == pytest.approx(1)


def smoothed_answers(rows: int, labels: int = 20, share: float = 0.2) -> SplitOutputs:
    """True probabilities under a floor, as a network gives them that learned smoothed labels."""
    generator = np.random.default_rng(0)
    true = softmax(generator.normal(0, 4, (rows, labels)), axis=1)
    truth = np.array([generator.choice(labels, p=row) for row in true])
    shown = (1 - share) * true + share / labels
    return SplitOutputs(np.log(shown).astype(np.float32), None, truth, np.arange(rows).astype(str))


def test_the_floor_that_smoothed_labels_leave_is_found_which_no_temperature_undoes():
    images = smoothed_answers(4000)
    scale, temperature = fit_softmax(images), Softmax(fit_temperature(images.logits, images.truth))
    assert scale.floor is not None and scale.floor.sum() == pytest.approx(0.2, abs=0.06)
    with_floor, without = (expected_calibration_error(one(images.logits), images.truth) for one in (scale, temperature))
    assert with_floor < 0.02 < without


def test_few_images_cannot_show_a_floor():
    assert fit_softmax(smoothed_answers(FEW_ROWS - 1)).floor is None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("temperature", 0, "temperature is 0; it must be a number above 0"),
        ("floor", [0.1], f"floor must be {len(LABELS)} numbers from 0 to below 1"),
        ("temperature", -1.0, "above 0"),
        ("target_precision", 1.01, "from 0 to 1"),
        ("target_precision", -0.01, "from 0 to 1"),
        ("conformal", {"quantile": 2}, "conformal quantile"),
        ("version", 2, "version 2 is not 1"),
        ("unknown", {"method": "head", "threshold": 0.5, "middle": 0, "width": 1, "head": [1, 2, 3]}, "more than 3"),
        ("unknown", {"method": "energy", "threshold": "x", "middle": 0, "width": 1}, "unknown threshold"),
        ("unknown", {"method": "energy", "threshold": 0.5, "middle": 0, "width": 0}, "width is 0"),
    ],
)
def test_a_value_outside_its_range_is_named(tmp_path, key, value, message):
    fitted, detector = fit_calibration(TREE, held_out(), 0.95, 0.9)
    write_calibration(tmp_path, fitted | {key: value}, detector)
    with pytest.raises(CalibrationError, match=message):
        Calibration.load(tmp_path, TREE.levels, TREE.paths)


@pytest.mark.parametrize(("key", "value"), [("target_precision", 0), ("target_precision", 1), ("temperature", 1e-9)])
def test_a_value_at_the_end_of_its_range_is_taken(tmp_path, key, value):
    fitted, detector = fit_calibration(TREE, held_out(), 0.95, 0.9)
    write_calibration(tmp_path, fitted | {key: value}, detector)
    assert getattr(Calibration.load(tmp_path, TREE.levels, TREE.paths), key) == value


def written(folder: Path, **changes) -> Path:
    """A model folder with a calibration in which these keys are others."""
    write_tiny_model(folder)
    fitted, detector = fit_calibration(TREE, held_out(), 0.95, 0.9)
    write_calibration(folder, fitted | changes, detector)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(CalibrationError) as caught:
        Calibration.load(folder, TREE.levels, TREE.paths)
    message = str(caught.value)
    cure = "; run calibrate.py on this model again, or delete it"
    assert message.startswith(f"{folder / 'calibration.json'}: ") and message.endswith(cure)
    return message.removeprefix(f"{folder / 'calibration.json'}: ").removesuffix(cure)


def test_a_calibration_belongs_to_the_graph_that_it_was_made_for(tmp_path, capsys):
    folder = written(tmp_path / "model", model_sha256="0" * 64)
    assert Calibration.load(folder, TREE.levels, TREE.paths) is None
    assert capsys.readouterr().err == (
        f"{folder / 'calibration.json'} was made for another model.onnx than the one beside it: it is not used; run "
        "calibrate.py on this model again\n"
    )
    own = written(tmp_path / "own", model_sha256=model_hash(folder / "model.onnx"))
    assert Calibration.load(own, TREE.levels, TREE.paths).target_precision == 0.95


def test_a_graph_has_another_hash_when_its_file_changes_and_the_same_in_another_place(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"one")
    second.write_bytes(b"one")
    assert model_hash(first) == model_hash(second) == hashlib.sha256(b"one").hexdigest()
    first.write_bytes(b"two")
    os.utime(first, ns=(second.stat().st_atime_ns, second.stat().st_mtime_ns + 1))
    assert model_hash(first) == hashlib.sha256(b"two").hexdigest()
    longer = second.stat()
    second.write_bytes(b"three")
    os.utime(second, ns=(longer.st_atime_ns, longer.st_mtime_ns))
    assert model_hash(second) == hashlib.sha256(b"three").hexdigest()


def test_a_missing_level_or_category_is_named(tmp_path):
    fitted, _ = fit_calibration(TREE, held_out(), 0.95, 0.9)
    least = fitted["thresholds"]
    folder = written(tmp_path / "a", thresholds={level: least[level] for level in TREE.levels[:2]})
    assert refusal(folder) == "it has no thresholds for the level 'articleType' of the model's taxonomy"
    folder = written(tmp_path / "b", thresholds=least | {"articleType": {"Flats": 0.5}})
    assert refusal(folder) == "it has no threshold for 3 of articleType: Scarves, Shirts, Tshirts"
    many = [["x", str(number)] for number in range(7)]
    with pytest.raises(CalibrationError, match=r"^it has no threshold for 7 of leaf: 0, 1, 2, 3, 4$"):
        read_thresholds({"top": {"x": None}, "leaf": {}}, ["top", "leaf"], many)
    folder = written(tmp_path / "c", thresholds=least | {"masterCategory": {"Apparel": 1.5, "Footwear": None}})
    assert refusal(folder) == "the threshold of 'Apparel' is 1.5; it must be a number from 0 to 1"


ENERGY = {"method": "energy", "threshold": 0.5, "middle": 0, "width": 1}


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        (ENERGY | {"method": "odd"}, "the unknown method 'odd' is not one of energy, centres, head"),
        (ENERGY | {"middle": None}, "middle is None; it must be a number"),
        (ENERGY | {"threshold": "x"}, "the unknown threshold is 'x'; it must be a number"),
        (ENERGY | {"method": "centres", "weight": "x"}, "weight is 'x'; it must be a number"),
    ],
)
def test_a_wrong_detector_is_named(tmp_path, unknown, message):
    assert refusal(written(tmp_path / "model", unknown=unknown)) == message


def test_a_detector_of_distances_has_its_weight_and_its_means(tmp_path):
    folder = written(tmp_path / "model", unknown=ENERGY | {"method": "centres", "weight": 7.5})
    np.save(folder / CENTERS_FILE, np.array([[3, 4], [1, 0]], dtype=np.float16))
    detector = Calibration.load(folder, TREE.levels, TREE.paths).unknown
    assert detector.weight == 7.5 and detector.centers == pytest.approx(np.array([[0.6, 0.8], [1, 0]]))
    assert detector.centers.dtype == np.float32
    assert Calibration.load(written(tmp_path / "b", unknown=ENERGY), TREE.levels, TREE.paths).unknown.weight == 0.0


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (b"no numbers", "unknown_centres.npy cannot be read (not a .npy file)"),
        (np.array([1.0, 2.0]), "unknown_centres.npy must hold a table, not 1 axes"),
        (np.ones((2, 2), dtype=int), "unknown_centres.npy must hold a table of finite numbers, not int64 (2, 2)"),
        (np.ones((0, 2)), "unknown_centres.npy must hold a table of finite numbers, not float64 (0, 2)"),
        (np.array([[np.nan]]), "unknown_centres.npy must hold a table of finite numbers, not float64 (1, 1)"),
    ],
)
def test_means_that_are_no_table_of_numbers_are_refused(tmp_path, numbers, message):
    folder = written(tmp_path / "model", unknown=ENERGY | {"method": "centres", "weight": 1})
    if isinstance(numbers, bytes):
        (folder / CENTERS_FILE).write_bytes(numbers)
    else:
        np.save(folder / CENTERS_FILE, numbers)
    assert refusal(folder) == message


def test_a_pickle_is_not_opened(tmp_path):
    folder = written(tmp_path / "model", unknown=ENERGY | {"method": "centres", "weight": 1})
    np.save(folder / CENTERS_FILE, np.array([{"a": print}], dtype=object), allow_pickle=True)
    assert refusal(folder).startswith("unknown_centres.npy cannot be read (")


def test_a_quantile_of_one_takes_every_label_whatever_rounding_does():
    probabilities = np.array([0.6, 0.4 + 1e-9, 0.0, 0.0])
    assert len(Calibration(1.0, 0.99, [], None, 1.0).prediction_set(probabilities)) == 4


def test_a_decision_without_a_category_has_no_confidences():
    least = [dict.fromkeys(names, 0.5) for names in TREE.categories]
    sure, torn = np.array([0.0, 0.0, 0.5, 0.5]), np.full(4, 0.25)
    detector = UnknownDetector("energy", 0.5, 0.0, 1.0)
    assert decide(None, TREE, sure, None) == ("review", [], [])
    assert decide(Calibration(1.0, 0.9, least, detector), TREE, sure, 0.5) == ("unknown", [], [])
    at_its_threshold = decide(Calibration(1.0, 0.9, least), TREE, sure, None)
    assert at_its_threshold == ("ok", ["Footwear", "Shoes", "Flats"], [0.5] * 3)
    none = [dict.fromkeys(names) for names in TREE.categories]
    assert decide(Calibration(1.0, 0.9, none), TREE, torn, None) == ("review", [], [])


def test_the_surest_scores_are_held_where_exponentials_can():
    detector = UnknownDetector("energy", 0.5, middle=0, width=1e-3)
    with np.errstate(all="raise"):
        low, high = detector.scores(np.array([[1e4], [-1e4]]), None)
    assert low == pytest.approx(1 / (1 + np.exp(60)), rel=1e-9, abs=0) and high == 1 / (1 + np.exp(-60))


# --- what can be published -------------------------------------------------------------------------------------------


def test_nothing_is_judged_by_what_it_helped_to_set():
    truth = np.zeros(300, dtype=int)
    logits = np.tile([[3.0, 0, 0, 0]], (300, 1)).astype(np.float32)
    alone = HeldOut({"all": SplitOutputs(logits, None, truth, np.array(["one"] * 300))})
    assert publishable(TREE, alone) == []  # one group cannot be split
    rows = publishable(TREE, held_out(), [0.9])
    assert [(row.kind, row.level, row.rows) for row in rows] == [("catalog", level, 800) for level in TREE.levels]
    known = np.zeros(800, dtype=bool)
    assert all(row.published == 0 for row in publishable(TREE, held_out(), [0.9], known))


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
