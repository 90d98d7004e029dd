"""Images in .zip and .tar archives, read in place: nothing is unpacked to disk.

    for name, source in find_members("shop.zip", left_out=Counter()):  # ("shop.zip/shoes/1.jpg", bytes or a function)

The name of a member is only shown, never used as a path. A bomb costs its own row: no more than app.images.MAX_BYTES
of a member are unpacked, and only if it starts like an image. The members of .zip and of plain .tar are read when
their turn comes, by whoever needs them, in another process too; those of .tar.gz in their order, as they are found.
"""

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from app.images import MAX_BYTES, ImageError, looks_like_image
from inference.readers.find import HEAD_BYTES, Input, is_wanted

# What the readers of the standard library raise on damaged or hostile archives.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)
DECOMPRESSORS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
OPEN_ARCHIVES = 8
MAX_RATIO, MAX_HARMLESS = 100, 2**30  # images hardly shrink: a tar that claims to grow so far is a bomb
ENCRYPTED = 0x1


def find_members(name: str, left_out: Counter, file: BinaryIO | None = None) -> Iterator[Input]:
    """The images in an archive, in its order. A damaged archive is a row with that error, after what was readable.

    file: the opened archive, seekable, where `name` is no path of this machine.
    """
    find = find_in_zip if name.lower().endswith(".zip") else find_in_tar
    found = False
    try:
        for found, member in enumerate(find(name, left_out, file), start=1):  # noqa: B007  a count, then a truth value
            yield member
    except FileNotFoundError:
        yield name, ImageError("no such file")
    except DAMAGED as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        yield name, ImageError(f"damaged archive ({reason or type(error).__name__}); what follows cannot be read")
    else:
        if not found:
            yield name, ImageError("an archive without images")


def find_in_zip(name: str, left_out: Counter, file: BinaryIO | None) -> Iterator[Input]:
    place = name if file else os.path.abspath(name)
    stamp = None if file else Path(name).stat().st_mtime_ns
    for member in open_zip(place, stamp).infolist():
        if not member.is_dir() and not is_hidden(member.filename, left_out) and is_wanted(member.filename, left_out):
            yield f"{name}/{member.filename}", ZipMember(place, stamp, member)


@lru_cache(maxsize=OPEN_ARCHIVES)
def open_zip(place: str, stamp: int | None) -> zipfile.ZipFile:
    """stamp: when the file was last changed, so that a new file under the old name is opened anew."""
    if "://" not in place:
        return zipfile.ZipFile(place)
    from inference.readers.object_store import open_store

    filesystem, path = open_store(place)
    return zipfile.ZipFile(filesystem.open(path, "rb"))


@dataclass(frozen=True)
class ZipMember:
    """Called, it reads the member's bytes; several threads may read the same archive. Raises ImageError."""

    place: str
    stamp: int | None
    member: zipfile.ZipInfo

    def __call__(self) -> bytes:
        if self.member.flag_bits & ENCRYPTED:
            raise ImageError("encrypted in its archive")
        try:
            with open_zip(self.place, self.stamp).open(self.member) as stream:
                return read_image(stream, self.member.file_size)
        except ImageError:
            raise
        except (*DAMAGED, NotImplementedError, RuntimeError) as error:  # RuntimeError: a decompressor that is missing
            raise ImageError(f"damaged in its archive ({' '.join(str(error).split())})") from None


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


def read_image(stream: BinaryIO, size: int) -> bytes:
    """The bytes of a member that starts like an image; of anything else only the start, for its reader to refuse."""
    if size > MAX_BYTES:
        raise ImageError(f"too large ({size / 2**20:.0f} MiB, at most {MAX_BYTES / 2**20:.0f})")
    head = stream.read(min(size, HEAD_BYTES))
    return head + stream.read(size - len(head)) if looks_like_image(head) else head


def find_in_tar(name: str, left_out: Counter, file: BinaryIO | None) -> Iterator[Input]:
    with file or open(name, "rb") as stream:
        file_size = stream.seek(0, os.SEEK_END)
        head = stream.seek(0) or stream.read(6)
        stream.seek(0)
        opener = next((opener for mark, opener in DECOMPRESSORS.items() if head.startswith(mark)), None)
        limit = MAX_RATIO * file_size + MAX_HARMLESS if opener else None
        archive = tarfile.TarFile(fileobj=BoundedReads(opener(stream) if opener else stream))
        is_plain = opener is None and file is None
        while member := archive.next():
            archive.members.clear()  # it keeps a list of all of them, which nothing here needs
            end = member.offset_data + member.size
            if limit and end > limit:
                raise tarfile.ReadError(f"{file_size:,} bytes that claim to unpack to {end:,}")
            if member.isdir() or is_hidden(member.name, left_out):
                continue
            if not member.isreg() or member.issparse():
                left_out["link or device"] += 1
            elif is_wanted(member.name, left_out):
                place = FilePart(os.path.abspath(name), member.offset_data, member.size) if is_plain else None
                yield f"{name}/{member.name}", place or read_tar_member(archive, member)


def read_tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | ImageError:
    """Its bytes, now: a compressed archive can be read from front to back only."""
    try:
        return read_image(archive.extractfile(member), member.size)
    except ImageError as error:
        return error


class BoundedReads:
    """A file for tarfile that refuses to read a header of gigabytes into memory, such as a hostile long name."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_BYTES + HEAD_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def is_hidden(name: str, left_out: Counter) -> bool:
    """Whether a part of a member's name starts with a dot, or macOS put it there; counted if so."""
    parts = [part for part in name.split("/") if part not in (".", "..")]
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    left_out["hidden"] += hidden
    return hidden
