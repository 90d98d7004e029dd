"""Attributes are learned beside the category without touching it, and what cannot be learned is said at once."""

import json
import shutil
from pathlib import Path

import pytest
from attributed import write_embedding_model

from app.calibration import model_hash
from models.hub import published_files
from training.attributes import add_attributes, main
from training.model_card import remove_derived


def test_the_folder_names_its_parent_and_its_data_and_the_card_has_the_scores(attributed, striped_dataset):
    content = json.loads((attributed / "attributes.json").read_text())
    assert content["model_sha256"] == model_hash(attributed / "model.onnx")
    assert content["attributes"]["pattern"]["labels"] == ["Plain", "Striped"]
    assert content["attributes"]["fabric"]["labels"] == ["Cotton", "Wool"]  # what is not stated is not a label
    assert content["attributes"]["pattern"]["scores"]["accuracy"] > 0.95
    assert content["command"].startswith("python -m training.attributes --model")
    assert (content["dataset"], content["split"], content["seed"]) == (striped_dataset.name, "validation", 42)
    card = (attributed / "README.md").read_text()
    assert "## Attributes" in card
    assert "| pattern | 2 |" in card


def test_learning_them_again_replaces_the_section_of_the_card_and_leaves_the_graph(
    attributed, striped_dataset, tmp_path
):
    folder = Path(shutil.copytree(attributed, tmp_path / "again"))
    before = (folder / "model.onnx").read_bytes()
    lines = add_attributes(folder, striped_dataset, ["pattern"], 0.9, "python again")
    assert (folder / "model.onnx").read_bytes() == before
    assert (folder / "README.md").read_text().count("## Attributes") == 1
    assert "fabric" not in (folder / "README.md").read_text()
    assert lines[1].startswith("  pattern: accuracy 1.0")


def test_the_same_seed_gives_the_same_weights(attributed, striped_dataset, tmp_path):
    folder = write_embedding_model(tmp_path / "striped")
    add_attributes(folder, striped_dataset, ["pattern", "fabric"], 0.95, "python again")
    assert (folder / "attributes.npy").read_bytes() == (attributed / "attributes.npy").read_bytes()


def test_a_new_training_removes_them_and_a_push_takes_them_along(attributed, tmp_path):
    folder = Path(shutil.copytree(attributed, tmp_path / "pushed"))
    (folder / "model.safetensors").write_bytes(b"")
    names = {path.name for path in published_files(folder)}
    assert {"attributes.json", "attributes.npy"} <= names
    remove_derived(folder)
    assert not list(folder.glob("attributes.*"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--attributes", "colour"], "has no such label column; it has pattern, fabric, origin"),
        (["--attributes", "subCategory"], "the category of this model says it already"),
        (["--attributes", "pattern", "pattern"], "named twice"),
        (["--attributes", "origin"], "one value"),
        (["--attributes", "id"], "has no such label column"),
        (["--attributes", "pattern", "--target_precision", "1"], "must be at least 0.5 and below 1"),
    ],
)
def test_what_cannot_be_learned_is_said_in_one_line(striped_dataset, tmp_path, capsys, options, reason):
    folder = write_embedding_model(tmp_path / "model")
    with pytest.raises(SystemExit) as ended:
        main(["--model", str(folder), "--dataset", str(striped_dataset), *options])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert reason in line
    assert not (folder / "attributes.json").exists()


def test_a_graph_without_embeddings_is_refused(striped_dataset, tmp_path, capsys):
    from make_tiny_model import write_tiny_model

    folder = write_tiny_model(tmp_path / "model")
    with pytest.raises(SystemExit):
        main(["--model", str(folder), "--dataset", str(striped_dataset), "--attributes", "pattern"])
    assert "has no embeddings, which attributes are read from; export.py" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--folds", "2"], ["--export_onnx", "False"], []])
def test_train_says_before_the_training_that_attributes_cannot_be_learned(striped_dataset, tmp_path, capsys, more):
    import train

    names = ["pattern"] if more else ["colour"]
    given = ["--model", "basic_cnn", "--from_scratch", "--dataset", str(striped_dataset), "--label", "articleType"]
    with pytest.raises(SystemExit):
        train.main([*given, "--output_dir", str(tmp_path / "run"), "--attributes", *names, *more])
    error = capsys.readouterr().err
    assert "--attributes" in error.splitlines()[-1]
    assert not (tmp_path / "run" / "model.safetensors").exists()
