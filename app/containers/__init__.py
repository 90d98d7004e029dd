"""Image files read as containers before any decoder sees them: one linear, bounded walk for each format.

    container = read_container(data)     # or ImageError; container.data is the same image with nothing but its pixels

What an image does not need (text, comments, films, further frames, thousands of tags) is dropped, so that it neither
stops nor slows a decoder; every size that a file declares anywhere is counted before memory is reserved.
"""

from collections.abc import Callable

from .base import Container as Container
from .base import ImageError
from .brands import is_boxed_image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # which Pillow reads
ALL_FORMATS = (*FORMATS, "HEIC")
HEAD_BYTES = 64  # from the start of a file, enough to tell what it is
STARTS = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"GIF87a": "gif", b"GIF89a": "gif", b"BM": "bmp"}
STARTS |= dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "tiff")


def read_container(data: bytes) -> Container:
    """Raises ImageError for what is not an image of ALL_FORMATS, is damaged, or exceeds a limit."""
    name = _reader(data[:HEAD_BYTES])
    if name is None:
        raise ImageError(f"not an image file ({', '.join(ALL_FORMATS)})", "not_an_image")
    return _reader_named(name)(data)


def _reader_named(name: str) -> Callable[[bytes], Container]:
    """Imported when its turn comes: one image needs one of them, and each delays the first answer."""
    if name == "jpeg":
        from .jpeg import read_jpeg as read
    elif name == "png":
        from .png import read_png as read
    elif name == "gif":
        from .gif import read_gif as read
    elif name == "webp":
        from .webp import read_webp as read
    elif name == "bmp":
        from .bmp import read_bmp as read
    elif name == "tiff":
        from .tiff import read_tiff as read
    else:
        from .boxes import read_boxes as read
    return read


def looks_like_image(head: bytes) -> bool:
    """Whether a file that begins with these bytes, HEAD_BYTES if it has so many, claims to be of one of ALL_FORMATS."""
    return _reader(head[:HEAD_BYTES]) is not None


def _reader(head: bytes) -> str | None:
    """The module that reads what begins like this."""
    for start, name in STARTS.items():
        if head.startswith(start):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return "boxes" if is_boxed_image(head) else None
