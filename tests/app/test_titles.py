"""A model that reads titles too: what an answer comes from, odd titles, contradictions, damaged files."""

import json

import pytest

from app.classifier import Classifier
from app.model_files import ModelError
from app.title_text import clean_title, ngrams
from app.titled import TITLES_FILE, TitledImage
from tests.make_tiny_model import save_image, write_calibration, write_tiny_model
from tests.tiny_titles import write_titles

SHIRT_TITLE = "Acme Women Olive Shirt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_tiny_model(tmp_path_factory.mktemp("titled") / "model")
    return write_titles(write_calibration(folder))


@pytest.fixture(scope="module")
def classifier(folder) -> Classifier:
    return Classifier.load(folder)


@pytest.fixture(scope="module")
def shirt(tmp_path_factory):
    return save_image(tmp_path_factory.mktemp("images") / "shirt.png", "Shirts")


def answer(classifier, image, title):
    (prediction,) = classifier.predict([image], titles=[title])
    return prediction


def test_image_and_title_are_joined(classifier, shirt):
    prediction = answer(classifier, shirt, SHIRT_TITLE)
    assert (prediction.label, prediction.status, prediction.answered_from) == ("Shirts", "ok", "both")
    assert prediction.to_dict()["answered_from"] == "both"


def test_a_title_tells_apart_what_the_image_does_not(classifier, tmp_path):
    from PIL import Image

    path = tmp_path / "between.png"
    Image.new("RGB", (40, 40), "#808000").save(path)  # between T-shirts, red, and shirts, green
    (alone,) = classifier.predict([path])
    assert alone.confidence < 0.6
    assert answer(classifier, path, SHIRT_TITLE).label == "Shirts"
    assert answer(classifier, path, "Zenit Women Grey T-shirt").label == "Tshirts"


@pytest.mark.parametrize(
    "title", ["", None, " \t\n", "\x00\x1b[31m", "<b></b>", "&nbsp;", "…!?", "красная рубашка", "赤いシャツ", "🎽"]
)
def test_a_title_that_says_nothing_leaves_the_image_its_own_answer(classifier, shirt, title):
    (alone,) = classifier.predict([shirt])
    prediction = answer(classifier, shirt, title)
    assert prediction.answered_from == "image"
    assert (prediction.label, prediction.confidence, prediction.status) == (alone.label, alone.confidence, alone.status)


@pytest.mark.parametrize("image", [None, b"no image", "missing.png"])
def test_without_an_image_the_title_answers_and_the_reason_is_kept(classifier, image):
    prediction = answer(classifier, image, "Borealis Women Red Scarf")
    assert (prediction.label, prediction.status, prediction.answered_from) == ("Scarves", "ok", "title")
    assert prediction.error and prediction.unknown_score is None


def test_without_image_and_title_there_is_an_error(classifier):
    prediction = answer(classifier, None, "")
    assert (prediction.status, prediction.answered_from) == ("error", None)
    (prediction,) = classifier.predict([None])
    assert prediction.error == "a product without an image"


def test_a_title_that_contradicts_its_image_goes_to_review_and_nothing_is_published(tmp_path, shirt):
    sure = Classifier.load(write_titles(write_calibration(write_tiny_model(tmp_path / "sure")), least=0.0))
    assert answer(sure, shirt, "Zenit Women Blue Scarf").status == "ok"  # of the same broad category
    prediction = answer(sure, shirt, "Zenit Women Blue Ballerina Flats")
    assert (prediction.status, prediction.published_path, prediction.answered_from) == ("review", [], "both")


def test_an_image_that_looks_unknown_is_overruled_by_a_certain_title_only(tmp_path, shirt):
    folder = write_tiny_model(tmp_path / "model")
    unknown = {"method": "energy", "threshold": 0.5, "middle": -1000.0, "width": 1.0}  # every image
    classifier = Classifier.load(write_titles(write_calibration(folder, unknown=unknown)))
    assert answer(classifier, shirt, "").status == "unknown"
    assert answer(classifier, shirt, SHIRT_TITLE).status == "ok"
    assert answer(classifier, shirt, "Acme Women Olive Shirt Flats").status == "unknown"  # which article is not certain


def test_the_title_alone_has_thresholds_of_its_own(folder, classifier, tmp_path):
    content = json.loads((folder / "titles.json").read_text())
    never = {level: dict.fromkeys(names) for level, names in content["thresholds"]["title"].items()}
    copy = write_titles(
        write_calibration(write_tiny_model(tmp_path / "m")), thresholds=content["thresholds"] | {"title": never}
    )
    assert answer(Classifier.load(copy), None, SHIRT_TITLE).status == "review"


def test_long_titles_are_cut_and_markup_is_no_word(classifier, shirt):
    assert answer(classifier, shirt, SHIRT_TITLE + " soft" * 2000).label == "Shirts"
    assert clean_title("a " * 10_000) == ["a"] * 250
    assert clean_title("<p class='x'>Blue&nbsp;Men&#39;s <b>T-SHIRT</b></p>") == ["blue", "men", "s", "t", "shirt"]
    assert clean_title("size < 40 and > 36") == ["size", "40", "and", "36"]
    assert clean_title("ＮＩＫＥ\u200b Ｔシャツ पुरुषों") == ["nike", "tシャツ", "पुरुषों"]


def test_a_word_inside_a_script_without_spaces_is_found_by_its_letters():
    assert ngrams(clean_title("红色运动鞋")).keys() & ngrams(clean_title("运动鞋男")).keys()


def test_lone_surrogates_do_no_harm(classifier, shirt):
    assert answer(classifier, shirt, f"{SHIRT_TITLE} \ud800").label == "Shirts"


def test_titles_stand_beside_images_in_a_stream_in_their_order(classifier, shirt):
    products = [shirt, TitledImage(shirt, SHIRT_TITLE), TitledImage(None, "Zenit Women Grey T-shirt")] * 3
    sources = [prediction.answered_from for prediction in classifier.stream(products, batch_size=2)]
    assert sources == [None, "both", "title"] * 3


def test_an_answer_without_titles_has_no_word_of_them(classifier, shirt):
    (prediction,) = classifier.predict([shirt])
    assert "answered_from" not in prediction.to_dict() and "answered_from" not in prediction.to_csv_row()


def test_a_model_that_reads_no_titles_says_how_it_learns_to(tmp_path, shirt):
    classifier = Classifier.load(write_tiny_model(tmp_path / "plain"))
    with pytest.raises(ModelError, match="plain does not read titles: .*training.titles"):
        classifier.predict([shirt], titles=["x"])


def test_titles_of_another_model_are_left_aside_and_that_is_said(tmp_path, capsys):
    folder = write_titles(write_tiny_model(tmp_path / "m"))
    with (folder / "titles.onnx").open("ab") as file:
        file.write(b"\x00")
    assert Classifier.load(folder).titles is None
    assert "made for another titles.onnx" in capsys.readouterr().err
    write_titles(folder, model_sha256="0" * 64)
    assert Classifier.load(folder).titles is None
    assert "made for another model.onnx" in capsys.readouterr().err


DAMAGES = {
    "not json": lambda folder: (folder / "titles.json").write_text("{"),
    "a weight that is text": lambda folder: write_titles(folder, title_weight="3"),
    "a weight below 0": lambda folder: write_titles(folder, image_weight=-1),
    "an unknown level": lambda folder: write_titles(folder, least_agreement={"shelf": 0.1}),
    "agreement that is text": lambda folder: write_titles(folder, least_agreement={"masterCategory": "much"}),
    "a temperature of 0": lambda folder: write_titles(folder, image_temperature=0),
    "no thresholds": lambda folder: write_titles(folder, thresholds={"title": {}, "both": {}}),
    "thresholds that are a list": lambda folder: write_titles(folder, thresholds=[]),
    "a target above 1": lambda folder: write_titles(folder, target_precision=99),
    "a version of the future": lambda folder: write_titles(folder, version=2),
    "no graph": lambda folder: (folder / TITLES_FILE).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_titles_are_one_line(tmp_path, damage):
    folder = write_titles(write_tiny_model(tmp_path / "m"))
    DAMAGES[damage](folder)
    with pytest.raises(ModelError) as problem:
        _ = Classifier.load(folder).titles
    assert "titles.json" in str(problem.value) and "\n" not in str(problem.value)


def test_a_graph_for_other_labels_is_refused(tmp_path):
    import numpy as np

    from app.calibration import model_hash
    from models.title_model import fit_title_model, write_title_graph

    folder = write_titles(write_tiny_model(tmp_path / "m"))
    write_title_graph(fit_title_model(["red shirt", "red hat"] * 3, np.array([0, 1] * 3), 2), folder / TITLES_FILE)
    write_titles_hash = json.loads((folder / "titles.json").read_text()) | {
        "titles_sha256": model_hash(folder / TITLES_FILE)
    }
    (folder / "titles.json").write_text(json.dumps(write_titles_hash))
    with pytest.raises(ModelError, match="the model has 4 labels"):
        _ = Classifier.load(folder).titles
