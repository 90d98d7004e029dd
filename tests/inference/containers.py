"""Images of one colour each in every kind of container, and what the readers make of them."""

import io
import tarfile
import zipfile
from collections import Counter
from itertools import chain
from pathlib import Path

from app.images import ImageError, load_image
from inference.readers.base import Lookup
from inference.readers.parse import parse_readers

RED, GREEN, BLUE, BLACK = EXPECTED = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]


def colors(arguments: list, column: str | None = None, **lookup) -> dict[str, object]:
    """{name: the colour of the image in the middle, or the text of its error}, as read by the classifier."""
    colors = {}
    for name, source in chain.from_iterable(parse_readers(list(map(str, arguments)), Lookup(column, **lookup))):
        try:
            if isinstance(source, ImageError):
                raise source
            image = load_image(source)
            colors[name] = image.getpixel((image.width // 2, image.height // 2))
        except ImageError as error:
            colors[name] = str(error)
    return colors


def left_out(argument: object) -> Counter[str]:
    """What a pass leaves out, after an earlier pass and a count, which must not add to it."""
    (reader,) = parse_readers([str(argument)])
    list(reader)
    reader.count()
    list(reader)
    return reader.left_out


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pack(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        return write_zip(path, members)
    return write_tar(path, members, {".gz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w"))
