"""predict.py --title_column: a catalogue of images and titles in, a table with what each answer came from out."""

import csv
import json

import pyarrow.parquet as pq
import pytest

import predict
from tests.inference.command import process, run
from tests.make_tiny_model import save_image, write_calibration, write_tiny_model
from tests.tiny_titles import write_titles

EXPECTED = ["both", "image", "title", "", "both"]


@pytest.fixture(scope="module")
def titled(tmp_path_factory) -> str:
    folder = write_calibration(write_tiny_model(tmp_path_factory.mktemp("model") / "titled"))
    return str(write_titles(folder))


@pytest.fixture
def catalog(tmp_path):
    """Image and title; no title; no image; neither; a title that contradicts its image."""
    save_image(tmp_path / "shirt.png", "Shirts")
    rows = [
        ("shirt.png", "Acme Women Olive Shirt"),
        ("shirt.png", ""),
        ("missing.png", "Zenit Women Blue Scarf"),
        ("missing.png", ""),
        ("shirt.png", "Zenit Women Blue Ballerina Flats"),
    ]
    path = tmp_path / "catalog.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("file", "name"), *rows])
    return path


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_gets_a_column_that_says_what_each_answer_came_from(capsys, titled, catalog, tmp_path):
    code, _, err = run(capsys, titled, catalog, "--title_column", "name", "--output", tmp_path / "out.csv")
    rows = rows_of(tmp_path / "out.csv")
    assert code == 1 and "2 ok, 1 to check, 1 failed" not in err
    assert [row["answered_from"] for row in rows] == EXPECTED
    assert [row["label"] for row in rows] == ["Shirts", "Shirts", "Scarves", "", rows[4]["label"]]
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "error", "review"]
    assert "missing.png" in rows[2]["file"] and "no such file" in rows[2]["error"]


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "xlsx"])
def test_every_format_has_it(capsys, titled, catalog, tmp_path, ending):
    path = tmp_path / f"out.{ending}"
    run(capsys, titled, catalog, "--title_column", "name", "--output", path)
    if ending == "jsonl":
        found = [json.loads(line).get("answered_from") for line in path.read_text().splitlines()]
    elif ending == "parquet":
        found = pq.read_table(path)["answered_from"].to_pylist()
    else:
        import openpyxl

        header, *rows = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
        found = [row[header.index("answered_from")] for row in rows]
    assert found == [source or None for source in EXPECTED]


def test_the_screen_says_which_answers_are_from_the_title_alone(capsys, titled, catalog):
    _, out, _ = run(capsys, titled, catalog, "--title_column", "name")
    assert [line.endswith("(from the title alone)") for line in out.splitlines()] == [False] * 3 + [True] + [False] * 2


def test_without_the_option_the_columns_are_as_before(capsys, titled, catalog, tmp_path):
    run(capsys, titled, catalog, "--output", tmp_path / "out.csv")
    assert "answered_from" not in (tmp_path / "out.csv").read_text()


def test_an_interrupted_run_goes_on_with_the_same_titles_only(capsys, titled, catalog, tmp_path):
    output = tmp_path / "out.csv"
    arguments = (titled, catalog, "--title_column", "name", "--output", output)
    run(capsys, *arguments)
    whole = output.read_bytes()
    journal = output.with_name("out.csv.partial")
    from inference.journal import Journal
    from inference.options import build_parser, parse_options

    options = parse_options(build_parser(""), ["--model", titled, "--image_path", *map(str, arguments[1:])])
    with Journal(journal, options.row_settings(), resume=False) as started:
        for name, prediction in list(predict.classified(options, list(options.readers[0])))[:2]:
            started.append(name, prediction)
    output.unlink()
    code, _, err = run(capsys, titled, catalog, "--output", output, "--resume")
    assert code == 2 and "title_column" in err
    run(capsys, *arguments, "--resume")
    assert output.read_bytes() == whole


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--title_column", "nmae"], "no column 'nmae': give --title_column, one of file, name"),
        (["--title_column", "name", "--ensemble", "{model}", "{model}"], "leave out --ensemble"),
        (["--title_column", "name", "--screenshots"], "leave out --ensemble and --screenshots"),
    ],
)
def test_mistakes_are_one_line(capsys, titled, catalog, more, message):
    arguments = ["--image_path", str(catalog), *(word.format(model=titled) for word in more)]
    if "--ensemble" not in more:
        arguments += ["--model", titled]
    with pytest.raises(SystemExit) as stop:
        predict.main(arguments)
    err = capsys.readouterr().err
    assert stop.value.code == 2 and message in err and err.count("\n") == 1


def test_titles_need_a_table_and_a_model_that_reads_them(capsys, titled, catalog, tmp_path):
    code, _, err = run(capsys, titled, tmp_path / "shirt.png", "--title_column", "name")
    assert code == 2 and "no table among --image_path" in err
    plain = str(write_tiny_model(tmp_path / "plain"))
    code, _, err = run(capsys, plain, catalog, "--title_column", "name")
    assert code == 2 and "plain does not read titles" in err and err.count("\n") == 1


def test_reading_titles_loads_no_training_library(titled, catalog):
    command = process(titled, str(catalog), "--title_column", "name", "--format", "jsonl")
    out, err = command.communicate(timeout=60)
    assert [json.loads(line).get("answered_from") for line in out.splitlines()][:3] == EXPECTED[:3], err
    code = "import sys, predict; predict.main(sys.argv[1:]); print({'sklearn','scipy','torch'} & set(sys.modules))"
    import subprocess
    import sys

    from tests.inference.command import ROOT

    arguments = ["--model", titled, "--image_path", str(catalog), "--title_column", "name"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "set()"


def test_products_travel_to_other_machines_with_their_titles(tmp_path, monkeypatch):
    import pickle

    from app.titled import TitledImage
    from inference.ray_engine import portable

    monkeypatch.chdir(tmp_path)
    for image in ("a.png", b"bytes", None):
        name, product = pickle.loads(pickle.dumps(portable(("row 1", TitledImage(image, "Blue shirt")))))
        absolute = str(tmp_path / "a.png") if image == "a.png" else image
        assert (name, product) == ("row 1", TitledImage(absolute, "Blue shirt"))


def test_explanations_are_drawn_of_the_images_that_were_read(capsys, titled, catalog, tmp_path):
    code, _, err = run(capsys, titled, catalog, "--title_column", "name", "--explain", tmp_path / "why")
    assert code == 1 and "Traceback" not in err
    assert sorted(path.name[:4] for path in (tmp_path / "why").iterdir()) == ["0001", "0002", "0005"]
