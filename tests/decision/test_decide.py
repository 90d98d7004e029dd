"""What may be published: an answer at its threshold passes and one just below does not, read from calibration.json."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.calibration import Calibration, UnknownDetector, decide
from app.classifier import Classifier
from tests.drawn_outputs import TREE
from tests.make_tiny_model import LABELS, write_calibration, write_tiny_model

# Chosen so that 10% less, or 0.1 more, is something else.
LEAST = 0.8
UNKNOWN = {"method": "energy", "threshold": 0.6, "middle": -6.0, "width": 1.0}
HAIR = 1e-9


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory) -> Classifier:
    folder = write_tiny_model(tmp_path_factory.mktemp("model"))
    return Classifier.load(write_calibration(folder, LEAST, unknown=UNKNOWN))


def sure_of(confidence: float) -> np.ndarray:
    """Probabilities of Flats, whose three levels all have one label; the rest is spread over the others."""
    probabilities = np.full(len(LABELS), (1 - confidence) / (len(LABELS) - 1))
    probabilities[LABELS.index("Flats")] = confidence
    return probabilities


def decided(classifier: Classifier, confidence: float, unknown_score: float | None = 0.0) -> tuple[str, list[str]]:
    decision = decide(classifier.calibration, classifier.taxonomy, sure_of(confidence), unknown_score)
    return decision.status, decision.path


@pytest.mark.parametrize(
    ("confidence", "status"),
    [(LEAST + HAIR, "ok"), (LEAST - HAIR, "review"), (LEAST * 0.95, "review"), (LEAST * 1.05, "ok")],
)
def test_an_answer_is_published_from_its_threshold_on(calibrated, confidence, status):
    path = ["Footwear", "Shoes", "Flats"] if status == "ok" else []
    assert decided(calibrated, confidence) == (status, path)


@pytest.mark.parametrize(
    ("score", "status"),
    [(0.6 - HAIR, "ok"), (0.6, "unknown"), (0.65, "unknown"), (0.55, "ok"), (None, "ok")],
)
def test_an_image_is_unknown_from_the_detectors_threshold_on(calibrated, score, status):
    assert decided(calibrated, 0.99, score)[0] == status


@pytest.mark.parametrize(("position", "status"), [(0.59, "ok"), (0.61, "unknown")])
def test_the_score_of_the_detector_is_a_logistic_function_of_the_energy(calibrated, position, status):
    """From pixels to the status: logits whose energy lies where the score is just below or above the threshold."""
    energy = UNKNOWN["middle"] + np.log(position / (1 - position))
    # exp(-energy) = exp(a) + 3, as the graph's logits are a for Flats and 0 for the others
    wanted = np.log(np.exp(-energy) - 3) / 8
    pixels = np.zeros((1, 3, 32, 32), np.float32)
    pixels[:, 2] = wanted
    (prediction,) = calibrated.predict_read([b""], pixels)
    assert prediction.unknown_score == pytest.approx(position, abs=1e-4)
    assert (prediction.label, prediction.status) == ("Flats", status)


def test_the_thresholds_of_the_file_are_those_that_are_used(tmp_path):
    least = {"masterCategory": 0.6, "subCategory": 0.7, "articleType": 0.9}
    folder = write_tiny_model(tmp_path / "model")
    write_calibration(folder)
    content = json.loads((folder / "calibration.json").read_text())
    content["thresholds"] = {
        level: dict.fromkeys(categories, least[level]) for level, categories in content["thresholds"].items()
    }
    (folder / "calibration.json").write_text(json.dumps(content))
    classifier = Classifier.load(folder)
    paths = {confidence: decided(classifier, confidence)[1] for confidence in (0.59, 0.61, 0.69, 0.71, 0.89, 0.91)}
    assert [len(path) for path in paths.values()] == [0, 1, 1, 2, 2, 3]
    assert decided(classifier, 0.89)[0] == "review" and decided(classifier, 0.91)[0] == "ok"


def test_a_category_without_a_threshold_is_never_published(tmp_path):
    classifier = Classifier.load(write_calibration(write_tiny_model(tmp_path / "model"), None))
    assert decided(classifier, 1.0) == ("review", [])


def test_nothing_is_published_without_a_calibration(tmp_path):
    classifier = Classifier.load(write_tiny_model(Path(tmp_path, "model")))
    assert decided(classifier, 1.0) == ("review", [])


def test_a_detector_keeps_its_threshold_when_it_is_read(calibrated):
    assert isinstance(calibrated.calibration, Calibration)
    detector = calibrated.calibration.unknown
    assert isinstance(detector, UnknownDetector)
    assert (detector.threshold, detector.middle, detector.width) == (0.6, -6.0, 1.0)
    assert calibrated.calibration.temperature == 1.0 and calibrated.calibration.target_precision == 0.99


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
