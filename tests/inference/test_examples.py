"""The images in examples/: the shipped model gets each one right, and the script that drew them still does."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import predict
from app.images import load_image

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"
SCRIPT = FOLDER / "draw_examples.py"
EXAMPLES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".jpg", ".png", ".webp"))
MAX_BYTES = 60_000
ORIENTATION_TAG = 0x0112
# Another build of the JPEG library may round differently; a texture that is not seeded differs by far more.
LARGEST_DIFFERENCE, MEAN_DIFFERENCE = 12, 0.5


def draw(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """The folder with what the script draws now."""
    folder = tmp_path_factory.mktemp("drawn")
    result = draw("--output", str(folder))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    """What predict.py with the shipped model says about the folder."""
    output = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    assert predict.main(["--image_path", str(FOLDER), "--format", "jsonl", "--output", str(output)]) == 0
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def best_guess(row: dict) -> str:
    """The most probable label, also where the row's own is a broader category because that is not sure enough."""
    return row["top_k"][0]["label"]


def test_the_shipped_model_gets_every_example_right(rows):
    named = {Path(row["image_path"]).stem: best_guess(row).lower().replace(" ", "_") for row in rows}
    assert named == {path.stem: path.stem for path in EXAMPLES}
    assert {row["status"] for row in rows} == {"ok", "review"}, "drawings are not photos: some need a second look"


def test_the_examples_are_of_many_categories(rows):
    assert len({best_guess(row) for row in rows}) == len(EXAMPLES) >= 8
    assert {row["category_path"][0] for row in rows} >= {"Apparel", "Accessories", "Footwear", "Personal Care"}


def test_the_script_draws_the_images_that_are_here(drawn):
    assert [path.name for path in sorted(drawn.iterdir())] == [path.name for path in EXAMPLES]
    for path in EXAMPLES:
        before, now = (np.asarray(load_image(folder / path.name), dtype=np.int16) for folder in (FOLDER, drawn))
        assert before.shape == now.shape, path.name
        difference = np.abs(before - now)
        assert difference.max() <= LARGEST_DIFFERENCE, path.name
        assert difference.mean() <= MEAN_DIFFERENCE, path.name


def test_the_examples_are_small_upright_and_of_several_kinds():
    kinds = set()
    for path in EXAMPLES:
        assert path.stat().st_size < MAX_BYTES, path.name
        assert load_image(path).size == (480, 640), path.name
        with Image.open(path) as image:
            kinds |= {image.format, image.mode, image.getexif().get(ORIENTATION_TAG, "as stored")}
    assert kinds >= {"JPEG", "PNG", "WEBP", "RGBA", "as stored", 6}


def test_the_script_names_an_output_folder_that_is_missing(tmp_path):
    result = draw("--output", str(tmp_path / "absent"))
    assert result.returncode == 2
    assert "absent: no such folder" in result.stderr
    assert "Traceback" not in result.stderr
