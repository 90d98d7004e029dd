"""From the graph's numbers to an answer: the softmax at the temperature, views averaged, what the answer lists."""

from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from app.classifier import NO_IMAGE, NOT_FINITE, Classifier, Scores
from app.images import ImageError
from app.model_files import ModelError
from app.titled import Joined, TitledImage
from tests.evaluation.kind_data import with_embeddings
from tests.make_tiny_model import LABELS, TAXONOMY, save_image, write_calibration, write_tiny_model
from tests.tiny_titles import write_titles

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


# --- the graph's other outputs ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedding(tmp_path_factory) -> Classifier:
    return Classifier.load(with_embeddings(write_tiny_model(tmp_path_factory.mktemp("embedding"))))


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    """Red, green and blue."""
    folder = tmp_path_factory.mktemp("images")
    return [save_image(folder / f"{label}.png", label, (40, 40)) for label in ("Tshirts", "Shirts", "Flats")]


def test_embeddings_are_the_graphs_at_length_1_in_the_order_of_the_images(embedding, images):
    rows = embedding.embed(images)
    red, green, blue = np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    assert rows == pytest.approx(np.array([red, green, blue]), abs=1e-3) and rows.dtype == np.float32
    assert np.array_equal(embedding.embed(images, batch_size=2), rows)
    nothing = embedding.embed([])
    assert nothing.shape == (0, 0) and nothing.dtype == np.float32


def test_outputs_come_one_row_for_each_image_and_a_bad_image_is_named_by_its_position(embedding, images):
    rows = list(embedding.run_many(images, ["logits", "embeddings"]))
    assert [(logits.argmax(), vector.shape) for logits, vector in rows] == [(0, (3,)), (1, (3,)), (2, (3,))]
    assert embedding.logits(pixels_of((0.5, 0, 0), (0, 0, 0.5))) == pytest.approx(
        np.array([[4, 0, 0, 0], [0, 0, 4, 0]]), abs=1e-5
    )
    with pytest.raises(ImageError, match=r"^image 1: "):
        list(embedding.run_many([images[0], b"nothing", images[1]], ["logits"]))


def test_an_output_that_the_graph_does_not_have_is_named(folder, images):
    plain = Classifier.load(folder)
    plain.name = ""
    with pytest.raises(ModelError, match="^the graph of this model has no embeddings; "):
        plain.embed(images)
    plain.name = "tiny"
    for ask, output in ((lambda: plain.embed(images), "embeddings"), (lambda: plain.class_maps(None), "class_maps")):
        with pytest.raises(ModelError) as caught:
            ask()
        assert str(caught.value) == (
            f"the graph of {plain.name} has no {output}; python export.py --model FOLDER writes them"
        )


def test_class_maps_are_the_graphs(tmp_path):
    import onnx

    from tests.app.test_explain import graph_with_class_maps

    folder = write_tiny_model(tmp_path / "mapped")
    onnx.save(graph_with_class_maps(), folder / "model.onnx")
    maps = Classifier.load(folder).class_maps(pixels_of((1.0, 0, 0), (0, 0, 1.0)))
    assert maps.shape == (2, 4, 4, 4)
    assert maps.mean(axis=(2, 3)).argmax(axis=1).tolist() == [0, 2]


# --- how many answers, and from what ---------------------------------------------------------------------------------


def test_as_many_labels_are_listed_as_are_asked_for(calibrated, images):
    (read,) = [calibrated.read(images[2])]
    (answer,) = calibrated.predict_read([images[2]], [read], top_k=2)
    assert [one.label for one in answer.top_k][0] == "Flats" and len(answer.top_k) == 2
    assert len(calibrated.predict(images[:1], top_k=1)[0].top_k) == 1
    assert calibrated.predict_read([b""], [ImageError("gone")])[0].status == "error"


def test_five_labels_and_one_view_are_what_is_promised_by_default():
    for method in (Classifier.predict, Classifier.stream, Classifier.predict_read, Classifier.prediction):
        assert signature(method).parameters["top_k"].default == 5
    for method in (Classifier.predict, Classifier.stream, Classifier.stream_scores):
        assert signature(method).parameters["tta"].default == 1


def test_one_view_is_looked_at_by_default(calibrated, tmp_path):
    from PIL import Image

    image = Image.linear_gradient("L").rotate(90).resize((64, 64)).convert("RGB")
    image.paste("#ff0000", (0, 0, 20, 64))
    image.save(tmp_path / "uneven.png")
    (once,) = calibrated.predict([tmp_path / "uneven.png"])
    (twice,) = calibrated.predict([tmp_path / "uneven.png"], tta=5)
    (streamed,) = calibrated.stream([tmp_path / "uneven.png"])
    assert once.confidence == streamed.confidence != twice.confidence


def test_images_and_titles_are_as_many(tmp_path, images):
    titled = Classifier.load(write_titles(write_calibration(write_tiny_model(tmp_path / "titled"))))
    with pytest.raises(ValueError, match="longer|shorter"):
        titled.predict(images, titles=["Acme Women Olive Shirt"])
    with pytest.raises(ValueError, match="longer|shorter"):
        titled.predict(images[:1], titles=["Acme Women Olive Shirt"] * 2)


@pytest.mark.parametrize("temperature", [None, 2.0])
def test_a_title_is_joined_with_the_image_before_its_temperature(tmp_path, temperature):
    folder = write_tiny_model(tmp_path / "titled")
    if temperature:
        write_calibration(folder, temperature=temperature)
    titled = Classifier.load(write_titles(folder))
    (plain,) = titled.stream_scores([TitledImage(save_image(tmp_path / "shirt.png", "Shirts"), None)])
    joined = titled.with_title(plain, "Acme Women Olive Shirt")
    expected = titled.titles.join(plain.probabilities, temperature or 1.0, "Acme Women Olive Shirt")
    assert np.array_equal(joined.probabilities, expected.probabilities) and joined.joined.answered_from == "both"
    other = titled.titles.join(plain.probabilities, 4.0, "Acme Women Olive Shirt")
    assert not np.array_equal(joined.probabilities, other.probabilities)


UNSURE = "Acme Women Olive"  # a title that could be any product's


@pytest.fixture(scope="module")
def titled(tmp_path_factory) -> Classifier:
    """Reads titles; no image is unknown but by its score of 0.6; prediction sets hold 70%."""
    folder = write_tiny_model(tmp_path_factory.mktemp("titled"))
    conformal = {"coverage": 0.9, "quantile": 0.7}
    return Classifier.load(write_titles(write_calibration(folder, 0.5, unknown=UNKNOWN, conformal=conformal)))


def test_a_prediction_set_is_of_answers_from_the_image_alone(titled, images):
    (alone,), (empty,), (joined,) = (
        titled.predict(images[1:2], titles=titles) for titles in (None, [""], ["Acme Women Olive Shirt"])
    )
    assert alone.prediction_set == empty.prediction_set == ["Shirts"]
    assert (joined.answered_from, joined.prediction_set) == ("both", [])


def test_a_product_without_an_image_is_answered_from_its_title_or_is_an_error(titled):
    from_title, nothing, nobody = titled.predict([None] * 3, titles=["Acme Women Olive Shirt", "", None])
    assert (from_title.label, from_title.answered_from) == ("Shirts", "title")
    assert (nothing.status, nothing.error, nobody.error) == ("error", NO_IMAGE, NO_IMAGE)
    assert titled.predict([None])[0].error == NO_IMAGE


def test_an_image_that_was_not_looked_at_does_not_look_unknown(titled):
    unsure = titled.predict([None], titles=[UNSURE])[0]
    assert (unsure.status, unsure.answered_from) == ("review", "title")


def test_an_image_looks_unknown_from_the_threshold_on_unless_its_title_is_sure(titled):
    probabilities = np.array([0.25, 0.3, 0.25, 0.2])
    weak = Joined(probabilities, "both", np.full(4, 0.25))
    statuses = [
        titled.prediction(Scores(probabilities, score, joined=weak)).status for score in (0.6, 0.6 - 1e-9, None)
    ]
    assert statuses == ["unknown", "review", "review"]
    certain = np.array([0.01, 0.97, 0.01, 0.01])
    sure = Joined(certain, "both", certain)
    assert titled.prediction(Scores(certain, 0.6, joined=sure)).status == "ok"


def test_a_title_is_read_beside_an_image_without_a_calibration(tmp_path, images):
    plain = Classifier.load(write_titles(write_tiny_model(tmp_path / "plain")))
    (answer,) = plain.predict(images[1:2], titles=["Acme Women Olive Shirt"])
    assert (answer.label, answer.status, answer.answered_from) == ("Shirts", "ok", "both")


def test_a_detector_that_reads_embeddings_is_given_them(tmp_path, images):
    folder = with_embeddings(write_tiny_model(tmp_path / "headed"))
    head = {"method": "head", "threshold": 0.5, "middle": 0.0, "width": 1.0, "head": [1.0, -1.0, 0.5, 0.0, 0.0, 0.1]}
    headed = Classifier.load(write_calibration(folder, unknown=head))
    pixels = pixels_of((0.9, 0, 0.1), (0, 0.3, 0.2))
    logits, embeddings = headed.run(pixels, ["logits", "embeddings"])
    scores = headed.scores(pixels)[1]
    assert scores == pytest.approx(headed.calibration.unknown.scores(logits, embeddings))
    assert abs(scores[0] - scores[1]) > 0.1


def test_images_are_read_a_few_batches_ahead_and_no_more(folder, images):
    one = Classifier.load(folder, workers=1)
    taken = []
    stream = one.stream_scores((taken.append(image) or image for image in images * 20), batch_size=2)
    next(stream)
    assert len(taken) == 6  # two batches wait while the third is worked on
    stream.close()
    with pytest.raises(ValueError, match=r"^tta must be 1 \(the image alone\) to \d+ views, not 0$"):
        one.stream_scores(images, tta=0)


def test_a_models_card_is_its_readme(tmp_path):
    folder = write_tiny_model(tmp_path / "carded")
    (folder / "README.md").write_text("# A card")
    assert Classifier.load(folder).model_card == "# A card"
    (folder / "README.md").unlink()
    assert Classifier.load(folder).model_card == ""
