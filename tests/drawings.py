"""Small images and folders for the tests of data_prep, and what its commands have made of them."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import datasets
import numpy as np
from PIL import Image


def drawing(seed: int, image_format: str = "JPEG", size: tuple[int, int] = (60, 80)) -> bytes:
    """A soft pattern of its own for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(stream, image_format)
    return stream.getvalue()


def fill(root: Path, files: dict[str, int | bytes] | Iterable[str]) -> Path:
    """Write files below `root`: a number is the seed of a drawing; names alone get a drawing each."""
    if not isinstance(files, dict):
        files = {name: seed for seed, name in enumerate(files)}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else drawing(content))
    return root


def rejected_of(output: Path) -> dict[str, str]:
    """{file: reason}"""
    with open(output / "rejected.csv", newline="", encoding="utf-8") as stream:
        return {row["file"]: row["reason"] for row in csv.DictReader(stream)}


def rows_of(output: Path, column: str = "label") -> dict[str, tuple[str, str]]:
    """{id: (split, label)}"""
    found = {}
    for split, part in datasets.load_from_disk(output).items():
        name = part.features[column].int2str
        found |= {row["id"]: (split, name(row[column])) for row in part.remove_columns("image")}
    return found


def card_of(output: Path) -> str:
    return (output / "dataset_info.md").read_text(encoding="utf-8")
