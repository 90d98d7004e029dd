"""The one zip reader: members are read in place, within limits, and a bad one fails alone.

    for member in open_zip("shop.zip").members:
        data = open_zip("shop.zip").read(member, max_bytes=20 * 2**20)  # or ImageError

The name of a member is only shown, never used as a path; zip_names.py reads it as the program that wrote it meant it.
`open_zip` keeps a few archives open in each process.

Limits hold for what zipfile really reads, whatever the end record or a second one says: the list of files is bounded
by bytes and by entries before an entry is made, what the archive claims to unpack to by its own size. More than
FEW_ENTRIES are read only from an archive that is large enough to hold as many images.
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
from .zip_names import read_names

# What zipfile raises on damaged and hostile archives; RuntimeError for a decompressor that this Python lacks.
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, ValueError, NotImplementedError, RuntimeError),
)
KEPT_OPEN = 8  # archives per process
ENCRYPTED = 0x1
ORDINARY_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
LISTED = b"PK\x01\x02"  # before each entry of the list of files
END_BYTES, MAX_END_BYTES = 22, 2**17  # of the end record; with its comment
MAX_LIST_BYTES = 128 * 2**20  # a million images with long names
MAX_ENTRIES = 500_000  # 400 bytes of memory each
FEW_ENTRIES = 160_000  # whatever they hold: zipfile lists them in 1 s
MIN_ENTRY_BYTES = 200  # of an archive that lists more: its two headers and the smallest image take as many
MAX_ENTRY_BYTES, HARMLESS_LIST_BYTES = 4096, 2**20  # on average; extra fields cost time by the square of their number
MAX_RATIO, MAX_HARMLESS = 100, 2**30  # images hardly shrink: an archive that claims to grow this much is a bomb
MAX_MEMBER_RATIO, MAX_HARMLESS_MEMBER = 200, 16 * 2**20  # a white BMP of 5 megapixels may be packed into anything

Member = zipfile.ZipInfo


class ZipError(UserError):
    """A file that is not a complete zip. The message is the reason, without the file's name."""


class ZipLimitError(ZipError):
    """A zip that may be complete, but holds more than is read from one."""


class ZipArchive:
    """An open archive; several threads may read it at the same time.

    members: its files in their order, without folders. notes: remarks for the user, such as a guessed encoding.
    """

    def __init__(
        self,
        file: BinaryIO,
        compressions: Collection[int] | None = None,
        max_list_bytes: int = MAX_LIST_BYTES,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        """compressions: the methods that are unpacked, None for all. Raises ZipError, ZipLimitError."""
        num_bytes = file.seek(0, os.SEEK_END)
        max_entries = min(max_entries, max(FEW_ENTRIES, num_bytes // MIN_ENTRY_BYTES))
        self._list = BoundedList(file, max_list_bytes, max_entries)
        try:
            self._archive = zipfile.ZipFile(self._list)  # it only reads, seeks and tells
            self._list.is_bounded = False
            members = self._archive.infolist()
            check_claims(members, num_bytes)
            self.notes = read_names(members)
        except UserError:
            file.close()
            raise
        except DAMAGED as error:
            file.close()
            raise ZipError(one_line(error)) from None
        self._file = file
        self._compressions = compressions
        self.members: list[Member] = [member for member in members if not member.filename.endswith("/")]
        self._by_name: dict[str, Member] | None = None

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
        info = self._find(member) if isinstance(member, str) else member
        if info.flag_bits & ENCRYPTED:
            raise ImageError("encrypted in its archive: pack it without a password")
        if self._compressions is not None and info.compress_type not in self._compressions:
            raise ImageError("packed in an unusual way; make the zip with the ordinary method (deflate)")
        if info.file_size > max_bytes:
            size, limit = info.file_size / 2**20, max_bytes / 2**20
            raise ImageError(f"too large ({size:,.1f} MiB, at most {limit:,.1f})", "too_large")
        if grows_too_much(info):
            sizes = f"{info.compress_size:,} bytes that claim to unpack to {info.file_size:,}"
            raise ImageError(f"too large ({sizes}; images never shrink like that)", "too_large")
        try:
            with self._archive.open(info) as stream:
                yield stream
        except ImageError:
            raise
        except DAMAGED as error:
            raise ImageError(f"damaged in its archive ({one_line(error)})") from None

    def _find(self, name: str) -> Member:
        """Raises ImageError."""
        if self._by_name is None:
            self._by_name = {member.filename: member for member in self.members}
        if name not in self._by_name:
            raise ImageError("no such file in the archive")
        return self._by_name[name]


class BoundedList:
    """A file for zipfile that refuses to read a huge list of files, which zipfile reads in one piece."""

    def __init__(self, file: BinaryIO, max_bytes: int, max_entries: int) -> None:
        self._file = file
        self._max_bytes, self._max_entries = max_bytes, max_entries
        self.is_bounded = True
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if not self.is_bounded:
            return self._file.read(size)
        if size > max(self._max_bytes, END_BYTES):
            raise ZipLimitError(f"a list of files of {size:,} bytes, at most {self._max_bytes:,}")
        data = self._file.read(size if size >= 0 else MAX_END_BYTES)
        if (entries := data.count(LISTED)) > self._max_entries:
            raise ZipLimitError(f"a list of {entries:,} files, at most {self._max_entries:,}")
        if len(data) > MAX_ENTRY_BYTES * entries + HARMLESS_LIST_BYTES:
            raise ZipLimitError(f"a list of {entries:,} files that has {len(data):,} bytes")
        return data

    def seekable(self) -> bool:
        return True


def grows_too_much(member: Member) -> bool:
    """Whether a member claims to unpack to far more than an image, or a sheet of a workbook, ever shrinks."""
    return member.file_size > MAX_MEMBER_RATIO * member.compress_size + MAX_HARMLESS_MEMBER


def check_claims(members: Collection[Member], num_bytes: int) -> None:
    """Raises ZipLimitError where the members would unpack to far more than an archive of this size can hold."""
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_RATIO * num_bytes + MAX_HARMLESS:
        raise ZipLimitError(f"{num_bytes:,} bytes that claim to unpack to {unpacked:,}")
    if len({member.header_offset for member in members}) < len(members):  # newer Pythons refuse more of these
        raise ZipLimitError("members that lie on top of each other")


def open_zip(place: str | os.PathLike[str], open_file: Callable[[str], BinaryIO] | None = None) -> ZipArchive:
    """The archive at a path, kept open for the next call; a file that was changed is opened anew.

    open_file: how to open `place` where it is not a path of this machine. Raises ZipError, and OSError as `open` does.
    """
    if open_file:
        return _kept_open(os.fspath(place), None, open_file)
    status = os.stat(place)
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait forever
        raise ZipError("not a regular file")
    return _kept_open(os.path.abspath(place), (status.st_size, status.st_mtime_ns), _open_path)


@lru_cache(maxsize=KEPT_OPEN)
def _kept_open(place: str, version: tuple[int, int] | None, open_file: Callable[[str], BinaryIO]) -> ZipArchive:
    return ZipArchive(open_file(place))


def _open_path(path: str) -> BinaryIO:
    return open(path, "rb")


def is_zip(file: Path | BinaryIO) -> bool:
    """By the file's content, not its name. An open file is at its start before and after."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return opened.read(4) in ZIP_STARTS
    head = file.read(4)
    file.seek(0)
    return head in ZIP_STARTS


def is_link(member: Member) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)
