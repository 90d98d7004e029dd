"""predict.py as a user runs it: rows in order, three formats, exit codes, one-line errors, quiet ends."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ctrl_c import listen_to_ctrl_c
from PIL import Image

import predict
from tests.make_tiny_model import LABELS, TAXONOMY, save_picture, write_tiny_model

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def pictures(tmp_path) -> list[str]:
    """One picture of each label, in the order of LABELS."""
    return [str(save_picture(tmp_path / f"{label}.png", label)) for label in LABELS]


def run(capsys, model: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `predict.py --model MODEL --image_path ARGUMENTS`."""
    try:
        code = predict.main(["--model", model, "--image_path", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def labels_in(jsonl: str) -> list[str | None]:
    return [json.loads(line)["label"] for line in jsonl.splitlines()]


def process(model: str, *arguments: str, **options) -> subprocess.Popen:
    command = [sys.executable, ROOT / "predict.py", "--model", model, "--image_path", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_the_table_shows_each_picture_with_the_confidence_of_each_level(capsys, model, pictures):
    code, out, err = run(capsys, model, *pictures)
    lines = out.splitlines()
    assert code == 0
    assert err == ""
    assert len(lines) == 1 + len(pictures)
    assert "Tshirts.png" in lines[1]
    assert lines[1].endswith("Apparel 100% > Topwear 100% > Tshirts 100%")
    assert lines[4].endswith("Apparel 100% > Scarves 100% > Scarves 100%")


def test_the_table_stays_within_100_columns(capsys, model, tmp_path):
    save_picture(tmp_path / ("a very long name " * 6) / "of a folder and a picture.png", "Tshirts")
    (tmp_path / "broken.png").write_text("no picture")
    code, out, _ = run(capsys, model, tmp_path, tmp_path / "missing.png")
    assert code == 1
    assert max(map(len, out.splitlines())) <= 100
    assert "…" in out
    assert "older and a picture.png  Apparel" in out


def test_the_table_lists_more_labels_when_asked(capsys, model, pictures):
    _, out, _ = run(capsys, model, pictures[0], "--top_k", "3")
    assert out.splitlines()[2].strip().startswith("2. ")
    assert out.splitlines()[3].strip().startswith("3. ")
    assert len(out.splitlines()) == 4


def test_jsonl_has_one_complete_object_a_picture(capsys, model, pictures, tmp_path):
    missing = str(tmp_path / "missing.jpg")
    code, out, _ = run(capsys, model, pictures[2], missing, "--format", "jsonl", "--top_k", "2")
    good, bad = map(json.loads, out.splitlines())
    assert code == 1
    assert good["image_path"] == pictures[2]
    assert (good["label"], good["status"], good["error"]) == ("Flats", "ok", None)
    assert good["category_path"] == TAXONOMY["paths"]["Flats"]
    assert good["top_k"][0] == {"label": "Flats", "confidence": good["confidence"]}
    assert len(good["top_k"]) == 2
    assert bad == {
        "image_path": missing,
        "label": None,
        "confidence": None,
        "category_path": [],
        "top_k": [],
        "status": "error",
        "error": "no such file",
    }


def test_csv_has_the_named_columns_and_a_joined_path(capsys, model, pictures, tmp_path):
    (tmp_path / 'odd, "name".png').write_bytes(Path(pictures[0]).read_bytes())
    code, out, _ = run(capsys, model, tmp_path / 'odd, "name".png', tmp_path / "none.png", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1
    assert out.splitlines()[0] == "image_path,label,confidence,category_path,status,error"
    assert rows[0]["image_path"] == str(tmp_path / 'odd, "name".png')
    assert rows[0]["category_path"] == "Apparel > Topwear > Tshirts"
    assert 0.9 < float(rows[0]["confidence"]) <= 1
    assert (rows[1]["label"], rows[1]["status"], rows[1]["error"]) == ("", "error", "no such file")


def test_pictures_folders_and_lists_keep_their_order(capsys, model, pictures, tmp_path):
    folder = tmp_path / "folder"
    for name, label in {"b.png": "Shirts", "a.png": "Flats", "inner/0.PNG": "Tshirts"}.items():
        save_picture(folder / name, label)
    (tmp_path / "list.txt").write_text(f"{pictures[3]}\n\n{pictures[1]}\r\n{folder / 'a.png'}", encoding="utf-8-sig")
    arguments = [pictures[0], folder, f"@{tmp_path / 'list.txt'}", "--image_path", pictures[1], "--format", "jsonl"]
    code, out, _ = run(capsys, model, *arguments)
    assert code == 0
    expected = ["Tshirts", "Flats", "Shirts", "Tshirts", "Scarves", "Shirts", "Flats", "Shirts"]
    assert labels_in(out) == expected


def test_what_a_folder_holds_besides_images_is_counted_not_dropped_silently(capsys, model, tmp_path):
    save_picture(tmp_path / "a.png", "Flats")
    for name in ("notes.txt", "more.txt", "photo.heic", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    code, out, err = run(capsys, model, tmp_path, "--format", "jsonl")
    assert code == 0
    assert labels_in(out) == ["Flats"]
    assert "2 .txt" in err
    assert "1 .heic" in err
    assert "1 hidden" in err
    assert "1 linked folder" in err


def test_a_folder_without_images_is_one_failed_row(capsys, model, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, err = run(capsys, model, tmp_path / "empty", pictures[0])
    assert code == 1
    assert "empty  error: a folder without images" in out
    assert "Tshirts" in out
    assert "1 of 2 images failed" in err


def test_one_corrupt_picture_among_many_costs_one_row(capsys, model, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(pictures[0]).read_bytes()[:60])
    code, out, err = run(capsys, model, *[pictures[1]] * 150, broken, *[pictures[2]] * 150, "--format", "jsonl")
    assert code == 1
    assert labels_in(out) == ["Shirts"] * 150 + [None] + ["Flats"] * 150
    assert "1 of 301 images failed" in err


def test_results_of_another_batch_size_are_the_same(capsys, model, pictures):
    outputs = {
        run(capsys, model, *pictures * 5, "--format", "csv", "--batch_size", size)[1] for size in ("1", "3", "64")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("name", "first_characters"), [("r.jsonl", '{"image_path"'), ("r.csv", "image_path"), ("r.txt", "image ")]
)
def test_the_format_follows_the_ending_of_the_output(capsys, model, pictures, tmp_path, name, first_characters):
    code, out, _ = run(capsys, model, *pictures, "--output", tmp_path / name)
    assert code == 0
    assert out == ""
    assert (tmp_path / name).read_text().startswith(first_characters)
    assert len((tmp_path / name).read_text().splitlines()) >= len(pictures)


def test_errors_are_shown_when_the_rows_go_to_a_file(capsys, model, pictures, tmp_path):
    code, _, err = run(capsys, model, pictures[0], tmp_path / "gone.png", "--output", tmp_path / "r.csv")
    assert code == 1
    assert f"{tmp_path / 'gone.png'}: no such file" in err


def test_an_interrupted_run_leaves_the_old_output_and_no_half_file(capsys, model, pictures, tmp_path, monkeypatch):
    output = tmp_path / "r.csv"
    output.write_text("old")

    def interrupted(*_):
        yield pictures[0], pictures[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "find_images", interrupted)
    files = sorted(tmp_path.iterdir())
    assert run(capsys, model, pictures[0], "--output", output)[0] == 130
    assert output.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "--top_k", "0"], "'0' is not a whole number of at least 1"),
        (["a.png", "--batch_size", "many"], "'many' is not a whole number"),
        (["a.png", "--format", "xml"], "invalid choice: 'xml'"),
        (["@nowhere.txt"], "the list 'nowhere.txt' cannot be read"),
        (["@/dev/null"], "the list '/dev/null' is empty"),
        (["a.png", "--output", "nowhere/r.csv"], "there is no folder"),
        (["a.png", "--output", "."], "is not a regular file"),
        (["a.png", "--output", "/dev/null"], "is not a regular file"),
        (["a.png", "--output", "r.xlsx"], ".jsonl, .csv, .txt"),
        (["a.png", "--topk", "3"], "unrecognized arguments: --topk"),
        ([], "expected at least one argument"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_allowed(capsys, model, arguments, message):
    code, out, err = run(capsys, model, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_an_unknown_model_exits_with_2_and_names_the_shipped_ones(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "MODELS", tmp_path)
    write_tiny_model(tmp_path / "toys")
    code, _, err = run(capsys, "toyz", "a.png")
    assert code == 2
    assert "--model 'toyz': no such folder; in app/models there is: toys" in err


def test_an_unusable_model_exits_with_2_in_one_line(capsys, pictures, tmp_path):
    folder = write_tiny_model(tmp_path / "model")
    (folder / "training_args.bin").touch()
    code, out, err = run(capsys, str(folder), pictures[0])
    assert code == 2
    assert out == ""
    assert "training_args.bin" in err
    assert len(err.splitlines()) == 1


def test_a_bare_name_is_a_shipped_model_from_any_working_folder(capsys, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "MODELS", tmp_path / "models")
    write_tiny_model(tmp_path / "models" / "toys")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, out, _ = run(capsys, "toys", pictures[2], "--format", "jsonl")
    assert code == 0
    assert labels_in(out) == ["Flats"]


def test_the_default_model_lies_beside_the_script():
    assert ROOT / "app" / "models" == predict.MODELS
    assert predict.build_parser().parse_args(["--image_path", "a.png"]).model == "fashion"


def test_a_name_that_is_not_utf_8_survives_in_jsonl(capsys, model, pictures, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    os.rename(pictures[2], path)
    code, out, _ = run(capsys, model, os.fsdecode(path), "--format", "jsonl")
    assert code == 0
    assert os.fsencode(json.loads(out)["image_path"]) == path


def test_a_name_cannot_steer_the_terminal(capsys, model, pictures, tmp_path):
    os.rename(pictures[2], tmp_path / "a\x1b[2J\nb.png")
    _, out, _ = run(capsys, model, tmp_path / "a\x1b[2J\nb.png")
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2


def test_the_command_gives_its_exit_code_and_prints_utf_8(model, pictures, tmp_path):
    Image.open(pictures[0]).save(tmp_path / "füße.png")
    with process(model, str(tmp_path / "füße.png"), env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}) as command:
        out, err = command.communicate(timeout=120)
    assert (command.returncode, err) == (0, "")
    assert "Apparel" in out


def test_a_reader_that_leaves_ends_the_command_quietly(model, pictures):
    with process(model, *pictures * 2000, "--format", "jsonl") as command:
        command.stdout.readline()
        command.stdout.close()
        err = command.stderr.read()
        command.wait(timeout=120)
    assert err == ""
    assert command.returncode == 141


def test_ctrl_c_ends_the_command_quietly(model, pictures):
    with process(model, *pictures * 3000, "--format", "jsonl", preexec_fn=listen_to_ctrl_c) as command:
        command.stdout.readline()
        time.sleep(0.1)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=120)
    assert err == ""
    assert command.returncode == 130
    assert all(json.loads(line)["status"] == "ok" for line in out.splitlines()[:-1])


@pytest.mark.real_data
def test_real_photographs_are_classified_through_the_command(shared, capsys, model):
    code, out, err = run(capsys, model, shared / "data/clothing/validation/hat", "--format", "jsonl")
    assert code == 0, err
    assert len(out.splitlines()) == len(list((shared / "data/clothing/validation/hat").iterdir()))
