"""Prepare Fashion-MNIST: 28x28 grey images in ten classes, the clean data on which the domain gap shows.

python -m data_prep.fashion_mnist --output data/fashion_mnist
python -m data_prep.fashion_mnist --output data/fashion_mnist --input FOLDER_WITH_IDX_FILES

The official test part stays the test split; validation is a tenth of the training part. A folder with one part only
(t10k or train, gzipped or not) is split 80/10/10. The class T-shirt/top is called T-shirt here, because a label may
not hold a path separator. Images become PNG files. 70,000 of them take 40 s of processor time and 290 MB.
"""

import contextlib
import gzip
import http.client
import io
import math
import os
import socket
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from app.errors import UserError
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.command import dataset_command, dataset_parser
from data_prep.pipeline.file_names import file_key
from data_prep.pipeline.report import print_summary
from data_prep.pipeline.schema import Options, Report, Row, Source

CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
PARTS = {"train": "train", "t10k": "test"}  # part of the file name -> split
PAGE = "https://github.com/zalandoresearch/fashion-mnist"
SIDE = 28
MAX_IMAGES = 1_000_000
IMAGE_MAGIC, LABEL_MAGIC = 0x803, 0x801  # unsigned bytes in three and in one dimension
TIMEOUT_S = 60


@dataclass(slots=True, frozen=True)
class IdxImage:
    """One image of an IDX file, read as PNG."""

    path: str
    index: int

    def read(self) -> bytes:
        buffer = io.BytesIO()
        pixels = read_images(self.path, file_key(self.path))[self.index]
        # Level 0 gives the same bytes with every version of zlib, so the fingerprint is the same everywhere.
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
        return buffer.getvalue()

    def key(self) -> str:
        return f"{file_key(self.path)}|{self.index}"


def main(argv: list[str] | None = None) -> None:
    """Check the command line, get the files, write the dataset, say what was done."""
    parser = dataset_parser("data_prep.fashion_mnist", __doc__, "data/fashion_mnist")
    parser.add_argument("--input", type=Path, metavar="DIR", help="folder with the IDX files instead of the download")
    with dataset_command(parser, argv) as (args, options):
        folder = args.input or download(args.output.parent)
        print_summary(prepare(folder, options))


def prepare(folder: Path, options: Options) -> Report:
    """Write the dataset of the IDX files in `folder`."""
    parts = find_parts(folder)
    for images, labels in parts.values():
        check_part(images, labels)
    notes = ["The official class T-shirt/top is called T-shirt; labels are numbered in alphabetical order."]
    if len(parts) == 2:
        notes.append("The test split is the official one; validation is cut from the official training part.")
    else:
        notes.append(f"Only the {next(iter(parts))} part was given: all three splits are cut from it.")
    source = Source(name="Fashion-MNIST", origin=PAGE, license="mit", notes=notes)
    return write_dataset(read_rows(parts), source, options)


def download(folder: Path) -> Path:
    """The folder with the four files, fetched by torchvision if they are not there yet."""
    import models.torchvision_cpu  # noqa: F401  before torchvision

    from torchvision.datasets import FashionMNIST

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)  # torchvision sets none, and would wait for ever
    try:
        with contextlib.redirect_stdout(sys.stderr):
            FashionMNIST(root=str(folder), download=True)
    except (RuntimeError, OSError, EOFError, ValueError, http.client.HTTPException) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise UserError(
            f"Fashion-MNIST cannot be downloaded to {folder / 'FashionMNIST'} ({reason}): check the network, or get "
            f"the four .gz files of {PAGE} and pass their folder with --input"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    return folder


def find_parts(folder: Path) -> dict[str, tuple[Path, Path]]:
    """(images, labels) by part. Raises UserError for a folder without a whole part."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}")
    parts = {}
    for part in PARTS:
        images, labels = (find_file(folder, f"{part}-{name}") for name in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        if bool(images) != bool(labels):
            raise UserError(f"{folder} has only the {'images' if images else 'labels'} of the {part} part")
        if images:
            parts[part] = images, labels
    if not parts:
        raise UserError(f"{folder} has no t10k-images-idx3-ubyte or train-images-idx3-ubyte, with or without .gz")
    return parts


def find_file(folder: Path, name: str) -> Path | None:
    """A file of that name, unpacked or not, here or where torchvision puts it."""
    for place in (folder, folder / "FashionMNIST" / "raw"):
        for path in (place / name, place / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def read_rows(parts: dict[str, tuple[Path, Path]]) -> Iterator[Row]:
    """A row for each image; without splits when only one part was given."""
    for part, (images, labels) in parts.items():
        for index, number in enumerate(read_labels(labels)):
            name = f"{part}-{index:05d}"
            row = Row(file=f"{name}.png", id=name, image=IdxImage(str(images), index))
            row.split = PARTS[part] if len(parts) == 2 else ""
            if number < len(CLASSES):
                row.labels = {"label": CLASSES[number]}
            else:
                row.reject = f"unknown class number: {number}, allowed: 0 to {len(CLASSES) - 1}"
            yield row


# --- IDX files, http://yann.lecun.com/exdb/mnist ---------------------------------------------------------------------


def check_part(images: Path, labels: Path) -> None:
    """Raises UserError unless both files are whole and have the same number of entries."""
    counts = [len(read_images(str(images), file_key(str(images)))), len(read_labels(labels))]
    if counts[0] != counts[1]:
        raise UserError(f"{images} has {counts[0]:,} images but {labels} has {counts[1]:,} labels; get both again")


@lru_cache(maxsize=2)
def read_images(path: str, key: str) -> np.ndarray:
    """(count, 28, 28) uint8. `key` changes when the file does."""
    return read_idx(path, IMAGE_MAGIC, (SIDE, SIDE))


def read_labels(path: Path) -> list[int]:
    """Class numbers."""
    return read_idx(str(path), LABEL_MAGIC, ()).tolist()


def read_idx(path: str, magic: int, shape: tuple[int, ...]) -> np.ndarray:
    """The entries of an IDX file, each of `shape`, as uint8. A file that is not gzipped stays on disk."""
    offset = 8 + 4 * len(shape)
    packed = path.endswith(".gz")
    with clear_idx_errors(path), gzip.open(path) if packed else open(path, "rb") as stream:
        header = stream.read(offset)
        if len(header) < offset:
            raise UserError(f"{path} is truncated: it ends within its header; get it again")
        start, count, *sides = struct.unpack(f">{offset // 4}I", header)
        if start != magic:
            raise UserError(
                f"{path} is not an IDX file of this kind: it starts with {start:#010x} instead of {magic:#010x}"
            )
        if not 0 < count <= MAX_IMAGES:
            raise UserError(f"{path} states {count:,} entries; 1 to {MAX_IMAGES:,} are read")
        if tuple(sides) != shape:
            raise UserError(f"{path} holds images of {sides[1]}x{sides[0]} pixels; Fashion-MNIST has {SIDE}x{SIDE}")
        size = offset + count * math.prod(shape)
        data = stream.read(size - offset + 1) if packed else b""  # what a gzip bomb has beyond is never unpacked
        length = offset + len(data) if packed else os.fstat(stream.fileno()).st_size
    if length < size:
        raise UserError(f"{path} is truncated: {length:,} bytes instead of {size:,}; get it again")
    if length > size:
        raise UserError(f"{path} is damaged: it goes on after the {size:,} bytes that its header states; get it again")
    if packed:
        return np.frombuffer(data, np.uint8).reshape(count, *shape)
    return np.memmap(path, np.uint8, "r", offset, (count, *shape))


@contextlib.contextmanager
def clear_idx_errors(path: str) -> Iterator[None]:
    """Say which file is damaged."""
    try:
        yield
    except EOFError as error:
        raise UserError(f"{path} is truncated: the gzip stream has no end; get it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged: {error}; get it again") from error


if __name__ == "__main__":
    main()
