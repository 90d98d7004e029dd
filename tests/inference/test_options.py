"""The options of predict.py: wrong usage in one line, which model is meant, and what a start imports."""

import subprocess
import sys

import pytest

from app import __version__
from inference import options
from tests.inference.command import ROOT, labels_in, run
from tests.make_tiny_model import write_tiny_model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "--top_k", "0"], "'0' is not a whole number of at least 1"),
        (["a.png", "--batch_size", "many"], "'many' is not a whole number"),
        (["a.png", "--format", "xml"], "invalid choice: 'xml'"),
        (["@nowhere.txt"], "the list 'nowhere.txt' cannot be read"),
        (["@/dev/null"], "the list '/dev/null' is not a file"),
        (["a.png", "--output", "nowhere/r.csv"], "there is no folder"),
        (["a.png", "--output", "."], "is not a regular file"),
        (["a.png", "--output", "/dev/null"], "is not a regular file"),
        (["a.png", "--output", "r.ods"], ".jsonl, .csv, .xlsx, .parquet, .txt"),
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
    assert len(err.splitlines()) == 1


def test_an_unknown_model_exits_with_2_and_names_the_shipped_ones(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "MODELS", tmp_path)
    write_tiny_model(tmp_path / "toys")
    code, _, err = run(capsys, "toyz", "a.png")
    assert code == 2
    assert "--model 'toyz': no such folder; app/models has toys" in err


def test_an_unusable_model_exits_with_2_in_one_line(capsys, images, tmp_path):
    folder = write_tiny_model(tmp_path / "model")
    (folder / "training_args.bin").touch()
    code, out, err = run(capsys, str(folder), images[0])
    assert code == 2
    assert out == ""
    assert "training_args.bin" in err
    assert len(err.splitlines()) == 1


def test_a_bare_name_is_a_shipped_model_from_any_working_folder(capsys, images, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "MODELS", tmp_path / "models")
    write_tiny_model(tmp_path / "models" / "toys")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, out, _ = run(capsys, "toys", images[2], "--format", "jsonl")
    assert code == 0
    assert labels_in(out) == ["Flats"]


def test_the_default_model_lies_beside_the_script():
    assert ROOT / "app" / "models" == options.MODELS
    parsed = options.parse_options(options.build_parser(""), ["--image_path", "a.png"])
    assert parsed.models == [ROOT / "app" / "models" / "fashion"]


def test_the_version_is_that_of_the_project(capsys, model):
    code, out, _ = run(capsys, model, "a.png", "--version")
    assert (code, out) == (0, f"Snapshelf {__version__}\n")


def test_an_image_needs_only_the_packages_of_the_app(model, images):
    others = ("pyarrow", "fsspec", "ray", "torch", "transformers", "datasets", "pandas", "scipy", "tqdm", "matplotlib")
    script = "import sys, predict; code = predict.main(sys.argv[2:]); "
    script += "print(code, sorted(set(sys.argv[1].split(',')) & set(sys.modules)))"
    arguments = [",".join(others), "--model", model, "--image_path", images[0]]
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
