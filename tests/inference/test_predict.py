"""predict.py as a user runs it: rows in order, formats, exit codes, one-line errors, going on after a kill."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from ctrl_c import listen_to_ctrl_c
from PIL import Image

import predict
from app.classifier import Prediction, ScoredLabel
from inference import options as predict_options
from inference import writers as outputs
from tests.make_tiny_model import LABELS, TAXONOMY, WEIGHTS, save_image, write_tiny_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def images(tmp_path) -> list[str]:
    """One image of each label, in the order of LABELS."""
    return [str(save_image(tmp_path / f"{label}.png", label)) for label in LABELS]


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
    columns = "image_path,label,confidence,category_path,status,best_label,best_confidence,unknown_score,error"
    assert out.splitlines()[0] == columns
    assert rows[0]["best_label"] == rows[0]["label"] == "Tshirts"
    assert rows[0]["image_path"] == str(tmp_path / 'odd, "name".png')
    assert rows[0]["category_path"] == "Apparel > Topwear > Tshirts"
    assert 0.9 < float(rows[0]["confidence"]) <= 1
    assert (rows[1]["label"], rows[1]["status"], rows[1]["error"]) == ("", "error", "no such file")


def test_images_folders_and_lists_keep_their_order(capsys, model, images, tmp_path):
    folder = tmp_path / "folder"
    for name, label in {"b.png": "Shirts", "a.png": "Flats", "inner/0.PNG": "Tshirts"}.items():
        save_image(folder / name, label)
    (tmp_path / "list.txt").write_text(f"{images[3]}\n\n{images[1]}\r\n{folder / 'a.png'}", encoding="utf-8-sig")
    arguments = [images[0], folder, f"@{tmp_path / 'list.txt'}", "--image_path", images[1], "--format", "jsonl"]
    code, out, _ = run(capsys, model, *arguments)
    assert code == 0
    expected = ["Tshirts", "Flats", "Shirts", "Tshirts", "Scarves", "Shirts", "Flats", "Shirts"]
    assert labels_in(out) == expected


def test_what_a_folder_holds_besides_images_is_counted_not_dropped_silently(capsys, model, tmp_path):
    save_image(tmp_path / "a.png", "Flats")
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


def test_a_folder_without_images_is_one_failed_row(capsys, model, images, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, err = run(capsys, model, tmp_path / "empty", images[0])
    assert code == 1
    assert "empty  error: a folder without images" in out
    assert "Tshirts" in out
    assert "2 images: 1 ok, 1 failed" in err


def test_one_corrupt_image_among_many_costs_one_row(capsys, model, images, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(images[0]).read_bytes()[:60])
    code, out, err = run(capsys, model, *[images[1]] * 150, broken, *[images[2]] * 150, "--format", "jsonl")
    assert code == 1
    assert labels_in(out) == ["Shirts"] * 150 + [None] + ["Flats"] * 150
    assert "301 images: 300 ok, 1 failed" in err


def test_results_of_another_batch_size_are_the_same(capsys, model, images):
    outputs = {run(capsys, model, *images * 5, "--format", "csv", "--batch_size", size)[1] for size in ("1", "3", "64")}
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("name", "first_characters"), [("r.jsonl", '{"image_path"'), ("r.csv", "image_path"), ("r.txt", "image ")]
)
def test_the_format_follows_the_ending_of_the_output(capsys, model, images, tmp_path, name, first_characters):
    code, out, _ = run(capsys, model, *images, "--output", tmp_path / name)
    assert code == 0
    assert out == ""
    assert (tmp_path / name).read_text().startswith(first_characters)
    assert len((tmp_path / name).read_text().splitlines()) >= len(images)


def test_errors_are_shown_when_the_rows_go_to_a_file(capsys, model, images, tmp_path):
    code, _, err = run(capsys, model, images[0], tmp_path / "gone.png", "--output", tmp_path / "r.csv")
    assert code == 1
    assert f"{tmp_path / 'gone.png'}: no such file" in err


def test_an_interrupted_run_leaves_the_old_output_and_says_how_to_go_on(capsys, model, images, tmp_path, monkeypatch):
    output = tmp_path / "r.csv"
    output.write_text("old")
    interrupt_after(monkeypatch, 3)
    code, _, err = run(capsys, model, *images, "--output", output)
    assert code == 130
    assert "stopped after 3 images; the same command with --resume goes on" in err
    assert output.read_text() == "old"


def interrupt_after(monkeypatch, rows: int) -> None:
    """As if somebody pressed Ctrl-C when so many rows had been written."""
    append = predict.Journal.append

    def then_interrupt(journal, name, prediction):
        append(journal, name, prediction)
        if journal.done == rows:
            raise KeyboardInterrupt

    monkeypatch.setattr(predict.Journal, "append", then_interrupt)


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.parquet", "r.txt"])
def test_a_resumed_run_writes_the_same_file_and_repeats_nothing(capsys, model, images, tmp_path, monkeypatch, name):
    missing = tmp_path / "missing.png"
    arguments = [*images, missing, *images]
    run(capsys, model, *arguments, "--output", tmp_path / name)
    expected = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        assert run(capsys, model, *arguments, "--output", tmp_path / name)[0] == 130
    assert not (tmp_path / name).exists()
    classified = count_appended(monkeypatch)
    code, _, err = run(capsys, model, *arguments, "--output", tmp_path / name, "--resume")
    assert (code, len(classified)) == (1, 4)
    assert "9 images: 8 ok, 1 failed" in err
    assert (tmp_path / name).read_bytes() == expected
    assert not list(tmp_path.glob("*.partial"))


def count_appended(monkeypatch) -> list[str]:
    """Fills with the names of the images that are classified from now on."""
    names, append = [], predict.Journal.append
    monkeypatch.setattr(predict.Journal, "append", lambda *row: names.append(row[1]) or append(*row))
    return names


def test_a_killed_run_goes_on_without_losing_or_repeating_a_row(capsys, model, images, tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("\n".join(images * 1000))
    output, partial = tmp_path / "r.jsonl", tmp_path / "r.jsonl.partial"
    with process(model, f"@{tmp_path / 'list.txt'}", "--output", str(output)) as command:
        while not partial.exists() or partial.stat().st_size < 30_000:
            assert command.poll() is None, command.stderr.read()
            time.sleep(0.01)
        command.kill()
    with open(partial, "ab") as file:
        file.write(b'["half a li')
    done = partial.read_bytes().count(b"\n") - 1
    classified = count_appended(monkeypatch)
    code, _, _ = run(capsys, model, f"@{tmp_path / 'list.txt'}", "--output", output, "--resume")
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert code == 0
    assert 0 < done < 4000
    assert len(classified) == 4000 - done
    assert [row["image_path"] for row in rows] == images * 1000
    assert [row["label"] for row in rows] == list(LABELS) * 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([], "holds 3 rows of a run that was interrupted: continue it with --resume, or delete"),
        (["--resume", "--tta", "2"], "was begun with tta 1, and this is 2"),
        (["--resume", "--top_k", "2"], "was begun with top_k 5, and this is 2"),
    ],
)
def test_rows_of_another_run_are_never_mixed_or_lost(capsys, model, images, tmp_path, monkeypatch, changes, message):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        run(capsys, model, *images, "--output", tmp_path / "r.jsonl")
    before = (tmp_path / "r.jsonl.partial").read_bytes()
    code, _, err = run(capsys, model, *images, "--output", tmp_path / "r.jsonl", *changes)
    assert code == 2
    assert message in err
    assert (tmp_path / "r.jsonl.partial").read_bytes() == before


def test_images_that_changed_since_the_interruption_are_noticed(capsys, model, images, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        run(capsys, model, *images, "--output", tmp_path / "r.jsonl")
    code, _, err = run(capsys, model, *images[1:], "--output", tmp_path / "r.jsonl", "--resume")
    assert code == 2
    assert f"image 1 was {images[0]} and is now {images[1]}" in err


def test_two_runs_cannot_write_the_same_file(capsys, model, images, tmp_path):
    with predict.Journal(tmp_path / "r.jsonl.partial", {}, resume=False):
        code, _, err = run(capsys, model, *images, "--output", tmp_path / "r.jsonl")
    assert code == 2
    assert "another run is writing" in err


def test_parquet_holds_what_the_json_lines_hold(capsys, model, images, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    arguments = [*images, tmp_path / "broken.png", "--output"]
    run(capsys, model, *arguments, tmp_path / "r.jsonl")
    run(capsys, model, *arguments, tmp_path / "r.parquet")
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert pyarrow.parquet.read_table(tmp_path / "r.parquet").to_pylist() == rows


SURE = Prediction(label="Flats", confidence=0.9, category_path=["Shoes", "Flats"], path_confidences=[0.95, 0.9])
LIKELY = [ScoredLabel("Flats", 0.4)]


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        (SURE, "Shoes 95% > Flats 90%"),
        (Prediction("review", "Shoes", 0.95, ["Shoes"], [0.95], LIKELY), "please check: Shoes 95% (perhaps Flats 40%)"),
        (Prediction("review", None, 0.4, top_k=LIKELY), "please check: not sure (perhaps Flats 40%)"),
        (Prediction("unknown", None, 0.4, top_k=LIKELY), "not a product this model knows (nearest: Flats 40%)"),
        (Prediction("error", error="no such file"), "error: no such file"),
    ],
)
def test_the_table_says_each_status_in_words(prediction, words):
    output = io.StringIO()
    outputs.write_table([("a.png", prediction)], output, top_k=1)
    assert output.getvalue().splitlines()[1] == f"{'a.png':<12}  {words}"


def test_an_ensemble_averages_the_probabilities(capsys, images, tmp_path):
    swapped = WEIGHTS[[1, 0, 2, 3]]  # calls a Tshirt a Shirt, and the other way round
    folders = [write_tiny_model(tmp_path / "a"), write_tiny_model(tmp_path / "b", swapped * np.float32(0.5))]
    alone = [json.loads(run(capsys, str(folder), images[0], "--format", "jsonl")[1]) for folder in folders]
    code = predict.main(
        ["--ensemble", *map(str, folders), "--image_path", images[0], "--format", "jsonl", "--top_k", "2"]
    )
    together = json.loads(capsys.readouterr().out)
    confidences = [{top["label"]: top["confidence"] for top in row["top_k"]} for row in (*alone, together)]
    assert code == 0
    for label in ("Tshirts", "Shirts"):
        assert confidences[2][label] == pytest.approx((confidences[0][label] + confidences[1][label]) / 2, abs=2e-6)


def test_an_ensemble_of_different_labels_is_refused(capsys, model, images, tmp_path):
    other = write_tiny_model(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["id2label"]["0"] = "Hats"
    (other / "config.json").write_text(json.dumps({"id2label": config["id2label"]}))
    with pytest.raises(SystemExit) as stop:
        predict.main(["--ensemble", model, str(other), "--image_path", images[0]])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert "do not know the same labels" in err
    assert "Hats, Tshirts" in err


def test_a_submission_has_the_order_and_the_columns_of_the_sample(capsys, model, images, tmp_path):
    (tmp_path / "Flats.png").write_text("broken")
    (tmp_path / "sample.csv").write_text("id,articleType\nScarves,x\nFlats,x\nTshirts,x\n")
    arguments = ["--submission", tmp_path / "sample.csv", "--output", tmp_path / "s.csv"]
    code, _, err = run(capsys, model, tmp_path, *arguments)
    assert (tmp_path / "s.csv").read_text() == "id,articleType\nScarves,Scarves\nFlats,x\nTshirts,Tshirts\n"
    assert code == 1
    assert "1 ids without an answer keep the sample's label: Flats" in err


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("id,label\nTshirts,x\n77,x\n", "1 of the 2 ids"),
        ("id,label\nTshirts,x\nTshirts,x\n", "the id 'Tshirts' for the second time"),
        ("image,label\na,b\n", "its columns are image, label; they must be id"),
        ("id,label\n", "it has no rows"),
        (None, "there is no file"),
    ],
)
def test_a_sample_that_does_not_fit_the_images_is_refused_before_the_work(
    capsys, model, images, tmp_path, sample, message
):
    if sample is not None:
        (tmp_path / "sample.csv").write_text(sample)
    arguments = ["--submission", tmp_path / "sample.csv", "--output", tmp_path / "s.csv"]
    code, _, err = run(capsys, model, *images, *arguments)
    assert code == 2
    assert message in err
    assert not (tmp_path / "s.csv").exists()


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
        (["a.png", "--output", "r.xlsx"], ".jsonl, .csv, .parquet, .txt"),
        (["a.png", "--topk", "3"], "unrecognized arguments: --topk"),
        (["a.png", "--resume"], "--resume needs --output"),
        (["a.png", "--submission", "s.csv"], "--submission needs --output"),
        (["a.png", "--format", "parquet"], "--format parquet needs --output"),
        (["a.png", "--tta", "99"], "there are at most"),
        (["a.png", "--precision", "int4"], "invalid choice: 'int4'"),
        (["a.png", "--precision", "int8"], "has no model.int8.onnx"),
        (["a.png", "--ensemble", "x", "y"], "--model and --ensemble exclude each other"),
        (["a.png", "--address", "auto"], "add --engine ray"),
        (["a.png", "--engine", "ray", "--address", "a b"], "it must be auto, local or HOST:PORT"),
        (["a.png", "--engine", "ray", "--explain", "why"], "leave out --explain"),
        (["a.png", "--explain", __file__], "is not a folder"),
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
    monkeypatch.setattr(predict_options, "MODELS", tmp_path)
    write_tiny_model(tmp_path / "toys")
    code, _, err = run(capsys, "toyz", "a.png")
    assert code == 2
    assert "--model 'toyz': no such folder; in app/models there is: toys" in err


def test_an_unusable_model_exits_with_2_in_one_line(capsys, images, tmp_path):
    folder = write_tiny_model(tmp_path / "model")
    (folder / "training_args.bin").touch()
    code, out, err = run(capsys, str(folder), images[0])
    assert code == 2
    assert out == ""
    assert "training_args.bin" in err
    assert len(err.splitlines()) == 1


def test_a_bare_name_is_a_shipped_model_from_any_working_folder(capsys, images, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_options, "MODELS", tmp_path / "models")
    write_tiny_model(tmp_path / "models" / "toys")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, out, _ = run(capsys, "toys", images[2], "--format", "jsonl")
    assert code == 0
    assert labels_in(out) == ["Flats"]


def test_the_default_model_lies_beside_the_script():
    assert ROOT / "app" / "models" == predict_options.MODELS
    _, args = predict_options.parse_arguments(["--image_path", "a.png"], "")
    assert args.models == [ROOT / "app" / "models" / "fashion"]


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


def test_the_command_gives_its_exit_code_and_prints_utf_8(model, images, tmp_path):
    Image.open(images[0]).save(tmp_path / "füße.png")
    with process(model, str(tmp_path / "füße.png"), env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}) as command:
        out, err = command.communicate(timeout=120)
    assert (command.returncode, err) == (0, "")
    assert "Apparel" in out


def test_an_image_needs_only_the_packages_of_the_app(model, images):
    others = ("pyarrow", "fsspec", "ray", "torch", "transformers", "datasets", "pandas", "scipy", "tqdm", "matplotlib")
    script = "import sys, predict; code = predict.main(sys.argv[2:]); "
    script += "print(code, sorted(set(sys.argv[1].split(',')) & set(sys.modules)))"
    arguments = [",".join(others), "--model", model, "--image_path", images[0]]
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_reader_that_leaves_ends_the_command_quietly(model, images):
    with process(model, *images * 2000, "--format", "jsonl") as command:
        command.stdout.readline()
        command.stdout.close()
        err = command.stderr.read()
        command.wait(timeout=120)
    assert err == ""
    assert command.returncode == 141


def test_ctrl_c_ends_the_command_quietly(model, images):
    with process(model, *images * 3000, "--format", "jsonl", preexec_fn=listen_to_ctrl_c) as command:
        command.stdout.readline()
        time.sleep(0.1)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=120)
    assert err == ""
    assert command.returncode == 130
    whole = out.splitlines()[1:-1]  # readline has taken a part of the first, the interruption may cut the last
    assert all(json.loads(line)["status"] == "ok" for line in whole)


@pytest.mark.real_data
def test_real_photographs_are_classified_through_the_command(shared, capsys, model):
    code, out, err = run(capsys, model, shared / "data/clothing/validation/hat", "--format", "jsonl")
    assert code == 0, err
    assert len(out.splitlines()) == len(list((shared / "data/clothing/validation/hat").iterdir()))
