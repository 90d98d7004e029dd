"""What every format's walk gives, what it may not exceed, and the error that says so."""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..errors import UserError

MAX_PIXELS = 8192 * 6144  # a 50-megapixel phone camera
MAX_SIDE = 65_535  # what a JPEG can have; each row and each column costs memory of its own
MAX_BYTES = 256 * 1024 * 1024
MAX_PIECES = 300_000  # segments, chunks, blocks or boxes of a file; walking through them takes half a second
MAX_PROFILE_BYTES = 4 * 2**20  # those of printers have 3 MB; what claims more is left aside
MAX_METADATA_BYTES = 2**16  # of EXIF and XMP, which are read for the orientation only
MAX_EXIF_TAGS = 1000

ORIENTATION_TAG = 0x0112
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
ENDIAN = {b"II": "<", b"MM": ">"}

ErrorKind = Literal["unreadable", "not_an_image", "too_large"]


class ImageError(UserError):
    """An image that cannot be used. The message is one line with the reason, without the file's name."""

    def __init__(self, message: str, kind: ErrorKind = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(slots=True)
class Container:
    """A file reduced to what its pixels need.

    data: what the decoder gets. orientation: as in EXIF, 1 where the decoder sees to it. bits: significant bits of
    each sample, 0 if the file does not say. profile: an ICC profile. ends: whether the file goes on to its own end, as
    far as its structure tells; where it does not, the pixels may still all be there. layers: of a JPEG.
    """

    format: str
    data: bytes
    width: int
    height: int
    orientation: int = 1
    profile: bytes | None = None
    bits: int = 0
    ends: bool = True
    layers: int = 0


Reader = Callable[[bytes], Container]


def truncated() -> ImageError:
    return ImageError("truncated image (the file ends too early)")


def damaged(reason: str) -> ImageError:
    return ImageError(f"damaged image ({reason})")


def too_large(reason: str) -> ImageError:
    return ImageError(f"too large ({reason})", "too_large")


def check_pixels(width: int, height: int, limit: int = MAX_PIXELS, what: str = "") -> None:
    """Raises ImageError for a size without pixels and for one over the limits."""
    if width < 1 or height < 1:
        raise damaged(f"{width}x{height} pixels")
    if max(width, height) > MAX_SIDE:
        raise too_large(f"a side of more than {MAX_SIDE:,} pixels")
    if width * height > limit:
        what = f" for {what}" if what else ""
        raise too_large(f"more than {limit / 1e6:.0f} megapixels{what}")


def check_pieces(count: int, what: str, limit: int = MAX_PIECES) -> None:
    if count > limit:
        raise too_large(f"more than {limit:,} {what}")


def exif_orientation(data: bytes) -> int:
    """The orientation in an EXIF block (a TIFF header and a directory), 1 if there is none; never raises."""
    try:
        data = data[6:] if data.startswith(b"Exif\0\0") else data
        order = ENDIAN.get(data[:2])
        if order is None:
            return 1
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for place in range(start + 2, start + 2 + 12 * min(count, MAX_EXIF_TAGS), 12):
            tag, kind, number, value = struct.unpack_from(f"{order}HHIH", data, place)
            if tag == ORIENTATION_TAG and kind == 3 and number >= 1:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def xmp_orientation(data: bytes) -> int:
    match = XMP_ORIENTATION.search(data[:MAX_METADATA_BYTES])
    return int(match[1]) if match else 1


def orientation_of(exif: bytes, xmp: bytes) -> int:
    """EXIF counts before XMP, as in Pillow."""
    turned = exif_orientation(exif) if exif else 1
    return turned if turned != 1 or not xmp or has_orientation(exif) else xmp_orientation(xmp)


def has_orientation(exif: bytes) -> bool:
    return b"\x12\x01\x03\x00" in exif[:MAX_METADATA_BYTES] or b"\x01\x12\x00\x03" in exif[:MAX_METADATA_BYTES]


def sane_profile(profile: bytes) -> bytes | None:
    """An ICC profile without what follows its own end; None if it is none, or too large."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        return None
    size = int.from_bytes(profile[:4], "big")
    return profile[:size] if 132 <= size <= min(len(profile), MAX_PROFILE_BYTES) else None
