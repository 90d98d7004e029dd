"""Find the pictures behind the arguments of a command: files, folders and text files of paths.

    for name, source in find_images(["shirt.jpg", "photos/", "@more.txt"], left_out=Counter()):

Nothing is opened here: a file that turns out to be no picture is found out by whoever reads it.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator

from app.images import ImageError

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"),
    *(".mpo", ".png", ".tif", ".tiff", ".webp"),
)

Input = tuple[str, str | ImageError]  # the name to show, and the picture's path or why there is none


class ListError(ValueError):
    """A list of paths that cannot be used; the message is one line."""


def find_images(arguments: Iterable[str], left_out: Counter) -> Iterator[Input]:
    """The pictures behind the arguments, in a fixed order, found as they are asked for.

    left_out: counts, by kind, what lies in the folders and is not looked at.
    """
    for argument in arguments:
        for path in read_list(argument) if is_list(argument) else [argument]:
            if os.path.isdir(path):
                yield from walk(path, left_out)
            else:
                yield path, path


def is_list(argument: str) -> bool:
    return argument.startswith("@") and not os.path.lexists(argument)


def check_list(argument: str) -> None:
    """Raises ListError where `@FILE` is unreadable or names nothing."""
    try:
        if not any(read_list(argument)):
            raise ListError(f"the list {argument[1:]!r} is empty; it must hold one path a line")
    except OSError as error:
        raise ListError(f"the list {argument[1:]!r} cannot be read: {error.strerror}") from None


def read_list(argument: str) -> Iterator[str]:
    """The paths in `@FILE`, one a line, relative to the working folder."""
    with open(argument[1:], encoding="utf-8-sig", errors="surrogateescape") as lines:
        yield from (line.rstrip("\r\n") for line in lines if line.strip())


def walk(folder: str, left_out: Counter) -> Iterator[Input]:
    """Sorted, so that two runs agree. A folder that is unreadable or has no picture is a row with that error."""
    found = False
    unreadable: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        left_out["hidden"] += sum(name.startswith(".") for name in (*folders, *names))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        left_out["linked folder"] += sum(os.path.islink(os.path.join(parent, name)) for name in folders)
        for name in sorted(name for name in names if not name.startswith(".")):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in IMAGE_SUFFIXES:
                found = True
                yield (path := os.path.join(parent, name)), path
            else:
                left_out[suffix or "without ending"] += 1
    for error in unreadable:
        yield error.filename, ImageError(f"folder cannot be read ({error.strerror})")
    if not found and not unreadable:
        yield folder, ImageError("a folder without images")
