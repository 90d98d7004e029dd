"""predict.py writes attributes as columns of tables and as objects of JSON lines, and nothing for a model without."""

import csv
import json

import pyarrow.parquet as pq
import pytest
from attributed import draw_striped, write_embedding_model

import predict
from inference.journal import as_line, as_row

COLUMNS = [f"{name}{suffix}" for name in ("pattern", "fabric") for suffix in ("", "_confidence", "_status")]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(draw_striped("Flats", "Striped", 3))
    (folder / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def test_each_format_has_them(attributed, images, tmp_path):
    given = ["--model", str(attributed), "--image_path", str(images)]
    for ending in ("csv", "jsonl", "parquet"):
        assert predict.main([*given, "--output", str(tmp_path / f"out.{ending}")]) == 1
    with (tmp_path / "out.csv").open(newline="") as file:
        good, bad = csv.DictReader(file)
    assert list(good)[-6:] == COLUMNS
    assert (good["pattern"], good["pattern_status"], good["fabric_status"]) == ("Striped", "ok", "review")
    assert [bad[column] for column in COLUMNS] == [""] * 6
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first["attributes"]["pattern"]["label"] == "Striped"
    assert "attributes" not in second
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["pattern"].to_pylist() == ["Striped", None]
    assert table["pattern_confidence"].to_pylist()[0] == first["attributes"]["pattern"]["confidence"]
    assert "attributes" not in table.column_names


def test_the_table_of_the_terminal_has_a_line_for_them(attributed, images, capsys):
    predict.main(["--model", str(attributed), "--image_path", str(images / "a.png")])
    assert "  pattern Striped 100%, fabric perhaps " in capsys.readouterr().out


def test_a_table_of_the_user_keeps_its_own_column_of_that_name(attributed, images, tmp_path):
    (images / "shop.csv").write_text("image,pattern\na.png,checked\n")
    predict.main(
        ["--model", str(attributed), "--image_path", str(images / "shop.csv"), "--output", str(tmp_path / "o.csv")]
    )
    with (tmp_path / "o.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["pattern"], row["pattern_predicted"]) == ("checked", "Striped")


def test_rows_come_back_from_the_journal_and_from_other_machines(attributed):
    from app.classifier import Classifier

    (prediction,) = Classifier.load(attributed).predict([draw_striped("Flats", "Striped", 3)])
    assert as_row(as_line("a.png", prediction)) == ("a.png", prediction)


def test_without_attributes_nothing_is_different(images, tmp_path, capsys):
    folder = write_embedding_model(tmp_path / "model")
    predict.main(["--model", str(folder), "--image_path", str(images / "a.png"), "--format", "csv"])
    header, row = capsys.readouterr().out.splitlines()
    assert header.endswith("unknown_score,error")
    assert row.count(",") == header.count(",")
