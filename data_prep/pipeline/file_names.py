"""The file that a table or a list means: backslashes of Windows, names without an ending, numbers out of pandas."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg"),
    *(".mpo", ".png", ".tif", ".tiff", ".webp"),
)
WHOLE_NUMBER = re.compile(r"(\d+)\.0+")


def existing_name(folder: str, name: str) -> str:
    """The name of a file below `folder`, with forward slashes: as it is given, or as it was meant if there is none.

    One that is nowhere comes back as it is.
    """

    def exists(name: str) -> bool:
        return os.path.lexists(os.path.join(folder, name))

    def stems(inside: str) -> Mapping[str, str]:
        return images_by_stem(os.path.join(folder, inside))

    return name if "\0" in name else meant_name(name, exists, stems)


def meant_name(name: str, exists: Callable[[str], bool], stems: Callable[[str], Mapping[str, str]]) -> str:
    """The same for files that are not in a folder. stems: of a folder by its name, as images_by_stem has them."""
    if not name or exists(name):
        return name
    for candidate in dict.fromkeys((name.replace("\\", "/"), name)):
        if exists(candidate):
            return candidate
        inside, _, last = candidate.rpartition("/")
        number = WHOLE_NUMBER.fullmatch(last)
        for stem in (last, number[1] if number else last):
            if stem in stems(inside):
                return f"{inside}/{stems(inside)[stem]}" if inside else stems(inside)[stem]
    return name


@lru_cache(maxsize=64)
def images_by_stem(folder: str) -> dict[str, str]:
    """`{name without the ending of an image: name}` of the files in a folder."""
    try:
        return by_stem(os.listdir(folder or "."))
    except OSError:
        return {}


def by_stem(names: Iterable[str]) -> dict[str, str]:
    """`{name without the ending of an image: name}` of those that are called like images; the first in the alphabet."""
    parts = ((*os.path.splitext(name), name) for name in sorted(names, reverse=True))
    return {stem: name for stem, suffix, name in parts if suffix.lower() in IMAGE_SUFFIXES}


def without_image_suffix(name: str) -> str:
    """The last part of a path without the ending of an image: an id, which may have dots of its own."""
    last = name.replace("\\", "/").rpartition("/")[2]
    stem, suffix = os.path.splitext(last)
    return stem if suffix.lower() in IMAGE_SUFFIXES else last


def file_key(path: str) -> str:
    """Changes when the file does."""
    status = os.stat(path)
    return f"{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"
