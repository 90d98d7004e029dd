"""Calibration: confidences become true, thresholds hold their promise, unknown images are told, bad files refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from scipy.special import softmax

import calibrate
from app.calibration import Calibration, CalibrationError, UnknownDetector, center_distance, energy, normalized
from app.classifier import Classifier
from app.model_files import ModelError
from app.taxonomy import Taxonomy
from evaluation import automation
from evaluation.calibration import conformal, fit_temperature
from evaluation.ood import Centers, fit_unknown, out_of_fold_centers
from evaluation.predictions import SplitOutputs
from evaluation.scoring import expected_calibration_error
from evaluation.thresholds import LevelAnswers, accepted, answers, fit_level, fit_thresholds, upper_bound
from tests.evaluation.kind_data import with_embeddings, write_catalog
from tests.make_tiny_model import COLOR_FOR_LABEL, LABELS, TAXONOMY, write_calibration, write_tiny_model

SURE, NEVER = 0.9, None


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_tiny_model(tmp_path / "model")


def ask(folder: Path, color: str | tuple):
    return Classifier.load(folder).predict([Image.new("RGB", (40, 40), color)], top_k=4)[0]


# --- what predictions become -----------------------------------------------------------------------------------------


def test_without_a_calibration_no_image_is_ok(folder):
    prediction = ask(folder, COLOR_FOR_LABEL["Flats"])
    assert (prediction.status, prediction.label, prediction.published_path) == ("review", "Flats", [])
    assert (prediction.unknown_score, prediction.prediction_set) == (None, [])
    assert Classifier.load(folder).calibration is None


def test_a_sure_answer_is_ok(folder):
    prediction = ask(write_calibration(folder), COLOR_FOR_LABEL["Flats"])
    assert (prediction.status, prediction.label) == ("ok", "Flats")
    assert prediction.published_path == prediction.category_path == TAXONOMY["paths"]["Flats"]
    assert prediction.published_confidences == prediction.path_confidences
    assert prediction.confidence > SURE


def test_of_an_unsure_answer_the_deepest_category_that_is_sure_may_be_published(folder):
    prediction = ask(write_calibration(folder), (200, 200, 0))  # between Tshirts and Shirts, both Topwear
    assert prediction.status == "review"
    assert prediction.label == prediction.top_k[0].label in ("Tshirts", "Shirts")
    assert prediction.confidence == prediction.top_k[0].confidence < SURE
    assert prediction.published_path == ["Apparel", "Topwear"] == prediction.category_path[:2]
    assert prediction.published_confidences[-1] > SURE


def test_of_an_answer_that_is_sure_at_no_level_nothing_may_be_published(folder):
    prediction = ask(write_calibration(folder, least=NEVER), COLOR_FOR_LABEL["Flats"])
    assert (prediction.status, prediction.label, prediction.published_path) == ("review", "Flats", [])
    assert prediction.confidence == prediction.top_k[0].confidence


def test_a_strange_image_is_unknown(folder):
    # The energy of the tiny model is low for pure colours and high for grey.
    unknown = {"method": "energy", "threshold": 0.5, "middle": -6.0, "width": 1.0}
    classifier = Classifier.load(write_calibration(folder, unknown=unknown))
    strange, known = classifier.predict([Image.new("RGB", (8, 8), "gray"), Image.new("RGB", (8, 8), "#ff0000")])
    assert (strange.status, strange.label, strange.published_path) == ("unknown", strange.top_k[0].label, [])
    assert (known.status, known.label) == ("ok", "Tshirts")
    assert 0 <= known.unknown_score < 0.5 <= strange.unknown_score <= 1


def test_the_temperature_moves_confidences_and_not_the_answer(folder):
    plain = ask(folder, (200, 180, 0))
    soft = ask(write_calibration(folder, temperature=3.0), (200, 180, 0))
    assert soft.top_k[0].label == plain.top_k[0].label
    assert soft.top_k[0].confidence < plain.top_k[0].confidence


def test_a_prediction_set_grows_until_it_is_sure_enough(folder):
    conformal = {"coverage": 0.9, "quantile": 0.95}
    classifier = Classifier.load(write_calibration(folder, conformal=conformal))
    clear, mixed = classifier.predict([Image.new("RGB", (8, 8), color) for color in ("#ff0000", (200, 200, 0))])
    assert clear.prediction_set == ["Tshirts"]
    assert set(mixed.prediction_set) == {"Tshirts", "Shirts"}


def test_test_time_augmentation_gives_the_same_answer_for_a_plain_image(folder):
    classifier = Classifier.load(folder)
    images = [Image.new("RGB", (40, 40), COLOR_FOR_LABEL[label]) for label in LABELS]
    alone, many = classifier.predict(images), classifier.predict(images, tta=12)
    assert [answer.label for answer in many] == [answer.label for answer in alone]
    confidences = [[answer.confidence for answer in run] for run in (many, alone)]
    assert confidences[0] == pytest.approx(confidences[1], abs=1e-5)


def test_test_time_augmentation_averages_an_image_with_its_mirror_image(folder):
    classifier = Classifier.load(folder)
    image = Image.effect_noise((40, 40), 90).convert("RGB")
    views = np.empty((12, 3, 32, 32), dtype=np.float32)
    classifier._read_views(image, views)
    assert np.array_equal(views[0], classifier.read(image))
    assert np.array_equal(views[1], views[0, :, :, ::-1])
    assert len({view.tobytes() for view in views}) == 12


@pytest.mark.parametrize("tta", [0, 13])
def test_impossible_numbers_of_views_are_refused(folder, tta):
    with pytest.raises(ValueError, match="tta must be 1"):
        Classifier.load(folder).predict([], tta=tta)


# --- files that do not fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"target_precision": 7}, "target_precision is 7"),
        ({"thresholds": {}}, "no thresholds for the level 'masterCategory'"),
        ({"least": 1.5}, "must be a number from 0 to 1"),
        (
            {"thresholds": {level: {"Bags": 0.5} for level in TAXONOMY["levels"]}},
            "no threshold for 2 of masterCategory",
        ),
        ({"thresholds": 3}, "not what calibrate.py writes"),
        ({"unknown": {"method": "magic"}}, "'magic' is not one of"),
        ({"unknown": {"method": "centres", "threshold": 0.5, "middle": 0, "width": 1, "weight": 1}}, "cannot be read"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused_in_one_line(folder, changes, message):
    with pytest.raises(ModelError, match=message) as caught:
        Classifier.load(write_calibration(folder, **changes))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_damaged_calibration_can_be_left_aside(folder):
    (folder / "calibration.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        Classifier.load(folder)
    assert Classifier.load(folder, calibrated=False).calibration is None


def test_class_means_for_another_graph_are_refused(folder):
    unknown = {"method": "centres", "threshold": 0.5, "middle": 0, "width": 1, "weight": 1}
    np.save(folder / "unknown_centres.npy", np.ones((4, 8), dtype=np.float16))
    with pytest.raises(ModelError, match="embeddings of 8 numbers, but the graph gives no embeddings"):
        Classifier.load(write_calibration(folder, unknown=unknown))


def test_class_means_that_are_a_pickle_are_refused(folder):
    unknown = {"method": "centres", "threshold": 0.5, "middle": 0, "width": 1, "weight": 1}
    np.save(folder / "unknown_centres.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ModelError, match="unknown_centres.npy cannot be read"):
        Classifier.load(write_calibration(folder, unknown=unknown))


# --- fitting ---------------------------------------------------------------------------------------------------------


def overconfident(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are three times too large for how often they are right, and the truth: (rows, 4) and (rows,)."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(rows, 4)) * 1.5
    truth = np.array([rng.choice(4, p=row) for row in softmax(honest, axis=1)])
    return honest * 3, truth


def test_temperature_scaling_finds_how_overconfident_the_logits_are():
    logits, truth = overconfident(4000)
    temperature = fit_temperature(logits, truth)
    assert temperature == pytest.approx(3, rel=0.1)
    assert expected_calibration_error(softmax(logits, axis=1), truth) > 0.1
    assert expected_calibration_error(softmax(logits / temperature, axis=1), truth) < 0.03


def test_prediction_sets_hold_the_true_label_as_often_as_promised():
    logits, truth = overconfident(4000)
    other, other_truth = overconfident(4000, seed=1)
    quantile = conformal(softmax(logits / 3, axis=1), np.eye(logits.shape[1], dtype=bool)[truth], 0.9)["quantile"]
    calibration = Calibration(1.0, 0.99, [], prediction_set_quantile=quantile)
    sets = [calibration.prediction_set(row) for row in softmax(other / 3, axis=1)]
    inside = np.mean([label in labels for label, labels in zip(other_truth, sets, strict=True)])
    assert inside == pytest.approx(0.9, abs=0.02)
    assert np.mean([len(labels) for labels in sets]) < 4


def test_thresholds_hold_their_promise_on_other_images():
    taxonomy = Taxonomy([TAXONOMY["paths"][label] for label in LABELS], TAXONOMY["levels"])
    logits, truth = overconfident(6000)
    other, other_truth = overconfident(6000, seed=1)
    thresholds = fit_thresholds(taxonomy, softmax(logits / 3, axis=1), truth, 0.9)
    for depth, level in enumerate(taxonomy.levels):
        answered = answers(taxonomy, softmax(other / 3, axis=1), other_truth, depth)
        passed = accepted(answered, thresholds[level])
        assert passed.mean() > 0.05
        assert answered.right[passed].mean() > 0.885


def level_of(rows: list[tuple[str, float, bool, int]]) -> LevelAnswers:
    columns = [np.repeat(column, [row[3] for row in rows]) for column in zip(*[row[:3] for row in rows], strict=True)]
    return LevelAnswers(columns[0].astype(object), columns[1].astype(float), columns[2].astype(bool))


def test_a_category_with_evidence_gets_its_own_threshold_and_a_bad_one_gets_none():
    rows = [("good", 0.6, True, 1000), ("shared", 0.9, True, 1000), ("shared", 0.5, False, 500)]
    rows += [("bad", 0.95, False, 20), ("few", 0.95, True, 3)]
    thresholds = fit_level(level_of(rows), {"good", "shared", "bad", "few", "unseen"}, 0.98)
    assert thresholds["good"] == pytest.approx(0.6, abs=1e-5)
    assert thresholds["shared"] == pytest.approx(0.9, abs=1e-5)
    assert thresholds["bad"] is None
    assert thresholds["few"] is not None
    assert thresholds["unseen"] == thresholds["few"]


def test_too_few_images_prove_nothing():
    assert fit_level(level_of([("a", 0.99, True, 20)]), {"a"}, 0.99) == {"a": None}
    assert upper_bound(np.array([0]), np.array([20]))[0] > 0.05


def unknown_split(rows: int = 600) -> tuple[SplitOutputs, np.ndarray]:
    """Eight well-separated classes on the axes of an 8-dimensional space, and their centers."""
    rng = np.random.default_rng(0)
    truth = np.arange(rows) % 8
    embeddings = (np.eye(8)[truth] + rng.normal(scale=0.1, size=(rows, 8))).astype(np.float32)
    return SplitOutputs(10 * embeddings, embeddings, truth, truth.astype(str)), np.eye(8, dtype=np.float32)


def test_things_that_look_like_no_class_score_higher(monkeypatch):
    monkeypatch.setattr("evaluation.ood.RARE", 0.5)
    split, centers = unknown_split()
    known = Centers(centers, np.arange(8), normalized(split.embeddings) @ centers.T)
    detector, area = fit_unknown(split, known, Taxonomy([[str(i)] for i in range(8)]))
    strange = np.full((5, 8), 0.05, dtype=np.float32)
    assert area > 0.95
    assert (detector.scores(10 * strange, strange) >= detector.threshold).all()
    assert (detector.scores(split.logits, split.embeddings) >= detector.threshold).mean() == pytest.approx(
        0.02, abs=0.01
    )


def test_an_image_is_compared_with_the_means_of_other_folds():
    split, _ = unknown_split(80)
    fold_of = np.arange(80) // 8 % 5
    alone = SplitOutputs(split.logits, np.eye(80, dtype=np.float32), split.truth, split.groups)
    centers = out_of_fold_centers(alone, fold_of)
    assert centers.similarity.max() == 0  # no image is like another, and none counts for itself
    assert out_of_fold_centers(split, fold_of).similarity.argmax(axis=1).tolist() == split.truth.tolist()


def test_energy_and_distance_are_what_their_papers_say():
    assert energy(np.array([[0.0, 0.0], [1000.0, 0.0]])) == pytest.approx([-np.log(2), -1000])
    assert center_distance(np.array([[0.0, 5.0]]), np.eye(2)) == pytest.approx([0.0])
    extreme = UnknownDetector("energy", 0.5, middle=0, width=1e-3).scores(np.array([[1e4], [-1e4]]), None)
    assert extreme == pytest.approx([0, 1])


# --- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    return write_catalog(tmp_path_factory.mktemp("data") / "catalog")


@pytest.fixture(scope="module")
def calibrated(catalog, tmp_path_factory) -> Path:
    folder = with_embeddings(write_tiny_model(tmp_path_factory.mktemp("calibrated") / "drawn"))
    calibrate.main(["--model", str(folder), "--dataset", str(catalog), "--coverage", "0.9"])
    return folder


def test_calibrate_writes_what_the_classifier_reads(calibrated):
    content = json.loads((calibrated / "calibration.json").read_text())
    classifier = Classifier.load(calibrated)
    assert classifier.calibration.temperature == content["temperature"]
    assert content["conformal"]["coverage"] == 0.9
    assert content["command"].startswith("python calibrate.py --model")
    predictions = classifier.predict([Image.new("RGB", (60, 80), "white")])
    assert predictions[0].status in ("ok", "review", "unknown")
    assert not list(calibrated.glob("*.partial"))


def test_another_model_beside_a_calibration_is_noticed(calibrated, tmp_path, capsys):
    folder = shutil.copytree(calibrated, tmp_path / "changed")
    graph = onnx.load(folder / "model.onnx")
    graph.doc_string = "trained again"
    onnx.save(graph, folder / "model.onnx")
    assert Classifier.load(folder).calibration is None
    assert "another model.onnx" in capsys.readouterr().err


def test_the_scorecard_has_every_level_and_target(calibrated, catalog, tmp_path, capsys):
    automation.main(["--model", str(calibrated), "--dataset", str(catalog), "--output", str(tmp_path)])
    text = (tmp_path / "automation.md").read_text()
    assert all(f"| articleType | {target} |" in text for target in ("95%", "98%", "99%"))
    assert "Expected calibration error" in text
    assert Image.open(tmp_path / "automation.png").width > 500
    assert "| masterCategory | 95% |" in capsys.readouterr().out


def test_a_calibration_of_another_kind_is_refused(tmp_path):
    (tmp_path / "calibration.json").write_text("[]")
    with pytest.raises(CalibrationError, match="must hold a JSON object"):
        Calibration.load(tmp_path, ["label"], [["a"]])
