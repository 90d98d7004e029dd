"""Where the bytes of one image come from, and whether they are an image: no file name or header is trusted."""

import hashlib
import io
import os
import stat
import warnings
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import imagehash
import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
HEIC_STARTS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1")  # what phones write; Pillow cannot read it
JPEG_START, JPEG_SCAN = b"\xff\xd8", b"\xff\xda"
MAX_JPEG_SCANS = 100  # each one decodes the whole image again: 266 KB with 4,000 take 37 s; real ones have about 10
MAX_PIXELS = 50_000_000  # 200 MB when decoded; a larger image is a bomb or of no use for a catalogue
MAX_BYTES = 100_000_000
MIN_SIDE = 8
THUMBNAIL_SIDE = 16
THUMBNAIL_BYTES = THUMBNAIL_SIDE * THUMBNAIL_SIDE * 3
HASH_SOURCE_SIDE = 512  # larger images are shrunk cheaply before they are hashed
BLANK_SPREAD = 2.0

# Pillow's own limits are a second fence: some plugins decode before `check_size` has seen the size.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)


@dataclass(slots=True)
class ImageFacts:
    """What one look at an image tells. `reason` is empty for a good image; the other fields are empty otherwise."""

    reason: str = ""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    size: int = 0  # bytes
    sha256: bytes = b""
    phash: int = 0  # 64 bits
    spread: float = 0.0  # largest standard deviation of a channel of the thumbnail, in [0, 127.5]
    thumbnail: bytes = b""  # (16, 16, 3) uint8, the whole image squeezed

    @property
    def is_blank(self) -> bool:
        """True when the image is one flat colour."""
        return not self.reason and self.spread < BLANK_SPREAD


class ImageReference(Protocol):
    """Something picklable that names an image and reads it in any process.

    `read` raises OSError or ValueError when the bytes cannot be had. `key` changes when the bytes may have changed."""

    def read(self) -> bytes: ...

    def key(self) -> str: ...


@dataclass(slots=True, frozen=True)
class FileImage:
    """A file below `root`; links that lead out of `root`, devices and oversized files are refused."""

    root: str
    name: str

    def path(self) -> Path:
        return path_inside(Path(self.root), self.name)

    def read(self) -> bytes:
        path = self.path()
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"too many bytes: {status.st_size:,}, at most {MAX_BYTES:,} are read")
        return path.read_bytes()

    def key(self) -> str:
        status = os.stat(os.path.join(self.root, self.name))
        return f"{os.path.abspath(self.root)}|{self.name}|{status.st_size}|{status.st_mtime_ns}"


@dataclass(slots=True, frozen=True)
class ZipImage:
    """A member of a zip archive, read in place; nothing is unpacked to disk."""

    archive: str
    member: str

    def read(self) -> bytes:
        return read_zip_member(self.archive, self.member, MAX_BYTES)

    def key(self) -> str:
        return f"{file_key(self.archive)}|{self.member}"


@dataclass(slots=True, frozen=True)
class DatasetImage:
    """An image of a dataset that one of these commands wrote."""

    folder: str
    split: str
    index: int

    def read(self) -> bytes:
        image = open_split(self.folder, self.split, split_key(self.folder, self.split))[self.index]["image"]
        if image is None:
            raise ValueError("no image")
        if image["bytes"] is None:
            # Decoding such a row would fetch whatever address it names.
            raise ValueError(f"names a file instead of holding an image: {image['path']!r}, refused")
        return image["bytes"]

    def key(self) -> str:
        return f"{split_key(self.folder, self.split)}|{self.index}"


def path_inside(root: Path, name: str) -> Path:
    """The path of `name` below `root`. Raises ValueError for a URL, an absolute path or anything outside `root`."""
    if "://" in name or "\0" in name:
        raise ValueError(f"not a file name below the input folder: {name!r}, refused")
    path = (root / name).resolve()
    if not path.is_relative_to(resolved(root)):
        raise ValueError(f"outside the input folder: {name!r}, refused")
    return path


def check_image(data: bytes) -> ImageFacts:
    """Decode an image completely and describe it. Never raises: what is wrong is named in `reason`."""
    if not data:
        return ImageFacts(reason="zero bytes")
    if data.startswith(JPEG_START) and data.count(JPEG_SCAN) > MAX_JPEG_SCANS:
        return ImageFacts(reason=f"JPEG bomb: more than {MAX_JPEG_SCANS} scans, which take minutes to decode")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            problem = size_problem(image.width, image.height)
            if problem:
                return ImageFacts(reason=problem)
            image.load()
            return describe(image, data)
    except Exception as error:  # decoders of hostile bytes raise anything: SyntaxError, struct.error, KeyError, ...
        return ImageFacts(reason=decode_problem(error, data))


def size_problem(width: int, height: int) -> str:
    """Why an image of this size is refused, or an empty string."""
    if min(width, height) < MIN_SIDE:
        return f"too small: {width}x{height} pixels, at least {MIN_SIDE}x{MIN_SIDE} are needed"
    if width * height > MAX_PIXELS:
        return f"too many pixels: {width}x{height}, at most {MAX_PIXELS:,} are decoded"
    return ""


def decode_problem(error: Exception, data: bytes) -> str:
    """One line for rejected.csv, without addresses of objects that would differ from run to run."""
    if isinstance(error, Image.UnidentifiedImageError):
        if data[4:12] in HEIC_STARTS:
            return "HEIC image: convert it to JPEG first"
        return f"not a supported image: none of {', '.join(FORMATS)}, or with a damaged header or zero pixels"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"too many pixels: at most {MAX_PIXELS:,} are decoded"
    if "truncated" in str(error).lower():
        return "truncated"
    return f"cannot be decoded: {type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"


def describe(image: Image.Image, data: bytes) -> ImageFacts:
    """Facts of a decoded image."""
    image_format, mode, width, height = image.format or "", image.mode, image.width, image.height
    reduction = max(width, height) // HASH_SOURCE_SIDE
    if reduction > 1 and not mode.startswith(("I", "F")):
        image = (image if mode in ("RGB", "L", "RGBA") else image.convert("RGBA")).reduce(reduction)
    rgb = to_rgb(image)
    thumbnail = np.asarray(rgb.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))
    bits = imagehash.phash(rgb).hash
    return ImageFacts(
        format=image_format,
        mode=mode,
        width=width,
        height=height,
        size=len(data),
        sha256=hashlib.sha256(data).digest(),
        phash=int.from_bytes(np.packbits(bits).tobytes(), "big"),
        spread=float(thumbnail.std(axis=(0, 1)).max()),
        thumbnail=thumbnail.tobytes(),
    )


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as a person sees it: upright, 16 bits scaled to 8, transparency on white, in RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if values.max() > 255 else 255.0
        image = Image.fromarray((values.clip(0, top) * (255.0 / top)).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    return image.convert("RGB")


def read_zip_member(archive: str, member: str, limit: int) -> bytes:
    """The bytes of one member, at most `limit` of them. Raises ValueError for a damaged or oversized member."""
    try:
        with open_archive(archive, file_key(archive)).open(member) as stream:
            data = stream.read(limit + 1)  # the size that the archive states may be a lie
    except Exception as error:  # zipfile raises BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError
        raise ValueError(f"cannot be read: {error}") from error
    if len(data) > limit:
        raise ValueError(f"too many bytes: more than {limit:,} when unpacked")
    return data


@lru_cache(maxsize=4)
def open_archive(archive: str, key: str) -> zipfile.ZipFile:
    """One open handle an archive and process. `key` is only there to open a new version anew."""
    return zipfile.ZipFile(archive)


def file_key(path: str) -> str:
    """Changes when the file does."""
    status = os.stat(path)
    return f"{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"


@lru_cache(maxsize=64)
def resolved(root: Path) -> Path:
    """`root.resolve()`, asked once instead of once an image."""
    return root.resolve()


def split_key(folder: str, split: str) -> str:
    """Changes when the split of a prepared dataset is written again."""
    return file_key(os.path.join(folder, split, "state.json"))


@lru_cache(maxsize=8)
def open_split(folder: str, split: str, key: str):
    """One split of a prepared dataset, its images undecoded. `key` is only there to open a new version anew."""
    import datasets  # 1.5 s that only readers of prepared datasets should pay

    return datasets.load_from_disk(folder)[split].cast_column("image", datasets.Image(decode=False))
