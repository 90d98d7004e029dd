"""Prepare Fashion-MNIST: 28x28 grey images in ten classes, the clean data on which the domain gap shows.

python -m data_prep.fashion_mnist --output data/fashion_mnist
python -m data_prep.fashion_mnist --output data/fashion_mnist --input FOLDER_WITH_IDX_FILES

The official test part stays the test split; validation is a tenth of the training part. A folder with one part only
(t10k or train, gzipped or not) is split 80/10/10. The class T-shirt/top is called T-shirt here, because a label may
not hold a path separator. Images become PNG files. 70,000 of them take 40 s of processor time and 290 MB.
"""

import argparse
import contextlib
import gzip
import http.client
import io
import os
import socket
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from data_prep.pipeline.build import check_output, write_dataset
from data_prep.pipeline.command import add_common_arguments, clear_errors, options_from, print_summary
from data_prep.pipeline.images import file_key
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
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.fashion_mnist", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_common_arguments(parser, "data/fashion_mnist")
    parser.add_argument("--input", type=Path, metavar="DIR", help="folder with the IDX files instead of the download")
    args = parser.parse_args(argv)
    with clear_errors(parser):
        options = options_from(args, "data_prep.fashion_mnist", argv)
        check_output(options)
        folder = args.input or download(args.output.parent)
        print_summary(prepare(folder, options))


def prepare(folder: Path, options: Options) -> Report:
    """Write the dataset of the IDX files in `folder`."""
    parts = find_parts(folder)
    for images, labels in parts.values():
        check_part(images, labels)
    notes = [
        "The official class T-shirt/top is called T-shirt; labels are numbered in alphabetical order.",
        split_note(list(parts)),
    ]
    source = Source(name="Fashion-MNIST", origin=PAGE, license="mit", notes=notes)
    return write_dataset(read_rows(parts), source, options)


def split_note(parts: list[str]) -> str:
    """Where the splits come from."""
    if len(parts) == 2:
        return "The test split is the official one; validation is cut from the official training part."
    return f"Only the {parts[0]} part was given: all three splits are cut from it."


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
        raise ValueError(
            f"Fashion-MNIST cannot be downloaded to {folder / 'FashionMNIST'} ({reason}): check the network, or get "
            f"the four .gz files of {PAGE} and pass their folder with --input"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    return folder


def find_parts(folder: Path) -> dict[str, tuple[Path, Path]]:
    """(images, labels) by part. Raises ValueError when there is no part or half of one."""
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}")
    parts = {}
    for part in PARTS:
        images, labels = (find_file(folder, f"{part}-{name}") for name in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        if bool(images) != bool(labels):
            raise ValueError(f"{folder} has only the {'images' if images else 'labels'} of the {part} part")
        if images:
            parts[part] = images, labels
    if not parts:
        raise ValueError(f"{folder} has no t10k-images-idx3-ubyte or train-images-idx3-ubyte, with or without .gz")
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
    """Raises ValueError unless both files are whole and have as many entries as each other."""
    counts = [len(read_images(str(images), file_key(str(images)))), len(read_labels(labels))]
    if counts[0] != counts[1]:
        raise ValueError(f"{images} has {counts[0]:,} images but {labels} has {counts[1]:,} labels; get both again")


@lru_cache(maxsize=2)
def read_images(path: str, key: str) -> np.ndarray:
    """(count, 28, 28) uint8. A file that is not gzipped stays on disk. `key` changes when the file does."""
    count, height, width = read_header(path, IMAGE_MAGIC, 3)
    if (height, width) != (SIDE, SIDE):
        raise ValueError(f"{path} holds images of {width}x{height} pixels; Fashion-MNIST has {SIDE}x{SIDE}")
    return read_values(path, 16, (count, height, width))


def read_labels(path: Path) -> list[int]:
    """Class numbers."""
    return read_values(str(path), 8, read_header(str(path), LABEL_MAGIC, 1)).tolist()


def read_header(path: str, magic: int, dimensions: int) -> tuple[int, ...]:
    """The sizes that an IDX file states."""
    with clear_idx_errors(path), open_idx(path) as stream:
        start = stream.read(4 + 4 * dimensions)
    if len(start) < 4 + 4 * dimensions:
        raise ValueError(f"{path} is truncated: it ends within its header; get it again")
    found, *sizes = struct.unpack(f">{1 + dimensions}I", start)
    if found != magic:
        raise ValueError(
            f"{path} is not an IDX file of this kind: it starts with {found:#010x} instead of {magic:#010x}"
        )
    if not 0 < sizes[0] <= MAX_IMAGES:
        raise ValueError(f"{path} states {sizes[0]:,} entries; 1 to {MAX_IMAGES:,} are read")
    return tuple(sizes)


def read_values(path: str, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes behind the header, as many as it states, neither fewer nor more."""
    size = offset + int(np.prod(shape))
    with clear_idx_errors(path), open_idx(path) as stream:
        if path.endswith(".gz"):
            data = stream.read(size + 1)  # what a gzip bomb has beyond is never unpacked
            found = len(data)
        else:
            found = os.fstat(stream.fileno()).st_size
    if found < size:
        raise ValueError(f"{path} is truncated: {found:,} bytes instead of {size:,}; get it again")
    if found > size:
        raise ValueError(f"{path} is damaged: it goes on after the {size:,} bytes that its header states; get it again")
    if path.endswith(".gz"):
        return np.frombuffer(data, np.uint8, offset=offset).reshape(shape)
    return np.memmap(path, np.uint8, "r", offset, shape)


def open_idx(path: str) -> BinaryIO:
    """The unpacked bytes of a file."""
    return gzip.open(path) if path.endswith(".gz") else open(path, "rb")


@contextlib.contextmanager
def clear_idx_errors(path: str) -> Iterator[None]:
    """Say which file is damaged."""
    try:
        yield
    except EOFError as error:
        raise ValueError(f"{path} is truncated: the gzip stream has no end; get it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}; get it again") from error


if __name__ == "__main__":
    main()
