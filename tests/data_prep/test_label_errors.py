"""The doctor with a model or out-of-fold predictions: what leaks are worth, and likely label errors."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from app.classifier import Classifier
from tests.doctor_reports import encode, examine, prepare, summary_of
from tests.drawings import drawing
from tests.make_tiny_model import COLOR_FOR_LABEL, WEIGHTS, write_calibration, write_tiny_model


def painted(label: str, shade: int) -> bytes:
    """An image that the tiny model calls `label`, one of its own for each shade."""
    image = Image.new("RGB", (60, 80), COLOR_FOR_LABEL[label])
    image.paste("white", (shade, shade, shade + 9, shade + 9))
    return encode(image)


def test_the_price_of_leaks_is_the_accuracy_that_they_add(tmp_path):
    files = {f"train {n}.png": (painted("Tshirts", 5 * n), "Tshirts", "train") for n in range(4)}
    files |= {f"leaked {n}.png": (painted("Tshirts", 5 * n), "Tshirts", "test") for n in range(4)}
    files |= {f"fresh {n}.png": (painted("Shirts", 5 * n), "Flats", "test") for n in range(4)}
    files |= {f"other {n}.png": (painted("Flats", 5 * n), "Flats", "validation") for n in range(4)}
    dataset = prepare(tmp_path, files)
    report, *_ = examine(dataset, "--model", str(write_tiny_model(tmp_path / "model")))
    row = next(line for line in report.splitlines() if line.startswith("| test | equal bytes"))
    assert "50.0% [21.5, 78.5] of 8 | 100.0% [51.0, 100.0] of 4 | 0.0% [0.0, 49.0] of 4 | +50.0 points" in row
    assert summary_of(report)["Price of the leaks"].startswith("+50.0 points")


def test_a_calibrated_model_is_heard_even_where_it_would_not_publish(tmp_path):
    """Its thresholds turn most answers into `review` or `unknown`; the doctor reads the probabilities behind them."""
    colors = list(COLOR_FOR_LABEL)
    files = {f"{label} {n}.png": (painted(label, 5 * n), label, "validation") for label in colors for n in range(6)}
    files |= {f"train {label}.png": (painted(label, 45), label, "train") for label in colors}
    files["wrong.png"] = (painted("Tshirts", 40), "Flats", "test")
    model = write_tiny_model(tmp_path / "model")
    dataset = prepare(tmp_path, files)
    plain = examine(dataset, "--model", str(model))
    write_calibration(model, least=None, temperature=1.0)
    assert {answer.status for answer in Classifier.load(model).predict([painted("Flats", 0)])} == {"review"}
    assert examine(dataset, "--model", str(model)) == plain
    assert {key: line["label"] for key, line in plain[2].items()} == {"wrong.png": "Tshirts"}


def test_an_image_that_the_model_cannot_read_is_named(tmp_path, monkeypatch, capsys):
    files = {f"{n}.png": (painted("Tshirts", 5 * n), "Tshirts", "validation") for n in range(3)}
    dataset, model = prepare(tmp_path, files), write_tiny_model(tmp_path / "model", WEIGHTS * np.nan)
    with pytest.raises(SystemExit):
        examine(dataset, "--label", "label", "--model", str(model))
    assert "cannot classify 0.png: the model gave no finite numbers" in capsys.readouterr().err


@pytest.fixture(scope="module")
def mislabeled(tmp_path_factory) -> Path:
    """60 training images of three classes; `3` and `31` carry a wrong label."""
    files = {f"{n}": (drawing(n), "abc"[n % 3], "train") for n in range(60)}
    files |= {"3": (drawing(3), "b", "train"), "31": (drawing(31), "c", "train")}
    files |= {"v": (drawing(70), "a", "validation"), "t": (drawing(71), "a", "test")}
    return prepare(tmp_path_factory.mktemp("mislabelled"), files)


def test_a_model_of_other_classes_is_refused_and_the_right_column_is_named(mislabeled, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        examine(mislabeled, "--model", str(write_tiny_model(tmp_path / "model")))
    assert stop.value.code == 2
    assert "not the classes of label; give a model that was trained on this dataset" in capsys.readouterr().err


def out_of_fold(sure: float = 0.98) -> tuple[list[str], np.ndarray]:
    """Ids and what a good model says: the true class, which is the remainder of the number by three."""
    probabilities = np.full((60, 3), (1 - sure) / 2, np.float32)
    probabilities[np.arange(60), np.arange(60) % 3] = sure
    return [str(n) for n in range(60)], probabilities


@pytest.mark.parametrize("form", ["list", "columns"])
def test_label_errors_are_found_in_out_of_fold_predictions(mislabeled, tmp_path, form):
    ids, probabilities = out_of_fold()
    if form == "list":
        content = pa.table({"id": ids, "label": [0] * 60, "probabilities": probabilities.tolist()})
    else:
        content = pa.table({"id": ids, **{name: probabilities[:, n] for n, name in enumerate("abc")}})
    pq.write_table(content, tmp_path / "oof.parquet")
    report, _, relabeled = examine(mislabeled, "--oof", str(tmp_path / "oof.parquet"))
    assert {key: line["label"] for key, line in relabeled.items()} == {"3": "a", "31": "b"}
    assert summary_of(report)["Likely label errors in label, out of fold"] == "2 images"
    assert "agrees with 96.7%" in report


def test_an_unsure_model_proposes_nothing(mislabeled, tmp_path):
    ids, probabilities = out_of_fold(sure=0.6)
    pq.write_table(pa.table({"id": ids, "probabilities": probabilities.tolist()}), tmp_path / "oof.parquet")
    assert examine(mislabeled, "--oof", str(tmp_path / "oof.parquet"))[2] == {}


BAD_PREDICTIONS = {
    "has no column id": {"name": ["3"], "probabilities": [[1.0, 0.0, 0.0]]},
    "has 2 probabilities per row; the column has 3 classes": {"id": ["3"], "probabilities": [[1.0, 0.0]]},
    "are they logits?": {"id": ["3"], "probabilities": [[4.0, 1.0, 0.5]]},
    "negative or not numbers": {"id": ["3"], "probabilities": [[float("nan"), 1.0, 0.0]]},
    "no id of": {"id": ["unknown"], "probabilities": [[1.0, 0.0, 0.0]]},
    "neither a column probabilities nor one per class; b, c": {"id": ["3"], "a": [1.0]},
}


@pytest.mark.parametrize("problem", BAD_PREDICTIONS)
def test_unusable_predictions_are_refused_in_one_line(mislabeled, tmp_path, capsys, problem):
    pq.write_table(pa.table(BAD_PREDICTIONS[problem]), tmp_path / "oof.parquet")
    with pytest.raises(SystemExit) as stop:
        examine(mislabeled, "--oof", str(tmp_path / "oof.parquet"))
    assert stop.value.code == 2
    assert problem in capsys.readouterr().err.splitlines()[-1]
