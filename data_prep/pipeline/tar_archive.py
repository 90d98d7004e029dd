"""Tar archives (.tar, .tar.gz, .tar.bz2, .tar.xz) read in place, within limits that tarfile lacks.

tarfile reads the headers: one has at most MAX_HEADER_BYTES, each lies behind the last (a negative size sent tarfile
back, for ever), and a compressed tar may not claim to grow without measure. A hard link has the bytes of the member
that it names; only where there is one, the archive is looked through once more.
"""

import bz2
import gzip
import lzma
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any, BinaryIO

from app.images import HEAD_BYTES, MAX_BYTES, ImageError, check_num_bytes, looks_like_image
from app.zip_archive import DAMAGED, MAX_HARMLESS, MAX_HARMLESS_MEMBER, MAX_MEMBER_RATIO, MAX_RATIO
from data_prep.pipeline.file_names import file_key

DAMAGED_TAR = (tarfile.TarError, *DAMAGED)  # what is raised on damaged and hostile archives
DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
MARK_BYTES = max(map(len, DECOMPRESSORS))
MAX_HEADER_BYTES = 2**20  # a long name or extended header
TAR_MARK, TAR_MARK_AT = b"ustar", 257
PIECE_BYTES = 2**20
MAX_LINKED_BYTES = 2**30  # copied to a temporary file from a compressed tar with hard links

Part = tuple[int, int]  # where the bytes of a member are, and how many


class BoundedReads:
    """A file for tarfile that refuses to read a header of gigabytes into memory, such as a hostile long name."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.limit = MAX_HEADER_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.limit:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


class UnpackedMember:
    """The bytes of a member of a compressed tar, refused where it grows as no image does: see zip_archive.py."""

    def __init__(self, stream: IO[bytes], packed: BinaryIO) -> None:
        """packed: the file of the archive."""
        self._stream, self._packed = stream, packed
        self._start, self._count = packed.tell(), 0

    def read(self, size: int) -> bytes:
        """Raises ImageError."""
        pieces = []
        for piece in pieces_of(self._stream, size):
            pieces.append(piece)
            self._count += len(piece)
            packed = self._packed.tell() - self._start + PIECE_BYTES // 8  # what was read ahead may belong to it
            if self._count > MAX_MEMBER_RATIO * packed + MAX_HARMLESS_MEMBER:
                raise ImageError(f"too large ({packed:,} bytes that unpack to more than {self._count:,})", "too_large")
        return b"".join(pieces)


class OpenTar:
    """The members of a tar in their order, each behind the last. is_plain: not compressed."""

    def __init__(self, file: BinaryIO) -> None:
        mark = file.read(MARK_BYTES)
        self._file = file
        self.num_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        decompress = next((opener for start, opener in DECOMPRESSORS.items() if mark.startswith(start)), None)
        self.is_plain = decompress is None
        self._stream = BoundedReads(decompress(file) if decompress else file)
        self._archive = tarfile.TarFile(fileobj=self._stream)  # type: ignore[arg-type]  # it reads, seeks and tells

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """Raises tarfile.ReadError for offsets that do not grow and for a compressed tar that grows too much."""
        limit = self.num_bytes if self.is_plain else MAX_RATIO * self.num_bytes + MAX_HARMLESS
        before = -1
        while member := self._next():
            self._archive.members.clear()  # type: ignore[attr-defined]  # it keeps a list of all, which nothing needs
            self._archive.pax_headers = {}  # copied for each member
            end = member.offset_data + member.size
            if member.size < 0 or member.offset_data <= before or self._archive.offset <= before:
                raise tarfile.ReadError("a member that does not lie behind the one before it")
            if end > limit and not self.is_plain:
                raise tarfile.ReadError(f"{self.num_bytes:,} bytes that claim to unpack to {end:,}")
            before = member.offset_data
            yield member

    def _next(self) -> tarfile.TarInfo | None:
        try:
            return self._archive.next()
        except RecursionError:  # tarfile follows headers that belong to the next one by calling itself
            raise tarfile.ReadError("a chain of headers without a member") from None

    @contextmanager
    def opened(self, member: tarfile.TarInfo) -> Iterator["IO[bytes] | UnpackedMember"]:
        """The bytes of the latest regular member."""
        stream = self._archive.extractfile(member)
        assert stream, "a regular file"
        self._stream.limit = MAX_BYTES + HEAD_BYTES
        try:
            yield stream if self.is_plain else UnpackedMember(stream, self._file)
        finally:
            self._stream.limit = MAX_HEADER_BYTES


class LinkedMembers:
    """The bytes of the members that hard links name, found in two further passes when the first is asked for.

    They are copied to a temporary file, so that many links to one large member take no memory.
    """

    def __init__(self, open_archive: Callable[[], BinaryIO]) -> None:
        self._copies = tempfile.TemporaryFile()  # noqa: SIM115  closed when the reader goes
        self._parts: dict[str, Part] = {}
        self._lock = Lock()
        with open_archive() as file:
            links = [(member.name, member.linkname) for member in readable(OpenTar(file)) if member.islnk()]
        wanted = {target for _, target in links}
        with open_archive() as file:
            archive = OpenTar(file)
            for member in readable(archive):
                if member.isreg() and not member.issparse() and member.name in wanted:
                    self._copy(archive, member)
                elif member.islnk() and member.linkname in self._parts:  # a link to a link
                    self._parts[member.name] = self._parts[member.linkname]

    def read(self, name: str) -> bytes:
        """The image, or the start of what is not one. May be called from any thread. Raises ImageError."""
        start = self.first_bytes(name)
        offset, size = self._parts[name]
        return self._read(offset, size) if looks_like_image(start) else start

    def first_bytes(self, name: str) -> bytes:
        """Raises ImageError."""
        if name not in self._parts:
            raise ImageError(f"a hard link to {name!r}, which is not in the archive")
        offset, size = self._parts[name]
        return self._read(offset, min(size, HEAD_BYTES))

    def _read(self, offset: int, size: int) -> bytes:
        with self._lock:
            self._copies.seek(offset)
            return self._copies.read(size)

    def _copy(self, archive: OpenTar, member: tarfile.TarInfo) -> None:
        offset = self._copies.seek(0, os.SEEK_END)
        if member.size <= MAX_BYTES and offset + member.size <= MAX_LINKED_BYTES:
            try:
                with archive.opened(member) as stream:
                    data = stream.read(member.size)
            except ImageError:  # its own row says why
                return
            self._copies.write(data)
            self._parts[member.name] = (offset, len(data))


def readable(archive: OpenTar) -> Iterator[tarfile.TarInfo]:
    """The members before the first damage, which the first pass reports."""
    try:
        yield from archive
    except DAMAGED_TAR:
        return


@dataclass(slots=True, frozen=True)
class FilePart:
    """The bytes of an image inside a file: of a member of a plain tar, or of a copy.

    origin: where a copy comes from, in words that change when the bytes do.
    """

    path: str
    offset: int
    size: int
    origin: str = ""

    def read(self) -> bytes:
        """Raises ImageError."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return read_image(file, self.size)

    def first_bytes(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(min(self.size, HEAD_BYTES))

    def pieces(self) -> Iterator[bytes]:
        """All of it, whatever it is."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            yield from pieces_of(file, self.size)

    def key(self) -> str:
        return self.origin or f"{file_key(self.path)}|{self.offset}"


def read_image(stream: "IO[bytes] | UnpackedMember", size: int, head: bytes = b"") -> bytes:
    """The bytes of a member that starts like an image; of anything else only the start, for its reader to refuse.

    head: what was read already.
    """
    check_num_bytes(size)
    head = head or stream.read(min(size, HEAD_BYTES))
    return head + stream.read(size - len(head)) if looks_like_image(head) else head


def pieces_of(stream: "IO[bytes] | UnpackedMember", size: int | None = None) -> Iterator[bytes]:
    """At most `size` bytes of a stream, a few at a time."""
    while piece := stream.read(PIECE_BYTES if size is None else min(size, PIECE_BYTES)):
        size = None if size is None else size - len(piece)
        yield piece


def is_tar(path: Path) -> bool:
    """By the file's content, not its name: a mark of a tar, or of what compresses one."""
    with path.open("rb") as file:
        start = file.read(TAR_MARK_AT + len(TAR_MARK))
    return start.endswith(TAR_MARK) or start.startswith(tuple(DECOMPRESSORS))
