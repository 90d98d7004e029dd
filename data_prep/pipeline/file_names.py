"""The file that a table or a list means: backslashes of Windows, names without an ending, numbers out of pandas."""

import os
import re
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
    if not name or "\0" in name or os.path.lexists(os.path.join(folder, name)):
        return name
    for candidate in dict.fromkeys((name.replace("\\", "/"), name)):
        if os.path.lexists(os.path.join(folder, candidate)):
            return candidate
        inside, _, last = candidate.rpartition("/")
        stems = images_by_stem(os.path.join(folder, inside))
        number = WHOLE_NUMBER.fullmatch(last)
        for stem in (last, number[1] if number else last):
            if stem in stems:
                return f"{inside}/{stems[stem]}" if inside else stems[stem]
    return name


@lru_cache(maxsize=64)
def images_by_stem(folder: str) -> dict[str, str]:
    """`{name without the ending of an image: name}` of the files in a folder."""
    try:
        names = sorted(os.listdir(folder or "."), reverse=True)
    except OSError:
        return {}
    parts = ((*os.path.splitext(name), name) for name in names)
    return {stem: name for stem, suffix, name in parts if suffix.lower() in IMAGE_SUFFIXES}


def without_image_suffix(name: str) -> str:
    """The last part of a path without the ending of an image: an id, which may have dots of its own."""
    last = name.replace("\\", "/").rpartition("/")[2]
    stem, suffix = os.path.splitext(last)
    return stem if suffix.lower() in IMAGE_SUFFIXES else last
