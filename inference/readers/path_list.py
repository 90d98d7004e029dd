"""Images that a list names: @FILE with one path per line, or standard input, which may be an image instead.

A list may come from somebody else, so what it names is fetched from a network only with --fetch_urls.
"""

import codecs
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from io import BufferedReader
from typing import IO, cast

from app.images import HEAD_BYTES, MAX_BYTES, ImageError, looks_like_image
from app.text_encoding import SAMPLE_BYTES, guess_encoding, is_utf8
from inference.readers.base import InputError, Lookup, NamedImage, Reader, count_images
from inference.readers.files import local_reader

STANDARD_INPUT = "-"
MAX_LINE = 65_536  # bytes of a path; a file without line ends is not a list
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class PathListReader(Reader):
    """The images behind a list of paths: relative to --image_root, else to the working folder or the list's own."""

    empty_message = "a list without paths"

    def __init__(self, argument: str, lookup: Lookup) -> None:
        super().__init__(argument)
        self.lookup = lookup

    def folders(self) -> list[str]:
        return [self.lookup.image_root or ""]

    def find_listed(self, lines: Iterable[str]) -> Iterator[NamedImage]:
        for line in lines:
            if os.path.isfile(line) and self.lookup.image_root is None:  # the usual case, the fastest
                yield from self._inside(line)
                continue
            from data_prep.pipeline.image_cells import embedded_image
            from inference.readers.references import find_image

            if (embedded := embedded_image(line)) is not None:
                yield line, embedded
                continue
            path = self._as_meant(line)
            name, source = find_image(path, self.folders(), self.lookup, path, "list")
            if isinstance(source, str):
                yield from self._inside(source)
            else:
                yield name, source

    def _as_meant(self, line: str) -> str:
        """A path without the quotes of Windows, and by a guessed encoding where its bytes are not UTF-8."""
        if len(line) > 2 and line[0] == line[-1] == '"':
            line = line[1:-1]
        raw = os.fsencode(line)
        if is_utf8(raw):
            return line
        encoding = self.guessed_encoding(raw)
        note = f"some lines are not UTF-8, read as {encoding}; --encoding names another"
        self.notes += [] if note in self.notes else [note]
        return raw.decode(encoding, "replace")

    def guessed_encoding(self, raw: bytes) -> str:
        """raw: of a line that is not UTF-8."""
        return guess_encoding(raw)

    def _inside(self, path: str) -> Iterator[NamedImage]:
        reader = local_reader(path, self.lookup)
        try:
            yield from reader
        except InputError as error:  # a table in the list, found too late to refuse the whole command
            yield path, ImageError(str(error))
        self.left_out.update(reader.left_out)
        self.notes += [f"{path}: {note}" for note in reader.notes]


class ListFileReader(PathListReader):
    """@FILE."""

    @property
    def path(self) -> str:
        return self.argument.removeprefix("@")

    def folders(self) -> list[str]:
        return [self.lookup.image_root] if self.lookup.image_root is not None else ["", os.path.dirname(self.path)]

    def find(self) -> Iterator[NamedImage]:
        return self.find_listed(self._paths())

    def check(self) -> None:
        try:
            mode = os.stat(self.path).st_mode
            if stat.S_ISFIFO(mode):
                raise InputError(f"the list {self.path!r} is a pipe: pipe it into standard input and give -")
            if not stat.S_ISREG(mode):
                raise InputError(f"the list {self.path!r} is not a file; it must be a text with one path per line")
            if not any(self._paths()):
                raise InputError(f"the list {self.path!r} is empty; it must have one path per line")
        except OSError as error:
            raise InputError(f"the list {self.path!r} cannot be read: {error.strerror}") from None

    def guessed_encoding(self, raw: bytes) -> str:
        return self._encoding

    @cached_property
    def _encoding(self) -> str:
        with open(self.path, "rb") as file:
            sample = file.read(SAMPLE_BYTES)
        return guess_encoding(sample[: sample.rfind(b"\n")] if len(sample) == SAMPLE_BYTES else sample)

    def count(self) -> int | None:
        try:
            return count_images(local_reader(path, self.lookup) for path in self._paths())
        except InputError:
            return None

    def _paths(self) -> Iterator[str]:
        with open(self.path, "rb") as file:
            start = file.read(HEAD_BYTES)
            file.seek(0)
            encoding = self.lookup.encoding or ("utf-16" if start.startswith(UTF16_MARKS) else "")
            if not encoding:
                yield from paths_in(file)
                return
        try:
            with open(self.path, encoding=encoding) as lines:
                yield from (line.rstrip("\r\n") for line in lines if line.strip())
        except (UnicodeError, LookupError) as error:
            raise InputError(f"the list {self.path!r} is not {encoding} text ({error}): give --encoding") from None


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
            try:
                yield from self.find_listed(paths_in(stream))
            except InputError as error:
                yield STANDARD_INPUT, ImageError(str(error))

    def check(self) -> None:
        if sys.stdin is None or sys.stdin.isatty():
            raise InputError("- reads standard input, which is a terminal: pipe an image or a list of paths into it")

    def count(self) -> None:
        return None


def paths_in(stream: IO[bytes]) -> Iterator[str]:
    """The lines that are not empty; bytes that are not UTF-8 become what the system calls such a file.

    Raises InputError for a line without an end.
    """
    mark = codecs.BOM_UTF8
    while line := stream.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            raise InputError(f"a line of more than {MAX_LINE:,} bytes: not a list of paths")
        path = os.fsdecode(line.removeprefix(mark)).rstrip("\r\n")
        mark = b"\0"  # only the first line has one
        if path.strip():
            yield path


def is_address(argument: str) -> bool:
    return "://" in argument and not os.path.lexists(argument)


def is_image(head: bytes) -> bool:
    """A list of paths may start with BM or II, like a BMP or TIFF, but has no control characters."""
    return looks_like_image(head) and any(byte < 32 and byte not in b"\t\r\n" for byte in head)
