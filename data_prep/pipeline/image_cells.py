"""What a cell of a table holds: a path, or the image itself, as bytes, as the Hub's {"bytes", "path"}, in base64."""

import base64
import binascii
import re
from collections.abc import Sequence

from app.images import HEAD_BYTES, ImageError, check_num_bytes, looks_like_image
from data_prep.pipeline.tables import text_of

IMAGE_COLUMNS = (
    *("image_path", "image", "path", "file", "file_name", "filename", "file_path", "filepath", "image_file", "picture"),
    *("photo", "img", "image_url", "url", "image_id", "id"),
)
DATA_URL = re.compile(r"data:(?:image/[\w.+-]+|application/octet-stream)?(?:;[\w=-]+)*;base64,", re.IGNORECASE)
MIN_BASE64 = 64  # shorter ones are names
HEAD_CHARACTERS = 88  # 66 bytes
URL_ALPHABET = str.maketrans("-_", "+/")


def usual_column(header: Sequence[str], usual: Sequence[str]) -> int | None:
    """The position of the first column with one of these names, in any case; None if there is none."""
    lowered = [name.lower() for name in header]
    return next((lowered.index(name) for name in usual if name in lowered), None)


def read_cell(value: object) -> tuple[str, bytes | ImageError | None]:
    """The path in a cell, if it has one, and the image that the cell itself holds, or why it cannot be had."""
    name = ""
    if isinstance(value, dict):
        name, value = text_of(value.get("path")), value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return name, checked(value)
    if isinstance(value, (list, bool)):
        return name, ImageError(f"a {type(value).__name__} in the column of images; it must hold paths or bytes")
    text = text_of(value)
    embedded = embedded_image(text)
    return (name or text, None) if embedded is None else (name if name != text else "", embedded)


def embedded_image(text: str) -> bytes | ImageError | None:
    """The bytes of a data URL or of base64 that starts like an image; None for any other text."""
    url = DATA_URL.match(text[:200])
    if not url and (len(text) < MIN_BASE64 or "." in text[:MIN_BASE64]):
        return None
    if (error := size_problem(len(text) * 3 // 4)) is not None:
        return error
    packed = "".join(text[url.end() if url else 0 :].split()).translate(URL_ALPHABET)
    head = decoded(packed[:HEAD_CHARACTERS])
    if not url and not (head and looks_like_image(head[:HEAD_BYTES])):
        return None
    data = decoded(packed)
    return data or ImageError("damaged base64 in this row")


def checked(data: bytes) -> bytes | ImageError:
    """Refused here, so that the bytes of several large images never wait in memory."""
    error = size_problem(len(data))
    return data if error is None else error


def size_problem(num_bytes: int) -> ImageError | None:
    try:
        check_num_bytes(num_bytes)
    except ImageError as error:
        return error
    return None


def decoded(packed: str) -> bytes:
    """Empty where it is not base64."""
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
