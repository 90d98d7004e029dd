"""Small images and folders for the tests, and what the commands of data_prep have made of them."""

import csv
import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def draw(seed: int, size: tuple[int, int] = (60, 80), mode: str = "RGB") -> Image.Image:
    """A soft pattern of its own for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, image_format: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def drawing(seed: int, image_format: str = "JPEG", size: tuple[int, int] = (60, 80)) -> bytes:
    """The file of a pattern."""
    return encode(draw(seed, size), image_format)


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of about a hundred bytes that claims this size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def scan_bomb(scans: int = 300) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    data = encode(draw(3), "JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last_scan * scans + data[-2:]


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
    import datasets  # slow to load, and not every test that draws reads a dataset

    rows = {}
    for split, part in datasets.load_from_disk(output).items():
        name = part.features[column].int2str
        rows |= {row["id"]: (split, name(row[column])) for row in part.remove_columns("image")}
    return rows


def card_of(output: Path) -> str:
    return (output / "dataset_info.md").read_text(encoding="utf-8")
