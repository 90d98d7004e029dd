"""From the graph's numbers to an answer: the softmax at the temperature, views averaged, what the answer lists."""

from pathlib import Path

import numpy as np
import pytest

from app.classifier import NOT_FINITE, Classifier, Scores
from app.images import ImageError
from tests.make_tiny_model import LABELS, TAXONOMY, write_calibration, write_tiny_model

UNKNOWN = {"method": "energy", "threshold": 0.6, "middle": -6.0, "width": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory) -> Classifier:
    folder = write_tiny_model(tmp_path_factory.mktemp("calibrated"))
    conformal = {"coverage": 0.9, "quantile": 0.7}
    return Classifier.load(write_calibration(folder, 0.5, temperature=2.0, unknown=UNKNOWN, conformal=conformal))


def pixels_of(*colors: tuple[float, float, float]) -> np.ndarray:
    """Plain images of these normalized colors; the model's logits are 8 times them, and 0 for Scarves."""
    return np.tile(np.array(colors, dtype=np.float32)[:, :, None, None], (1, 1, 32, 32))


def softmax(*logits: float) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


def test_probabilities_are_the_softmax_at_the_temperature(folder, calibrated):
    logits = np.array([[1.0, 2.0, 3.0, 0.0], [0.0, 0.0, 1000.0, 0.0]], dtype=np.float32)
    plain, soft = Classifier.load(folder).probabilities(logits), calibrated.probabilities(logits)
    assert plain[0] == pytest.approx(softmax(1, 2, 3, 0)) and soft[0] == pytest.approx(softmax(0.5, 1, 1.5, 0))
    assert plain[1] == pytest.approx([0, 0, 1, 0])
    assert plain.dtype == np.float64


def test_a_row_that_is_not_finite_fails_its_own_image(calibrated):
    good, bad = pixels_of((0.9, 0, 0)), pixels_of((np.nan, 0, 0))
    answers = calibrated.predict_read([b"", b""], [bad[0], good[0]])
    assert [answer.status for answer in answers] == ["error", "ok"]
    assert answers[0].error == NOT_FINITE


def test_images_that_could_not_be_read_keep_their_place_and_reason(calibrated):
    error = ImageError("too large (5 GB)", "too_large")
    answers = calibrated.predict_read([b""] * 3, [error, pixels_of((0, 0, 0.9))[0], error])
    assert [answer.status for answer in answers] == ["error", "ok", "error"]
    assert (answers[2].error, answers[2].error_kind, answers[1].label) == ("too large (5 GB)", "too_large", "Flats")


def test_without_a_calibration_there_is_no_unknown_score(folder):
    probabilities, unknown, *_ = Classifier.load(folder).scores(pixels_of((0.1, 0.2, 0.3)))
    assert unknown is None
    assert probabilities[0] == pytest.approx(softmax(0.8, 1.6, 2.4, 0), abs=1e-6)


def test_the_unknown_score_is_of_the_logits_before_the_temperature(calibrated):
    _, unknown, *_ = calibrated.scores(pixels_of((0.1, 0.2, 0.3)))
    raw = -np.log(np.exp([0.8, 1.6, 2.4, 0]).sum())
    assert unknown == pytest.approx([1 / (1 + np.exp(-6.0 - raw))], abs=1e-6)


def test_views_of_an_image_are_averaged_and_those_of_another_are_not(calibrated):
    pixels = pixels_of((0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5), (0, 0, 0.1))
    first, second = calibrated._score_views(pixels, 2)
    alone = calibrated._score_views(pixels, 1)
    assert first.probabilities == pytest.approx((alone[0].probabilities + alone[1].probabilities) / 2)
    assert second.probabilities == pytest.approx((alone[2].probabilities + alone[3].probabilities) / 2)
    assert second.unknown_score == pytest.approx((alone[2].unknown_score + alone[3].unknown_score) / 2)
    assert calibrated._score_views(pixels[:0], 2) == []


def test_an_answer_lists_the_best_labels_and_their_path(calibrated):
    probabilities = np.array([0.2, 0.1, 0.6, 0.1])
    answer = calibrated.prediction(Scores(probabilities, 0.1), top_k=3)
    assert [(one.label, one.confidence) for one in answer.top_k] == [("Flats", 0.6), ("Tshirts", 0.2), ("Shirts", 0.1)]
    assert (answer.label, answer.confidence, answer.unknown_score) == ("Flats", 0.6, 0.1)
    assert answer.category_path == TAXONOMY["paths"]["Flats"] == answer.published_path
    assert answer.path_confidences == pytest.approx([0.6] * 3) == answer.published_confidences
    assert answer.prediction_set == ["Flats", "Tshirts"]  # before the third lie 0.8, more than the quantile
    assert answer.status == "ok"


def test_of_equal_labels_the_first_is_the_answer_and_five_are_listed_by_default(calibrated):
    answer = calibrated.prediction(Scores(np.full(4, 0.25), 0.1))
    assert answer.label == LABELS[0]
    assert [one.label for one in answer.top_k] == list(LABELS)


def test_the_label_is_the_most_probable_one_also_where_only_its_category_is_published(calibrated):
    answer = calibrated.prediction(Scores(np.array([0.4, 0.35, 0.1, 0.15]), 0.1))
    assert (answer.status, answer.label, answer.published_path) == ("review", "Tshirts", ["Apparel", "Topwear"])
    assert answer.published_confidences == pytest.approx([0.9, 0.75])


def test_an_unknown_thing_keeps_its_label_and_publishes_nothing(calibrated):
    answer = calibrated.prediction(Scores(np.array([0.1, 0.1, 0.7, 0.1]), 0.6))
    assert (answer.status, answer.label, answer.published_path) == ("unknown", "Flats", [])


def test_without_a_quantile_there_is_no_prediction_set(folder):
    assert Classifier.load(folder).prediction(Scores(np.array([0.1, 0.1, 0.7, 0.1]))).prediction_set == []
