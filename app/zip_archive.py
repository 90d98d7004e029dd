"""The one zip reader: members are read in place, within limits, and a bad one fails alone.

    for member in open_zip("shop.zip").members:
        data = open_zip("shop.zip").read(member, max_bytes=20 * 2**20)  # or ImageError

The name of a member is only shown, never used as a path. `open_zip` keeps a few archives open in each process.
"""

import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO

from .errors import UserError, one_line
from .images import ImageError

# What zipfile raises on damaged and hostile archives; RuntimeError for a decompressor that this Python lacks.
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, ValueError, NotImplementedError, RuntimeError),
)
KEPT_OPEN = 8  # archives per process
ENCRYPTED = 0x1
ORDINARY_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
ZIP_END, ZIP64_END = b"PK\x05\x06", b"PK\x06\x07"
ZIP_END_BYTES = 22 + 0xFFFF  # the last record with the longest comment
DIRECTORY_BYTES_OFFSET = 12  # in the last record

Member = zipfile.ZipInfo


class ZipError(UserError):
    """A file that is not a complete zip. The message is the reason, without the file's name."""


class ZipArchive:
    """An open archive; several threads may read it at the same time.

    members: its files in their order, without folders.
    """

    def __init__(self, file: BinaryIO, compressions: Collection[int] | None = None) -> None:
        """compressions: the methods that are unpacked, None for all. Raises ZipError."""
        try:
            self._archive = zipfile.ZipFile(file)
        except DAMAGED as error:
            file.close()
            raise ZipError(one_line(error)) from None
        self._file = file
        self._compressions = compressions
        self.members: list[Member] = [member for member in self._archive.infolist() if not member.is_dir()]

    def __enter__(self) -> "ZipArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()
        self._file.close()

    def read(self, member: Member | str, max_bytes: int) -> bytes:
        """All bytes of a member. Raises ImageError, also where there are more than `max_bytes`."""
        with self.open(member, max_bytes) as stream:
            return stream.read(max_bytes + 1)  # zipfile gives no more than the size that the archive states

    @contextmanager
    def open(self, member: Member | str, max_bytes: int) -> Iterator[IO[bytes]]:
        """The bytes of a member as a stream; read it in bounded steps. Raises ImageError, inside the block too."""
        try:
            info = self._archive.getinfo(member) if isinstance(member, str) else member
        except KeyError:
            raise ImageError("no such file in the archive") from None
        if info.flag_bits & ENCRYPTED:
            raise ImageError("encrypted in its archive")
        if self._compressions is not None and info.compress_type not in self._compressions:
            raise ImageError("packed in an unusual way; make the zip with the ordinary method (deflate)")
        if info.file_size > max_bytes:
            size, limit = info.file_size / 2**20, max_bytes / 2**20
            raise ImageError(f"too large ({size:,.1f} MiB, at most {limit:,.1f})", "too_large")
        try:
            with self._archive.open(info) as stream:
                yield stream
        except ImageError:
            raise
        except DAMAGED as error:
            raise ImageError(f"damaged in its archive ({one_line(error)})") from None


def open_zip(place: str | os.PathLike[str], open_file: Callable[[str], BinaryIO] | None = None) -> ZipArchive:
    """The archive at a path, kept open for the next call; a file that was changed is opened anew.

    open_file: how to open `place` where it is not a path of this machine. Raises ZipError, and OSError as `open` does.
    """
    if open_file:
        return _kept_open(os.fspath(place), None, open_file)
    status = os.stat(place)
    return _kept_open(os.path.abspath(place), (status.st_size, status.st_mtime_ns), _open_path)


@lru_cache(maxsize=KEPT_OPEN)
def _kept_open(place: str, version: tuple[int, int] | None, open_file: Callable[[str], BinaryIO]) -> ZipArchive:
    return ZipArchive(open_file(place))


def _open_path(path: str) -> BinaryIO:
    return open(path, "rb")


def is_zip(path: Path) -> bool:
    """By the file's content, not its name."""
    with path.open("rb") as file:
        return file.read(4) in ZIP_STARTS


def is_link(member: Member) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def directory_bytes(path: Path) -> int | None:
    """The size that a zip states for its list of files, which opening it reads whole; None for zip64, 0 if unstated."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - ZIP_END_BYTES))
        tail = file.read()
    end = tail.rfind(ZIP_END)
    if ZIP64_END in tail[max(0, end - 20) : max(0, end)]:
        return None
    field = end + DIRECTORY_BYTES_OFFSET
    return struct.unpack_from("<I", tail, field)[0] if end >= 0 and field + 4 <= len(tail) else 0
