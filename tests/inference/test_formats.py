"""What predict.py writes: the table, JSON lines, CSV and Parquet, whatever the images are called."""

import csv
import io
import json
import os
from pathlib import Path

import pyarrow.parquet
import pytest

from app.prediction import Prediction, ScoredLabel
from inference.writers import write_table
from tests.inference.command import run
from tests.make_tiny_model import TAXONOMY, save_image


def test_the_table_shows_each_image_with_the_confidence_of_each_level(capsys, model, images):
    code, out, err = run(capsys, model, *images)
    lines = out.splitlines()
    assert code == 0
    assert err == "4 images: 4 ok\n"
    assert len(lines) == 1 + len(images)
    assert "Tshirts.png" in lines[1]
    assert lines[1].endswith("Apparel 100% > Topwear 100% > Tshirts 100%")
    assert lines[4].endswith("Apparel 100% > Scarves 100% > Scarves 100%")


def test_the_table_stays_within_100_columns(capsys, model, tmp_path):
    save_image(tmp_path / ("a very long name " * 6) / "of a folder and an image.png", "Tshirts")
    (tmp_path / "broken.png").write_text("no image")
    code, out, _ = run(capsys, model, tmp_path, tmp_path / "missing.png")
    assert code == 1
    assert max(map(len, out.splitlines())) <= 100
    assert "…" in out
    assert "older and an image.png  Apparel" in out


def test_the_table_lists_more_labels_when_asked(capsys, model, images):
    _, out, _ = run(capsys, model, images[0], "--top_k", "3")
    assert out.splitlines()[2].strip().startswith("2. ")
    assert out.splitlines()[3].strip().startswith("3. ")
    assert len(out.splitlines()) == 4


SURE = Prediction(
    label="Flats",
    confidence=0.9,
    category_path=["Shoes", "Flats"],
    path_confidences=[0.95, 0.9],
    published_path=["Shoes", "Flats"],
    published_confidences=[0.95, 0.9],
)


LIKELY = [ScoredLabel("Flats", 0.4)]


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        (SURE, "Shoes 95% > Flats 90%"),
        (
            Prediction("review", "Flats", 0.4, [], [], ["Shoes"], [0.95], LIKELY),
            "please check: Shoes 95% (perhaps Flats 40%)",
        ),
        (Prediction("review", "Flats", 0.4, top_k=LIKELY), "please check: not sure (perhaps Flats 40%)"),
        (Prediction("unknown", "Flats", 0.4, top_k=LIKELY), "not a product this model knows (nearest: Flats 40%)"),
        (Prediction("error", error="no such file"), "error: no such file"),
    ],
)
def test_the_table_says_each_status_in_words(prediction, words):
    output = io.StringIO()
    write_table([("a.png", prediction)], output, top_k=1)
    assert output.getvalue().splitlines()[1] == f"{'a.png':<12}  {words}"


def test_jsonl_has_one_complete_object_an_image(capsys, model, images, tmp_path):
    missing = str(tmp_path / "missing.jpg")
    code, out, _ = run(capsys, model, images[2], missing, "--format", "jsonl", "--top_k", "2")
    good, bad = map(json.loads, out.splitlines())
    assert code == 1
    assert good["image_path"] == images[2]
    assert (good["label"], good["status"], good["error"]) == ("Flats", "ok", None)
    assert good["category_path"] == TAXONOMY["paths"]["Flats"]
    assert good["top_k"][0] == {"label": "Flats", "confidence": good["confidence"]}
    assert len(good["top_k"]) == 2
    assert bad == {
        "image_path": missing,
        "label": None,
        "confidence": None,
        "category_path": [],
        "path_confidences": [],
        "published_path": [],
        "published_confidences": [],
        "top_k": [],
        "prediction_set": [],
        "status": "error",
        "unknown_score": None,
        "error": "no such file",
    }


def test_csv_has_the_named_columns_and_a_joined_path(capsys, model, images, tmp_path):
    (tmp_path / 'odd, "name".png').write_bytes(Path(images[0]).read_bytes())
    code, out, _ = run(capsys, model, tmp_path / 'odd, "name".png', tmp_path / "none.png", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1
    columns = "image_path,label,confidence,category_path,status,published_path,published_confidence,unknown_score,error"
    assert out.splitlines()[0] == columns
    assert rows[0]["label"] == "Tshirts"
    assert rows[0]["published_path"] == rows[0]["category_path"]
    assert rows[0]["image_path"] == str(tmp_path / 'odd, "name".png')
    assert rows[0]["category_path"] == "Apparel > Topwear > Tshirts"
    assert 0.9 < float(rows[0]["confidence"]) <= 1
    assert (rows[1]["label"], rows[1]["status"], rows[1]["error"]) == ("", "error", "no such file")


def test_parquet_holds_what_the_json_lines_hold(capsys, model, images, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    arguments = [*images, tmp_path / "broken.png", "--output"]
    run(capsys, model, *arguments, tmp_path / "r.jsonl")
    run(capsys, model, *arguments, tmp_path / "r.parquet")
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert pyarrow.parquet.read_table(tmp_path / "r.parquet").to_pylist() == rows


@pytest.mark.parametrize(
    ("name", "first_characters"), [("r.jsonl", '{"image_path"'), ("r.csv", "image_path"), ("r.txt", "image ")]
)
def test_the_format_follows_the_ending_of_the_output(capsys, model, images, tmp_path, name, first_characters):
    code, out, _ = run(capsys, model, *images, "--output", tmp_path / name)
    assert code == 0
    assert out == ""
    assert (tmp_path / name).read_text().startswith(first_characters)
    assert len((tmp_path / name).read_text().splitlines()) >= len(images)


def test_a_name_that_is_not_utf_8_survives_in_jsonl(capsys, model, images, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    os.rename(images[2], path)
    code, out, _ = run(capsys, model, os.fsdecode(path), "--format", "jsonl")
    assert code == 0
    assert os.fsencode(json.loads(out)["image_path"]) == path


def test_a_name_cannot_steer_the_terminal(capsys, model, images, tmp_path):
    os.rename(images[2], tmp_path / "a\x1b[2J\nb.png")
    _, out, _ = run(capsys, model, tmp_path / "a\x1b[2J\nb.png")
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2
