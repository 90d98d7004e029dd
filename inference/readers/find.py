"""Find the images behind the arguments of a command: files, folders, lists, tables, archives, object stores, `-`.

    for name, source in find_images(["shirt.jpg", "photos/", "@more.txt", "shop.zip"], left_out=Counter()):

No image is opened here, and the bytes in an archive are fetched by whoever reads them, so it costs no memory to have
millions. A file that turns out to be no image is found out by its reader. inference/readers/archive.py, inference/readers/table.py and inference/readers/object_store.py
know the kinds of containers; each is imported when an argument needs it.
"""

import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader

from app.images import MAX_BYTES, ImageError, looks_like_image

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"),
    *(".mpo", ".png", ".tif", ".tiff", ".webp"),
)
TABLE_SUFFIXES = (".csv", ".parquet")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
STANDARD_INPUT = "-"
HEAD_BYTES = 64  # enough to tell an image from a list of paths

Source = str | bytes | Callable[[], bytes] | ImageError
Input = tuple[str, Source]  # the name to show, and the image or why there is none


class InputError(ValueError):
    """An argument that cannot be used; the message is one line that says what to do."""


def find_images(arguments: Iterable[str], left_out: Counter, image_column: str | None = None) -> Iterator[Input]:
    """The images behind the arguments, in a fixed order, found as they are asked for.

    left_out: counts, by kind, what lies in folders and archives and is not looked at.
    image_column: the column of a table that holds paths or bytes; None for the first with a usual name.
    """
    for argument in arguments:
        if argument == STANDARD_INPUT:
            yield from read_standard_input(sys.stdin.buffer, left_out, image_column)
        elif is_list(argument):
            yield from find_listed(read_list(argument), left_out, image_column)
        elif is_address(argument):
            from inference.readers.object_store import find_remote

            yield from find_remote(argument, left_out, image_column)
        else:
            yield from find_local(argument, left_out, image_column)


def find_local(path: str, left_out: Counter, image_column: str | None) -> Iterator[Input]:
    """The images behind one path of this machine."""
    if os.path.isdir(path):
        yield from walk(path, left_out)
    elif is_table(path):
        from inference.readers.table import read_images

        yield from read_images(path, image_column)
    elif is_archive(path):
        from inference.readers.archive import find_members

        yield from find_members(path, left_out)
    else:
        yield path, path


def find_listed(paths: Iterable[str], left_out: Counter, image_column: str | None) -> Iterator[Input]:
    """A list may come from somebody else, so what it names is never fetched from a network."""
    for path in paths:
        if is_address(path):
            yield path, ImageError("an address in a list is not fetched: give it as an argument")
            continue
        try:
            yield from find_local(path, left_out, image_column)
        except InputError as error:  # a table in the list, found out too late to refuse the whole command
            yield path, ImageError(str(error))


def is_list(argument: str) -> bool:
    return argument.startswith("@") and not os.path.lexists(argument)


def is_address(argument: str) -> bool:
    return "://" in argument and not os.path.lexists(argument)


def is_table(path: str) -> bool:
    return path.lower().endswith(TABLE_SUFFIXES)


def is_archive(path: str) -> bool:
    return path.lower().endswith(ARCHIVE_SUFFIXES)


def check_arguments(arguments: list[str], image_column: str | None = None) -> None:
    """Raises InputError for what is known to be unusable before anything is read: a list, a table, an address, `-`."""
    if arguments.count(STANDARD_INPUT) > 1:
        raise InputError("standard input, -, can be read once only")
    for argument in arguments:
        if argument == STANDARD_INPUT:
            if sys.stdin is None or sys.stdin.isatty():
                raise InputError(
                    "- reads standard input, which is a terminal: pipe an image or a list of paths into it"
                )
        elif is_list(argument):
            check_list(argument)
        elif is_address(argument):
            from inference.readers.object_store import check_address

            check_address(argument, image_column)
        elif is_table(argument):
            from inference.readers.table import check_table

            check_table(argument, image_column)


def check_list(argument: str) -> None:
    """Raises InputError where `@FILE` is unreadable or names nothing."""
    try:
        if stat.S_ISFIFO(os.stat(argument[1:]).st_mode):
            raise InputError(f"the list {argument[1:]!r} is a pipe: pipe it into standard input and give -")
        if not any(read_list(argument)):
            raise InputError(f"the list {argument[1:]!r} is empty; it must hold one path a line")
    except OSError as error:
        raise InputError(f"the list {argument[1:]!r} cannot be read: {error.strerror}") from None


def read_list(argument: str) -> Iterator[str]:
    """The paths in `@FILE`, one a line, relative to the working folder."""
    with open(argument[1:], encoding="utf-8-sig", errors="surrogateescape") as lines:
        yield from (line.rstrip("\r\n") for line in lines if line.strip())


def read_standard_input(stream: BufferedReader, left_out: Counter, image_column: str | None) -> Iterator[Input]:
    """One image if it starts like one, else a list of paths, one a line, taken as they arrive."""
    head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]  # a whole read would wait for a list that is typed
    if not head:
        yield STANDARD_INPUT, ImageError("standard input is empty")
    elif is_image(head):
        yield STANDARD_INPUT, stream.read(MAX_BYTES + 1)
    else:
        lines = (os.fsdecode(line).rstrip("\r\n") for line in stream)
        yield from find_listed(filter(str.strip, lines), left_out, image_column)


def is_image(head: bytes) -> bool:
    """A list of paths may start with BM or II, like a BMP or TIFF, but has no control characters."""
    return looks_like_image(head) and any(byte < 32 and byte not in b"\t\r\n" for byte in head)


def walk(folder: str, left_out: Counter) -> Iterator[Input]:
    """Sorted, so that two runs agree. A folder that is unreadable or has no image is a row with that error."""
    found = False
    unreadable: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        left_out["hidden"] += sum(name.startswith(".") for name in (*folders, *names))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        left_out["linked folder"] += sum(os.path.islink(os.path.join(parent, name)) for name in folders)
        for name in sorted(name for name in names if not name.startswith(".")):
            if is_wanted(name, left_out):
                found = True
                yield (path := os.path.join(parent, name)), path
    for error in unreadable:
        yield error.filename, ImageError(f"folder cannot be read ({error.strerror})")
    if not found and not unreadable:
        yield folder, ImageError("a folder without images")


def is_wanted(name: str, left_out: Counter) -> bool:
    """Whether a file's name ends like an image's; if not it is counted in `left_out`."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    left_out[suffix or "without ending"] += 1
    return False
