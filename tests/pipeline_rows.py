"""Rows of drawn images for the tests of data_prep's pipeline, images that are refused, and what was made of them."""

from pathlib import Path

import datasets
from drawings import draw, drawing, encode
from PIL import Image

from data_prep.pipeline.images import FileImage
from data_prep.pipeline.schema import Row, Source

SOURCE = Source(name="Drawn", origin="made by the tests", license="apache-2.0")


def make_rows(folder: Path, count: int, classes: int = 3) -> list[Row]:
    """`count` different images in `folder`, dealt out to the classes in turn."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(drawing(number))
        rows.append(row_of(folder, f"{number}.jpg", f"class {number % classes}"))
    return rows


def row_of(folder: Path, name: str, label: str = "class 0", **fields) -> Row:
    return Row(file=name, image=FileImage(str(folder), name), id=name, labels={"label": label}, **fields)


def splits_of(output: Path) -> dict[str, str]:
    """{id: split} of a prepared dataset."""
    prepared = datasets.load_from_disk(output)
    return {identity: split for split in prepared for identity in prepared[split]["id"]}


def bomb() -> bytes:
    """13,000 x 13,000 pixels in a few kilobytes."""
    return encode(Image.new("1", (13000, 13000)), "PNG")


BAD_IMAGES = {
    "empty file (0 bytes)": b"",
    "not an image file": b"a text, whatever its name says",
    "truncated image": encode(draw(1))[:-200],
    "too small": encode(Image.new("RGB", (1, 1)), "PNG"),
    "too large (more than 50 megapixels)": bomb(),
    "damaged image (no still image": b"\x00\x00\x00\x18ftypheic" + bytes(100),
}
