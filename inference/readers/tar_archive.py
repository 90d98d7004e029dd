"""Images in .tar, .tar.gz, .tar.bz2 and .tar.xz. Those of a plain tar are read when their turn comes, those of a
compressed one in their order, as they are found.

tarfile reads the headers, within limits that it lacks: a header has at most MAX_HEADER_BYTES, each one lies behind the
last (a negative size sent tarfile back, for ever), and a compressed tar may not claim to grow without measure. A hard
link has the bytes of the member that it names; only where there is one, the archive is looked through once more.
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
from typing import IO, Any, BinaryIO

from app.images import HEAD_BYTES, MAX_BYTES, ImageError
from app.zip_archive import MAX_HARMLESS, MAX_RATIO
from inference.readers.archive import ArchiveReader, read_image
from inference.readers.base import NamedImage, OpenFile, Source

DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
MARK_BYTES = max(map(len, DECOMPRESSORS))
MAX_HEADER_BYTES = 2**20  # a long name or extended header
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


class OpenTar:
    """The members of a tar in their order, each behind the last. is_plain: not compressed."""

    def __init__(self, file: BinaryIO) -> None:
        mark = file.read(MARK_BYTES)
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
    def opened(self, member: tarfile.TarInfo) -> Iterator[IO[bytes]]:
        """The bytes of the latest regular member."""
        stream = self._archive.extractfile(member)
        assert stream, "a regular file"
        self._stream.limit = MAX_BYTES + HEAD_BYTES
        try:
            yield stream
        finally:
            self._stream.limit = MAX_HEADER_BYTES


class TarReader(ArchiveReader):
    def __init__(self, argument: str, open_file: OpenFile | None = None) -> None:
        super().__init__(argument, open_file)
        self._linked: LinkedMembers | None = None

    def count(self) -> None:
        return None

    def members(self) -> Iterator[NamedImage]:
        with self._opened() as file:
            archive = OpenTar(file)
            for member in archive:
                if member.isdir() or self.is_hidden(member.name):
                    continue
                source = self._source(archive, member)
                if source is not None:
                    yield f"{self.argument}/{member.name}", source

    def _opened(self) -> BinaryIO:
        return self.open_file(self.argument) if self.open_file else open(self.argument, "rb")

    def _source(self, archive: OpenTar, member: tarfile.TarInfo) -> Source | None:
        """None for a member that is left out, and counted."""
        if member.islnk():
            return self._source_of_link(member)
        if not member.isreg() or member.issparse():
            self.left_out["link or device"] += 1
            return None
        if archive.is_plain and not self.open_file:
            part = FilePart(os.path.abspath(self.argument), member.offset_data, member.size)
            return part if self.takes(member.name, part.first_bytes) else None
        with archive.opened(member) as stream:  # such an archive can be read only from front to back
            head = stream.read(HEAD_BYTES)
            if not self.takes(member.name, lambda: head):
                return None
            try:
                return read_image(stream, member.size, head)
            except ImageError as error:
                return error

    def _source_of_link(self, member: tarfile.TarInfo) -> Source | None:
        if self._linked is None:
            self._linked = LinkedMembers(self._opened)
        try:
            data = self._linked.read(member.linkname)
        except ImageError as error:
            return error if self.takes(member.name, lambda: b"") else None
        return data if self.takes(member.name, lambda: data) else None


class LinkedMembers:
    """The bytes of the members that hard links name, found in two further passes when the first is asked for.

    They are copied to a temporary file, so that many links to one large member take no memory.
    """

    def __init__(self, open_archive: Callable[[], BinaryIO]) -> None:
        self._copies = tempfile.TemporaryFile()  # noqa: SIM115  closed when the reader goes
        self._parts: dict[str, Part] = {}
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
        """Raises ImageError."""
        if name not in self._parts:
            raise ImageError(f"a hard link to {name!r}, which is not in the archive")
        offset, size = self._parts[name]
        self._copies.seek(offset)
        return read_image(self._copies, size)

    def _copy(self, archive: OpenTar, member: tarfile.TarInfo) -> None:
        offset = self._copies.seek(0, os.SEEK_END)
        if member.size <= MAX_BYTES and offset + member.size <= MAX_LINKED_BYTES:
            with archive.opened(member) as stream:
                data = stream.read(member.size)
            self._copies.write(data)
            self._parts[member.name] = (offset, len(data))


def readable(archive: OpenTar) -> Iterator[tarfile.TarInfo]:
    """The members before the first damage, which the first pass reports."""
    try:
        yield from archive
    except (tarfile.TarError, OSError, EOFError, ValueError, lzma.LZMAError):
        return


@dataclass(frozen=True)
class FilePart:
    """Called, it reads a member of a plain tar. Raises ImageError."""

    path: str
    offset: int
    size: int

    def __call__(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return read_image(file, self.size)

    def first_bytes(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(min(self.size, HEAD_BYTES))
