"""Attributes beside the category: what Python, the page and REST say of them, and which files are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from attributed import PATTERNS, draw_striped, write_embedding_model
from fastapi.testclient import TestClient

from app.attributes import COLOR_INPUTS, NUM_COLORS, AttributesError, check_names, color_histograms, color_of_level
from app.classifier import Classifier
from app.model_files import ModelError
from app.pages.cards import answer_card
from app.pages.workbench import prediction_row
from app.prediction import CSV_COLUMNS, Prediction, attribute_columns
from app.server import create_app
from app.service import Service


def ask(folder: Path, label: str = "Flats", pattern: str = "Striped", **options) -> Prediction:
    return Classifier.load(folder).predict([draw_striped(label, pattern, 3)], **options)[0]


@pytest.fixture
def copy(attributed, tmp_path) -> Path:
    return Path(shutil.copytree(attributed, tmp_path / "striped"))


def change(folder: Path, **content) -> Path:
    path = folder / "attributes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | content))
    return folder


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_image_has_its_attributes_beside_its_category(attributed, pattern):
    prediction = ask(attributed, "Shirts", pattern)
    assert prediction.label == "Shirts"
    assert prediction.attributes["pattern"].label == pattern
    assert prediction.attributes["pattern"].status == "ok"
    assert prediction.attributes["pattern"].confidence > 0.8
    assert prediction.attributes["fabric"].status == "review"  # nothing on the image says it


def test_the_category_is_told_as_without_attributes_to_the_last_bit(attributed, tmp_path):
    without = write_embedding_model(tmp_path / "striped")
    told = [
        ask(folder, label).to_dict(digits=17) for folder in (attributed, without) for label in ("Shirts", "Scarves")
    ]
    assert [list(answer) for answer in told[2:]] == [list(Prediction().to_dict())] * 2
    assert [answer.pop("attributes", None) is None for answer in told] == [False, False, True, True]
    assert json.dumps(told[:2]) == json.dumps(told[2:])


def test_in_json_an_attribute_is_an_object_and_in_a_table_three_cells(attributed):
    prediction = ask(attributed)
    pattern = prediction.to_dict()["attributes"]["pattern"]
    assert pattern == {
        "label": "Striped",
        "confidence": round(prediction.attributes["pattern"].confidence, 6),
        "status": "ok",
    }
    row = prediction.to_csv_row()
    assert list(row)[: len(CSV_COLUMNS)] == list(CSV_COLUMNS)
    assert (row["pattern"], row["pattern_confidence"], row["pattern_status"]) == tuple(pattern.values())


def test_an_unknown_product_has_no_attribute_that_may_be_published(copy):
    unknown = {"method": "energy", "threshold": 0.0, "middle": 0.0, "width": 1.0}
    content = json.loads((copy / "calibration.json").read_text())
    (copy / "calibration.json").write_text(json.dumps(content | {"unknown": unknown}))
    prediction = ask(copy)
    assert prediction.status == "unknown"
    assert {attribute.status for attribute in prediction.attributes.values()} == {"unknown"}


def test_a_threshold_that_nothing_reaches_leaves_the_attribute_to_a_person(copy):
    content = json.loads((copy / "attributes.json").read_text())["attributes"]
    content["pattern"]["thresholds"]["Striped"] = None
    assert ask(change(copy, attributes=content)).attributes["pattern"].status == "review"


def test_views_of_an_image_are_averaged(attributed):
    assert ask(attributed, tta=12).attributes["pattern"].label == "Striped"
    assert ask(attributed, tta=2).attributes["pattern"].confidence == pytest.approx(
        ask(attributed).attributes["pattern"].confidence, abs=1e-3
    )


def test_an_image_that_cannot_be_read_has_no_attributes(attributed):
    assert Classifier.load(attributed).predict([b"nothing"])[0].attributes == {}


def test_attributes_of_other_weights_are_left_aside_in_one_line(copy, capsys):
    change(copy, model_sha256="0" * 64)
    assert ask(copy).attributes == {}
    (line,) = capsys.readouterr().err.splitlines()
    assert "was made for another model.onnx than the one beside it: not used; make it again with" in line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"version": 2}, "version 2 is not 1"),
        ({"attributes": {}}, "it has no attributes"),
        ({"attributes": []}, "it has no attributes"),
        ({"attributes": {"label": {}}}, "an attribute cannot be called label"),
        ({"attributes": {"pattern": {"labels": ["a", "a"], "temperature": 1, "thresholds": {}}}}, "different names"),
        (
            {"attributes": {"pattern": {"labels": ["a"], "temperature": 0, "thresholds": {}}}},
            "must be a number above 0",
        ),
        ({"attributes": {"pattern": {"labels": ["a"], "temperature": 1, "thresholds": {"a": 2}}}}, "from 0 to 1"),
        (
            {"attributes": {"pattern": {"labels": ["a"], "temperature": 1, "thresholds": {}}}},
            "is not what training.attri",
        ),
        ({"attributes": {"pattern": 3}}, "is not what training.attributes writes"),
        ({"embedding_size": 4}, "it reads embeddings of 4 numbers, and the graph gives 3"),
        ({"hidden": 10**9}, "a size is 1000000000"),
        ({"hidden": 7}, "attributes.npy holds"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(copy, content, reason):
    with pytest.raises(ModelError, match=reason) as error:
        Classifier.load(change(copy, **content))
    assert "\n" not in str(error.value)
    Classifier.load(copy, calibrated=False)  # so that they can be made again


@pytest.mark.parametrize("data", [b"", b"no table", b"PK\x03\x04", np.array(["a"], dtype=object).dumps()])
def test_weights_that_are_no_numbers_are_refused_in_one_line(copy, data):
    (copy / "attributes.npy").write_bytes(data)
    with pytest.raises(ModelError, match="attributes.npy"):
        Classifier.load(copy)


@pytest.mark.parametrize("names", [["status"], ["Error"], ["a", "A"], ["a_status"], ["two\nlines"], ["image_path"]])
def test_names_that_would_be_columns_twice_are_refused(names):
    with pytest.raises(AttributesError):
        check_names(names)


def test_colors_are_counted_by_zone(attributed):
    classifier = Classifier.load(attributed)
    red, striped = (classifier.read(draw_striped("Tshirts", pattern, 3)) for pattern in PATTERNS)
    histograms = classifier.colors(np.stack([red, striped]))
    assert histograms.shape == (2, COLOR_INPUTS)
    assert (histograms**2).sum(axis=1) == pytest.approx([1, 1])
    assert np.count_nonzero(histograms[1]) > np.count_nonzero(histograms[0])
    assert sorted(set(color_of_level())) == list(range(NUM_COLORS)) or color_of_level().max() < NUM_COLORS
    broken = np.full((1, 3, 32, 32), np.nan, dtype=np.float32)
    assert color_histograms(broken, [0.5] * 3, [0.5] * 3).sum() > 0


# --- the page and REST -----------------------------------------------------------------------------------------------


def test_the_page_shows_attributes_as_chips_and_in_its_table(attributed):
    service = Service(attributed.parent)
    answer = service.classify(draw_striped("Flats", "Striped", 3))
    card = answer_card(answer, service.classifier())
    assert '<li class="ok"><span class="of">Pattern</span> <span data-label="Striped">Striped</span>' in card
    assert ", please check" in card
    cells = prediction_row(answer.prediction)["cells"]
    assert list(cells)[-6:] == attribute_columns(["pattern", "fabric"])
    assert cells["pattern"] == "Striped"


def test_rest_says_attributes_of_a_model_that_has_some_and_nothing_of_one_without(attributed, tmp_path):
    shutil.copytree(attributed, tmp_path / "with")
    write_embedding_model(tmp_path / "without")
    client = TestClient(create_app(Service(tmp_path), page=False))
    answers = {}
    for model in ("with", "without"):
        files = {"files": ("a.png", draw_striped("Flats", "Striped", 3))}
        (answers[model],) = client.post("/v1/classify", params={"model": model}, files=files).json()["results"]
    assert answers["with"]["attributes"]["pattern"] | {"confidence": 1} == {
        "label": "Striped",
        "confidence": 1,
        "status": "ok",
    }
    assert "attributes" not in answers["without"]
    models = {model["name"]: model for model in client.get("/v1/models").json()}
    assert models["with"]["attributes"]["pattern"] == list(PATTERNS)
    assert "attributes" not in models["without"]
