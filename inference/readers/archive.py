"""Images in archives, read in place: nothing is unpacked to disk. This file has .zip, tar_archive.py .tar.

The name of a member is only shown, never used as a path. A bomb fails only its own row: no more than MAX_BYTES of a
member are unpacked, and only if it starts like an image. Members are read when their turn comes, by whoever needs them,
in another process too.
"""

import os
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from app.errors import one_line
from app.images import HEAD_BYTES, MAX_BYTES, ImageError
from app.system_files import is_below_left_behind
from app.zip_archive import Member, ZipLimitError, is_link, open_zip
from data_prep.pipeline.tar_archive import DAMAGED_TAR, read_image
from inference.readers.base import NamedImage, OpenFile, Reader


class ArchiveReader(Reader):
    """The images in an archive, in its order. A damaged archive is a row with that error, after what was readable."""

    empty_message = "an archive without images"

    def __init__(self, argument: str, open_file: OpenFile | None = None) -> None:
        super().__init__(argument)
        self.open_file = open_file

    def find(self) -> Iterator[NamedImage]:
        if not self.open_file and os.path.exists(self.argument) and not os.path.isfile(self.argument):
            yield self.argument, ImageError("not a regular file")  # opening a named pipe would wait forever
            return
        try:
            yield from self.members()
        except FileNotFoundError:
            yield self.argument, ImageError("no such file")
        except ZipLimitError as error:
            yield self.argument, ImageError(f"too large ({error})", "too_large")
        except DAMAGED_TAR as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            yield self.argument, ImageError(f"damaged archive ({reason}); what follows cannot be read")

    @abstractmethod
    def members(self) -> Iterator[NamedImage]:
        """Like `find`, but raises what the standard library raises on a damaged archive."""

    def is_hidden(self, name: str) -> bool:
        """Whether a member is hidden or what a system left behind; counted if so."""
        hidden = is_below_left_behind(name)
        self.left_out["hidden"] += hidden
        return hidden


class ZipReader(ArchiveReader):
    def members(self) -> Iterator[NamedImage]:
        place = self.argument if self.open_file else os.path.abspath(self.argument)
        archive = open_zip(place, self.open_file)
        self.notes = archive.notes
        for member in archive.members:
            if self.is_hidden(member.filename):
                continue
            if is_link(member):
                self.left_out["link or device"] += 1
                continue
            source = ZipMember(place, member, self.open_file)
            if self.takes(member.filename, source.first_bytes):
                yield f"{self.argument}/{member.filename}", source


@dataclass(frozen=True)
class ZipMember:
    """Called, it reads the member's bytes; several threads may read the same archive. Raises ImageError."""

    place: str
    member: Member
    open_file: OpenFile | None

    def __call__(self) -> bytes:
        with open_zip(self.place, self.open_file).open(self.member, MAX_BYTES) as stream:
            return read_image(stream, self.member.file_size)

    def first_bytes(self) -> bytes:
        """Raises ImageError."""
        if not self.member.file_size:
            return b""
        with open_zip(self.place, self.open_file).open(self.member, MAX_BYTES) as stream:
            return stream.read(HEAD_BYTES)
