"""The notebooks run from the first cell to the last, and hold no copied code."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from kaggle_archives import simple_archive
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
SECONDS_PER_CELL = 600
LONGEST_CELL = 17  # lines; more would be a script


def text_of(notebook: nbformat.NotebookNode) -> str:
    """All that the cells printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def executed(name: str, **environment: str) -> nbformat.NotebookNode:
    """The notebook after all its cells ran. `python` in its cells is the one that runs the tests."""
    path = NOTEBOOKS / name
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    NotebookClient(notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources=place).execute(
        env={**os.environ, "PATH": paths, **environment}
    )
    return notebook


def test_the_quickstart_shows_answers_and_explanations():
    notebook = executed("quickstart.ipynb")
    text = text_of(notebook)
    assert "examples/watches.jpg" in text and '"top_k"' in text and "error" not in text.lower().replace('"error"', "")
    heat_maps = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(heat_maps) == 2


@pytest.mark.slow
def test_the_training_notebook_runs_on_a_small_archive(tmp_path):
    notebook = executed(
        "train_on_colab.ipynb",
        SNAPSHELF_ARCHIVE=str(simple_archive(tmp_path / "data.zip", count=60)),
        SNAPSHELF_OUTPUT=str(tmp_path),
        SNAPSHELF_TRAINING="--model basic_cnn --image_size 32 --num_train_epochs 1",
    )
    assert "is a complete model folder" in text_of(notebook)
    assert (tmp_path / "results" / "runs" / "colab.json").exists()


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.rglob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_short_and_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        assert len(cell.source.splitlines()) <= LONGEST_CELL and "def " not in cell.source
        assert not cell.get("outputs")


def test_kaggle_gets_the_notebook_with_the_data_set_and_a_gpu():
    kernel = json.loads((NOTEBOOKS / "kaggle" / "kernel-metadata.json").read_text())
    assert (NOTEBOOKS / "kaggle" / kernel["code_file"]).is_file()
    assert kernel["dataset_sources"] == ["paramaggarwal/fashion-product-images-small"]
    assert kernel["enable_gpu"] == kernel["enable_internet"] == "true"
