"""Several kinds of image at once, some with coarser classes: each number is of all parts and counts each part right."""

import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from app.calibration import Calibration, UnknownDetector, head_inputs
from app.model_files import ModelError
from app.probabilities import Softmax, read_floor
from app.probabilities import softmax as own_softmax
from app.taxonomy import Taxonomy
from evaluation.calibration import (
    FEW_ROWS,
    PRIOR_DEVIATION,
    HeldOut,
    conformal,
    fit_calibration,
    fit_detector,
    fit_softmax,
    fit_temperature,
    fitted_softmax,
    held_out_outputs,
    write_calibration,
)
from evaluation.kinds import pool
from evaluation.ood import centers_of, exactly_labeled, fit_unknown, out_of_fold_centers
from evaluation.predictions import SplitOutputs
from evaluation.publishable import Publishable, least_budget, publishable, publishable_table, with_interval
from evaluation.thresholds import answers, fit_thresholds, shared_interval
from evaluation.unknown_head import balanced, fit_head, regress, scale_of
from tests.make_tiny_model import LABELS, TAXONOMY

TREE = Taxonomy([TAXONOMY["paths"][label] for label in LABELS], TAXONOMY["levels"])
EITHER = np.array([[True, True, False, False], [False, False, True, True]])  # classes of two labels each


def outputs(sure: float, noise: float, rows: int, seed: int, members: np.ndarray | None = None) -> SplitOutputs:
    """Logits that are `sure` of a label, and a truth that is as often another as the noise makes it."""
    generator = np.random.default_rng(seed)
    truth = np.arange(rows) % 4
    logits = sure * np.eye(4)[truth] + generator.normal(scale=noise, size=(rows, 4))
    embeddings = np.eye(4)[truth] + generator.normal(scale=0.2, size=(rows, 4))
    shown = truth if members is None else members.argmax(axis=0)[truth]
    groups = np.arange(rows).astype(str)
    return SplitOutputs(logits.astype(np.float32), embeddings.astype(np.float32), shown, groups, members)


@pytest.fixture(scope="module")
def two_kinds() -> dict[str, SplitOutputs]:
    """A catalogue that is too modest, and photos with coarser classes that are far too sure."""
    return {"catalog": outputs(3, 0.3, 900, 0), "photos": outputs(3, 4, 400, 1, EITHER)}


# --- what is fitted --------------------------------------------------------------------------------------------------


def test_a_calibration_is_of_all_kinds_and_of_every_right_label(two_kinds):
    held_out = HeldOut(two_kinds)
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


def smoothed(rows: int, members: np.ndarray | None = None) -> SplitOutputs:
    """Probabilities of which a fifth is spread over all labels, as smoothed labels leave them."""
    generator = np.random.default_rng(0)
    true = softmax(generator.normal(0, 4, (rows, 4)), axis=1)
    truth = np.array([generator.choice(4, p=row) for row in true])
    truth = truth if members is None else members.argmax(axis=0)[truth]
    return SplitOutputs(np.log(0.8 * true + 0.05).astype(np.float32), None, truth, np.arange(rows).astype(str), members)


def test_a_floor_is_fitted_on_the_kinds_and_the_classes_there_are(two_kinds):
    images, kind_of = pool([smoothed(900), two_kinds["photos"]])
    scale = fit_softmax(images, kind_of)
    fits = {}
    for share in (0, 1, 2, 4):
        floor = share * np.median(own_softmax(images.logits), axis=0) if share else None
        logits = images.logits if floor is None else np.log(Softmax(1.0, floor)(images.logits))
        changed = SplitOutputs(logits, None, images.truth, images.groups, images.members)
        fits[share] = min(loss_of(changed, kind_of, t) for t in np.geomspace(0.5, 3, 200))
    chosen = min(fits, key=fits.get)
    assert chosen and scale.floor == pytest.approx(chosen * np.median(own_softmax(images.logits), axis=0))


def test_a_floor_is_written_with_three_digits_and_read_again(tmp_path):
    held_out = HeldOut({"catalog": smoothed(FEW_ROWS)})
    fitted, detector = fit_calibration(TREE, held_out, 0.9, None)
    floor = fit_softmax(held_out.pooled()[0]).floor
    assert fitted["floor"] == [float(f"{share:.3g}") for share in floor] and max(fitted["floor"]) > 0.01
    write_calibration(tmp_path, fitted, detector)
    read = Calibration.load(tmp_path, TREE.levels, TREE.paths)
    assert read.floor.tolist() == fitted["floor"] and read.floor.dtype == np.float64
    again = fitted_softmax(fitted)
    assert (again.temperature, again.floor.tolist()) == (fitted["temperature"], fitted["floor"])
    assert fitted_softmax(fitted | {"floor": None}).floor is None


# --- unknown things --------------------------------------------------------------------------------------------------


def elsewhere(rows: int, seed: int) -> SplitOutputs:
    generator = np.random.default_rng(seed)
    embeddings = (-np.ones(4) + generator.normal(scale=0.6, size=(rows, 4))).astype(np.float32)
    logits = generator.normal(size=(rows, 4)).astype(np.float32)
    return SplitOutputs(logits, embeddings, np.zeros(rows, dtype=int), np.arange(rows).astype(str))


def test_where_there_are_other_things_the_file_holds_a_head_and_how_well_it_does(two_kinds, tmp_path):
    others, learned = {"tiles": elsewhere(200, 2)}, {"training": outputs(4, 1, 300, 3)}
    held_out = HeldOut(two_kinds, None, others, learned)
    fitted, detector = fit_calibration(TREE, held_out, 0.9, None)
    expected, report = fit_head(two_kinds, others, learned)
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


def test_only_images_with_a_label_of_their_own_are_held_out(two_kinds):
    images, kind_of = pool(list(two_kinds.values()))
    centers = centers_of(outputs(3, 1, 40, 5), images)
    rows, kept = exactly_labeled(images, centers)
    catalog = kind_of == 0
    assert np.array_equal(rows.logits, images.logits[catalog]) and rows.members is None
    assert np.array_equal(rows.truth, two_kinds["catalog"].truth)
    assert np.array_equal(kept.similarity, centers.similarity[catalog]) and kept.vectors is centers.vectors
    assert exactly_labeled(images, None)[1] is None
    assert exactly_labeled(two_kinds["catalog"], centers) == (two_kinds["catalog"], centers)
    single = replace(two_kinds["photos"], members=np.array([[False, False, True, False], [True, True, False, False]]))
    labels = exactly_labeled(single, None)[0].truth
    assert set(labels) == {2} and len(labels) == (single.truth == 0).sum()


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


def repeated(part: SplitOutputs, times: int) -> SplitOutputs:
    return part.rows(np.tile(np.arange(len(part.truth)), times))


def test_a_folder_of_others_counts_alike_however_many_images_it_has(two_kinds):
    photos = {"photos": two_kinds["photos"]}
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


# --- what can be published -------------------------------------------------------------------------------------------


def certain(label: int, rows: int, truth: int, members: np.ndarray | None = None, sure: float = 9.0) -> SplitOutputs:
    logits = np.tile(sure * np.eye(4, dtype=np.float32)[label], (rows, 1))
    return SplitOutputs(logits, None, np.full(rows, truth), np.arange(rows).astype(str), members)


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


def mixed_photos() -> SplitOutputs:
    """250 answers of the first kind of confidence are wrong for 45, 200 surer ones are right."""
    unsure, sure = certain(2, 250, 1, EITHER, sure=4), certain(2, 200, 1, EITHER, sure=5)
    truth = np.r_[np.zeros(45, dtype=int), unsure.truth[45:], sure.truth]
    logits = np.concatenate([unsure.logits, sure.logits])
    groups = np.random.default_rng(0).permutation(450).astype(str)
    return SplitOutputs(logits, None, truth, groups, EITHER)


def test_promises_are_fitted_for_each_kind_as_the_calibration_fits_them(two_kinds):
    kinds = {"catalog": certain(2, 2000, 2, sure=6), "photos": mixed_photos()}
    photos = {row.kind: row for row in publishable(TREE, HeldOut(kinds), [0.95]) if row.level == "articleType"}[
        "photos"
    ]
    assert 150 < photos.published < 250 and photos.right == photos.published  # 45 wrong ones are not
    assert publishable(TREE, HeldOut(two_kinds), [0.9]) == publishable(TREE, HeldOut(two_kinds), [0.9])


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


def test_the_least_budget_is_of_its_level_and_of_the_worst_kind():
    rows = [
        Publishable("a", "label", 0.9, 1000, 500, 440),
        Publishable("b", "label", 0.9, 1000, 500, 490),
        Publishable("none", "label", 0.9, 0, 0, 0),
        Publishable("a", "top", 0.9, 1000, 500, 100),
    ]
    assert least_budget(rows, "label") == 0.06
    assert least_budget([Publishable("a", "label", 0.9, 5000, 5000, 4929)], "label") == 0.015  # 14.2 thousandths


# --- the softmax -----------------------------------------------------------------------------------------------------


def test_a_softmax_is_over_the_last_axis_and_says_nothing_of_rows_that_are_not_finite():
    assert own_softmax(np.zeros((2, 3, 4))) == pytest.approx(np.full((2, 3, 4), 0.25))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(Softmax()(np.array([[np.inf, np.inf]], dtype=np.float32))).all()


@pytest.mark.parametrize("share", [1, 1.5, -0.1, "0.1", None, True])
def test_a_floor_is_a_share_from_zero_to_below_one_for_each_label(share):
    assert read_floor([0, 0.5], 2).tolist() == [0.0, 0.5] and read_floor([0, 0], 2).dtype == np.float64
    with pytest.raises(TypeError, match="floor must be 2 numbers from 0 to below 1"):
        read_floor([0.1, share], 2)


def test_a_confidence_on_a_path_is_at_most_one_whatever_rounding_does():
    probabilities = np.array([0.6, 0.4 + 1e-9, 0.0, 0.0])
    assert TREE.path_confidences(probabilities, 0)[0] == 1.0 and TREE.best(probabilities, 0) == (0, 1.0)


def test_a_detector_of_energies_needs_no_embeddings():
    detector = UnknownDetector("energy", 0.5, 0.0, 1.0)
    assert detector.embedding_size is None and detector.scores(np.zeros((1, 1)), None) == pytest.approx([0.5])


# --- what the model is run on ----------------------------------------------------------------------------------------


class Readers:
    """Stands for what reads images, and notes what it was asked for."""

    def __init__(self, monkeypatch, kinds: dict[str, SplitOutputs]):
        self.asked: list[tuple] = []
        answers = {
            "read_kinds": kinds,
            "read_others": {"tiles": elsewhere(5, 0)},
            "read_training": {"catalog": outputs(3, 1, 8, 4)},
            "run_split": outputs(3, 1, 12, 5),
            "out_of_fold_outputs": (outputs(3, 1, 8, 6), np.arange(8) % 2),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(f"evaluation.calibration.{name}", self.note(name, answer))

    def note(self, name, answer):
        def reader(*given):
            self.asked.append((name, *given))
            return answer

        return reader


class Graph(SimpleNamespace):
    name = "tiny"

    def __init__(self, *names: str):
        super().__init__(outputs={"logits", *names})


def test_one_kind_is_compared_with_the_means_of_its_training_images(monkeypatch, two_kinds):
    readers, graph = Readers(monkeypatch, {"catalog": two_kinds["catalog"]}), Graph("embeddings")
    held_out = held_out_outputs(graph, ["data/catalog"], {"a": ["b"]})
    assert readers.asked == [
        ("read_kinds", graph, ["data/catalog"], "validation", {"a": ["b"]}),
        ("run_split", graph, "data/catalog", "train", 4000),
    ]
    assert held_out.kinds == {"catalog": two_kinds["catalog"]} and not held_out.others and not held_out.learned
    expected = centers_of(outputs(3, 1, 12, 5), two_kinds["catalog"])
    assert np.array_equal(held_out.centers.similarity, expected.similarity)


def test_without_embeddings_or_labels_of_its_own_there_are_no_means(monkeypatch, two_kinds):
    bare = {"catalog": replace(two_kinds["catalog"], embeddings=None)}
    for kinds in (bare, {"photos": two_kinds["photos"]}):
        readers = Readers(monkeypatch, kinds)
        held_out = held_out_outputs(Graph("embeddings"), ["data/a"], {})
        assert held_out.centers is None and held_out.kinds == kinds
        assert [name for name, *_ in readers.asked] == ["read_kinds"]


def test_images_of_other_things_are_read_beside_training_images(monkeypatch, two_kinds):
    readers, graph, folders = Readers(monkeypatch, two_kinds), Graph("embeddings"), [Path("tiles")]
    held_out = held_out_outputs(graph, ["data/a", "data/b"], {"a": ["b"]}, folders)
    assert readers.asked == [
        ("read_kinds", graph, ["data/a", "data/b"], "validation", {"a": ["b"]}),
        ("read_training", graph, ["data/a", "data/b"], 1000),
        ("read_others", graph, folders),
    ]
    assert held_out.kinds == two_kinds and held_out.centers is None
    assert list(held_out.others) == ["tiles"] and list(held_out.learned) == ["catalog"]
    with pytest.raises(ModelError) as caught:
        held_out_outputs(Graph(), ["data/a"], {}, folders)
    assert str(caught.value) == "the graph of tiny has no embeddings: leave --others out, or run export.py"


def test_answers_out_of_fold_are_named_after_their_dataset(monkeypatch, tmp_path):
    readers, graph = Readers(monkeypatch, {}), Graph("embeddings")
    held_out = held_out_outputs(graph, [str(tmp_path / "mine")], {}, oof=tmp_path / "oof.parquet")
    assert readers.asked == [("out_of_fold_outputs", graph, tmp_path / "oof.parquet", str(tmp_path / "mine"))]
    assert list(held_out.kinds) == ["mine"]
    images = held_out.kinds["mine"]
    expected = out_of_fold_centers(images, np.arange(8) % 2)
    assert np.array_equal(held_out.centers.similarity, expected.similarity)
    bare = replace(images, embeddings=None)
    monkeypatch.setattr("evaluation.calibration.out_of_fold_outputs", lambda *_: (bare, np.arange(8) % 2))
    assert held_out_outputs(graph, ["data/mine"], {}, oof=tmp_path / "oof.parquet").centers is None
