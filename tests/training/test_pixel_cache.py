"""The file of decoded images: made once, and made again when it is not what was written or not of the dataset."""

from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import datasets
import numpy as np
import pytest
from drawings import fill

from data_prep import image_folder
from training.data import PreparedData
from training.image_dataset import cache_file, cached_pixels

ROWS = 12


def prepare(folder: Path, first_seed: int) -> Path:
    files = {f"train/{label}/{number}.jpg": number for label in "ab" for number in range(ROWS // 2)}
    files = {name: first_seed + place for place, name in enumerate(files)}
    held_out = {f"{split}/{label}/1.jpg": 900 + len(split) + ord(label) for label in "ab" for split in ("val", "test")}
    image_folder.main(["--input", str(fill(folder / "in", files | held_out)), "--output", str(folder / "out")])
    return folder / "out"


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> datasets.Dataset:
    return datasets.load_from_disk(prepare(tmp_path_factory.mktemp("one"), 0))["train"]


@pytest.fixture
def cache(split, tmp_path) -> Path:
    """The file of the decoded images, complete."""
    cached_pixels(split, 16, tmp_path)
    return cache_file(split, 16, tmp_path)


def test_the_images_are_decoded_once(split, cache, capsys):
    before = cache.stat().st_mtime_ns
    assert cached_pixels(split, 16, cache.parent).shape == (ROWS, 16, 16, 3)
    assert cache.stat().st_mtime_ns == before and "decode" not in capsys.readouterr().err


def test_a_file_of_ten_rows_is_written_anew_and_said(split, cache, capsys):
    good = np.load(cache)
    np.save(cache, good[:10])
    assert np.array_equal(cached_pixels(split, 16, cache.parent), good)
    said = capsys.readouterr().err
    assert f"{cache}: the decoded images are 10 images of 16×16, not 12 of 16×16; decoding them again" in said


@pytest.mark.parametrize("rows", [slice(None), slice(5, 6)])
def test_black_pixels_are_noticed_even_in_one_row(split, cache, capsys, rows):
    good = np.load(cache)
    changed = good.copy()
    changed[rows] = 0
    np.save(cache, changed)
    assert np.array_equal(cached_pixels(split, 16, cache.parent), good)
    assert "the decoded images are changed since they were written" in capsys.readouterr().err


def test_pixels_of_another_dataset_are_noticed_although_they_are_whole(split, cache, tmp_path, capsys):
    other = datasets.load_from_disk(prepare(tmp_path / "other", 100))["train"]
    wrong = cache_file(other, 16, tmp_path)
    for ending in (".npy", ".json"):
        cache.with_suffix(ending).rename(wrong.with_suffix(ending))
    cached_pixels(other, 16, tmp_path)
    assert "the decoded images are others than the dataset's; decoding them again" in capsys.readouterr().err
    assert np.array_equal(np.load(wrong), cached_pixels(other, 16, tmp_path / "anew"))


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b""), lambda path: path.with_suffix(".json").unlink()]
)
def test_an_empty_file_and_one_without_its_note_are_written_anew(split, cache, damage):
    good = np.load(cache)
    damage(cache)
    assert np.array_equal(cached_pixels(split, 16, cache.parent), good)


def test_a_dataset_written_again_into_its_folder_gets_its_own_pixels(tmp_path):
    first = PreparedData.open(str(prepare(tmp_path / "a", 0)), "label", str(tmp_path / "cache"))
    second = PreparedData.open(str(prepare(tmp_path / "b", 300)), "label", str(tmp_path / "cache"))
    pixels = [data.images(["label"], 16, 0)["train"].pixels for data in (first, second)]
    assert not np.array_equal(*pixels)


def test_the_disk_space_of_a_wrong_file_is_counted_again(split, cache):
    from training.image_dataset import bytes_to_cache

    assert bytes_to_cache([split], 16, cache.parent) == 0
    np.save(cache, np.load(cache)[:10])
    assert bytes_to_cache([split], 16, cache.parent) == ROWS * 16 * 16 * 3
