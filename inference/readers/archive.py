"""Images in .zip and .tar archives, read in place: nothing is unpacked to disk.

The name of a member is only shown, never used as a path. A bomb fails only its own row: no more than MAX_BYTES of a
member are unpacked, and only if it starts like an image. The members of .zip and of plain .tar are read when their turn
comes, by whoever needs them, in another process too; those of .tar.gz in their order, as they are found.
"""

import bz2
import gzip
import lzma
import os
import tarfile
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from app.errors import one_line
from app.images import HEAD_BYTES, MAX_BYTES, ImageError, check_num_bytes, looks_like_image
from app.zip_archive import DAMAGED, Member, open_zip
from inference.readers.base import NamedImage, OpenFile, Reader, Source

DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
MARK_BYTES = max(map(len, DECOMPRESSORS))
MAX_RATIO, MAX_HARMLESS = 100, 2**30  # images hardly shrink: a tar that claims to grow this much is a bomb


class ArchiveReader(Reader):
    """The images in an archive, in its order. A damaged archive is a row with that error, after what was readable."""

    empty_message = "an archive without images"

    def __init__(self, argument: str, open_file: OpenFile | None = None) -> None:
        super().__init__(argument)
        self.open_file = open_file

    def find(self) -> Iterator[NamedImage]:
        try:
            yield from self.members()
        except FileNotFoundError:
            yield self.argument, ImageError("no such file")
        except (tarfile.TarError, *DAMAGED) as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            yield self.argument, ImageError(f"damaged archive ({reason}); what follows cannot be read")

    @abstractmethod
    def members(self) -> Iterator[NamedImage]:
        """Like `find`, but raises what the standard library raises on a damaged archive."""

    def is_hidden(self, name: str) -> bool:
        """Whether a part of a member's name starts with a dot, or macOS put it there; counted if so."""
        parts = [part for part in name.split("/") if part not in (".", "..")]
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        self.left_out["hidden"] += hidden
        return hidden


class ZipReader(ArchiveReader):
    def members(self) -> Iterator[NamedImage]:
        place = self.argument if self.open_file else os.path.abspath(self.argument)
        for member in open_zip(place, self.open_file).members:
            if not self.is_hidden(member.filename) and self.takes(member.filename):
                yield f"{self.argument}/{member.filename}", ZipMember(place, member, self.open_file)


@dataclass(frozen=True)
class ZipMember:
    """Called, it reads the member's bytes; several threads may read the same archive. Raises ImageError."""

    place: str
    member: Member
    open_file: OpenFile | None

    def __call__(self) -> bytes:
        with open_zip(self.place, self.open_file).open(self.member, MAX_BYTES) as stream:
            return read_image(stream, self.member.file_size)


class TarReader(ArchiveReader):
    def count(self) -> None:
        return None

    def members(self) -> Iterator[NamedImage]:
        with self.open_file(self.argument) if self.open_file else open(self.argument, "rb") as file:
            mark = file.read(MARK_BYTES)
            file_size = file.seek(0, os.SEEK_END)
            file.seek(0)
            decompress = next((opener for start, opener in DECOMPRESSORS.items() if mark.startswith(start)), None)
            limit = MAX_RATIO * file_size + MAX_HARMLESS if decompress else None
            stream = BoundedReads(decompress(file) if decompress else file)
            archive = tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]  # it only reads, seeks and tells
            while member := archive.next():
                archive.members.clear()  # type: ignore[attr-defined]  # it keeps a list of all, which nothing needs
                end = member.offset_data + member.size
                if limit and end > limit:
                    raise tarfile.ReadError(f"{file_size:,} bytes that claim to unpack to {end:,}")
                if not self._takes_member(member):
                    continue
                if decompress or self.open_file:  # such an archive can be read only from front to back
                    source: Source = read_tar_member(archive, member)
                else:
                    source = FilePart(os.path.abspath(self.argument), member.offset_data, member.size)
                yield f"{self.argument}/{member.name}", source

    def _takes_member(self, member: tarfile.TarInfo) -> bool:
        if member.isdir() or self.is_hidden(member.name):
            return False
        if member.isreg() and not member.issparse():
            return self.takes(member.name)
        self.left_out["link or device"] += 1
        return False


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


def read_tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | ImageError:
    stream = archive.extractfile(member)
    assert stream, "a regular file"
    try:
        return read_image(stream, member.size)
    except ImageError as error:
        return error


def read_image(stream: IO[bytes], size: int) -> bytes:
    """The bytes of a member that starts like an image; of anything else only the start, for its reader to refuse."""
    check_num_bytes(size)
    head = stream.read(min(size, HEAD_BYTES))
    return head + stream.read(size - len(head)) if looks_like_image(head) else head


class BoundedReads:
    """A file for tarfile that refuses to read a header of gigabytes into memory, such as a hostile long name."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_BYTES + HEAD_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)
