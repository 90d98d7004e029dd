"""Images that a list names: @FILE with one path per line, or standard input, which may be an image instead.

A list may come from somebody else, so what it names is never fetched from a network.
"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from io import BufferedReader
from typing import cast

from app.images import HEAD_BYTES, MAX_BYTES, ImageError, looks_like_image
from inference.readers.base import InputError, NamedImage, Reader, count_images
from inference.readers.files import local_reader

STANDARD_INPUT = "-"


class PathListReader(Reader):
    """The images behind a list of paths, relative to the working folder."""

    def __init__(self, argument: str, image_column: str | None) -> None:
        super().__init__(argument)
        self.image_column = image_column

    def find_listed(self, paths: Iterable[str]) -> Iterator[NamedImage]:
        for path in paths:
            if is_address(path):
                yield path, ImageError("an address in a list is not fetched: give it as an argument")
                continue
            reader = local_reader(path, self.image_column)
            try:
                yield from reader
            except InputError as error:  # a table in the list, found too late to refuse the whole command
                yield path, ImageError(str(error))
            self.left_out.update(reader.left_out)


class ListFileReader(PathListReader):
    """@FILE."""

    @property
    def path(self) -> str:
        return self.argument.removeprefix("@")

    def find(self) -> Iterator[NamedImage]:
        return self.find_listed(self._paths())

    def check(self) -> None:
        try:
            if stat.S_ISFIFO(os.stat(self.path).st_mode):
                raise InputError(f"the list {self.path!r} is a pipe: pipe it into standard input and give -")
            if not any(self._paths()):
                raise InputError(f"the list {self.path!r} is empty; it must have one path per line")
        except OSError as error:
            raise InputError(f"the list {self.path!r} cannot be read: {error.strerror}") from None

    def count(self) -> int | None:
        try:
            return count_images(local_reader(path, self.image_column) for path in self._paths())
        except InputError:
            return None

    def _paths(self) -> Iterator[str]:
        with open(self.path, encoding="utf-8-sig", errors="surrogateescape") as lines:
            yield from (line.rstrip("\r\n") for line in lines if line.strip())


class StandardInputReader(PathListReader):
    """One image if it starts like one, else a list of paths, taken as they arrive."""

    is_repeatable = False

    def find(self) -> Iterator[NamedImage]:
        stream = cast(BufferedReader, sys.stdin.buffer)
        head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]  # a whole read would wait for a list that is typed
        if not head:
            yield STANDARD_INPUT, ImageError("standard input is empty")
        elif is_image(head):
            yield STANDARD_INPUT, stream.read(MAX_BYTES + 1)
        else:
            lines = (os.fsdecode(line).rstrip("\r\n") for line in stream)
            yield from self.find_listed(filter(str.strip, lines))

    def check(self) -> None:
        if sys.stdin is None or sys.stdin.isatty():
            raise InputError("- reads standard input, which is a terminal: pipe an image or a list of paths into it")

    def count(self) -> None:
        return None


def is_address(argument: str) -> bool:
    return "://" in argument and not os.path.lexists(argument)


def is_image(head: bytes) -> bool:
    """A list of paths may start with BM or II, like a BMP or TIFF, but has no control characters."""
    return looks_like_image(head) and any(byte < 32 and byte not in b"\t\r\n" for byte in head)
