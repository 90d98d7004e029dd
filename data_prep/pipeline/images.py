"""Where the bytes of one image come from, and what one look at them tells: no file name or header is trusted."""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import imagehash
import numpy as np
from PIL import Image

from app.errors import UserError, one_line
from app.images import MAX_BYTES, MAX_FULL_PIXELS, ImageError, check_file, decode, open_checked, to_rgb
from app.zip_archive import open_zip
from data_prep.pipeline.file_names import file_key

MIN_SIDE = 8
THUMBNAIL_SIDE = 16
THUMBNAIL_BYTES = THUMBNAIL_SIDE * THUMBNAIL_SIDE * 3
HASH_SOURCE_SIDE = 512  # larger images are shrunk cheaply before they are hashed
BLANK_SPREAD = 2.0
SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp"}
SUFFIXES |= {"TIFF": ".tif", "AVIF": ".avif", "HEIC": ".heic"}


@dataclass(slots=True)
class ImageFacts:
    """What one look at an image tells. `reason` is empty for a good image; the other fields are empty otherwise."""

    reason: str = ""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    sha256: bytes = b""
    phash: bytes = b""  # 64 bits
    spread: float = 0.0  # largest standard deviation of a channel of the thumbnail, in [0, 127.5]
    thumbnail: bytes = b""  # (16, 16, 3) uint8, the whole image squeezed

    @property
    def is_blank(self) -> bool:
        """True when the image is one flat color."""
        return not self.reason and self.spread < BLANK_SPREAD


class ImageReference(Protocol):
    """Something picklable that names an image and reads it in any process.

    `read` raises OSError or UserError when the bytes cannot be had. `key` changes when the bytes may have changed.
    """

    def read(self) -> bytes: ...

    def key(self) -> str: ...


@dataclass(slots=True, frozen=True)
class FileImage:
    """A file below `root`; links that lead out of `root`, devices and oversized files are refused."""

    root: str
    name: str

    def read(self) -> bytes:
        path = path_inside(Path(self.root), self.name)
        check_file(path)
        return path.read_bytes()

    def key(self) -> str:
        return file_key(os.path.join(self.root, self.name))


@dataclass(slots=True, frozen=True)
class ZipImage:
    """A member of a zip archive, read in place; nothing is unpacked to disk."""

    archive: str
    member: str

    def read(self) -> bytes:
        return open_zip(self.archive).read(self.member, MAX_BYTES)

    def key(self) -> str:
        return f"{file_key(self.archive)}|{self.member}"


@dataclass(slots=True, frozen=True)
class DatasetImage:
    """An image of a dataset that one of these commands wrote."""

    folder: str
    split: str
    index: int

    def read(self) -> bytes:
        image = open_split(self.folder, self.split)[self.index]["image"]
        if image is None:
            raise ImageError("no image")
        if image["bytes"] is None:
            # Decoding such a row would fetch whatever address it names.
            raise ImageError(f"names a file instead of holding an image: {image['path']!r}, refused")
        return image["bytes"]

    def key(self) -> str:
        return f"{split_key(self.folder, self.split)}|{self.index}"


def path_inside(root: Path, name: str) -> Path:
    """The path of `name` below `root`. Raises ImageError for a URL, an absolute path or anything outside `root`."""
    if "://" in name or "\0" in name:
        raise ImageError(f"not a file name below the input folder: {name!r}, refused")
    path = (root / name).resolve()
    if not path.is_relative_to(resolved(root)):
        raise ImageError(f"outside the input folder: {name!r}, refused")
    return path


def read_problem(error: OSError | UserError) -> str:
    """Why the bytes of an image cannot be had, without its name."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"cannot be read ({error.strerror or one_line(error)})" if isinstance(error, OSError) else str(error)


def check_image(data: bytes) -> ImageFacts:
    """Decode an image completely and describe it. Never raises: what is wrong is named in `reason`."""
    try:
        with open_checked(data) as image:
            if min(image.size) < MIN_SIDE:
                raise ImageError(f"too small ({image.width}x{image.height} pixels, at least {MIN_SIDE}x{MIN_SIDE})")
            size = image.size
            decode(image)
            return describe(image, data, size)
    except ImageError as error:
        return ImageFacts(reason=str(error))


def describe(image: Image.Image, data: bytes, size: tuple[int, int] | None = None) -> ImageFacts:
    """Facts of a decoded image. size: its own, if it was decoded at a fraction."""
    (width, height), rgb = size or image.size, _small_rgb(image)
    thumbnail = np.asarray(rgb.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))
    bits = imagehash.phash(rgb).hash
    return ImageFacts(
        format=image.format or "",
        mode=image.mode,
        width=width,
        height=height,
        sha256=hashlib.sha256(data).digest(),
        phash=np.packbits(bits).tobytes(),
        spread=float(thumbnail.std(axis=(0, 1)).max()),
        thumbnail=thumbnail.tobytes(),
    )


def _small_rgb(image: Image.Image) -> Image.Image:
    """What is hashed: no larger than it must be."""
    reduction = max(image.size) // HASH_SOURCE_SIDE
    if reduction <= 1:
        return to_rgb(image)
    if image.mode in ("RGB", "L", "RGBA") and image.width * image.height <= MAX_FULL_PIXELS:
        return to_rgb(image.reduce(reduction))
    rgb = to_rgb(image)
    reduction = max(rgb.size) // HASH_SOURCE_SIDE
    return rgb.reduce(reduction) if reduction > 1 else rgb


@lru_cache(maxsize=64)
def resolved(root: Path) -> Path:
    """`root.resolve()`, asked once instead of once per image."""
    return root.resolve()


def split_key(folder: str | Path, split: str) -> str:
    """Changes when the split of a prepared dataset is written again."""
    return file_key(os.path.join(folder, split, "state.json"))


def open_split(folder: str | Path, split: str):
    """One split of a prepared dataset, its images undecoded; one that was written again is opened anew."""
    return _open_split(str(folder), split, split_key(folder, split))


@lru_cache(maxsize=8)
def _open_split(folder: str, split: str, key: str):
    import datasets  # 1.5 s that only readers of prepared datasets should pay

    return datasets.load_from_disk(folder)[split].cast_column("image", datasets.Image(decode=False))
