"""Images in .tar, .tar.gz, .tar.bz2 and .tar.xz. Those of a plain tar are read when their turn comes, those of a
compressed one in their order, as they are found."""

import os
import tarfile
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from app.images import HEAD_BYTES, ImageError
from data_prep.pipeline.tar_archive import FilePart, LinkedMembers, OpenTar, read_image
from inference.readers.archive import ArchiveReader
from inference.readers.base import NamedImage, OpenFile, Source


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
            return part.read if self.takes(member.name, part.first_bytes) else None
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
            start = self._linked.first_bytes(member.linkname)
        except ImageError as error:
            return error if self.takes(member.name, lambda: b"") else None
        # Read when its turn comes: thousands of links may lead to one large image.
        return partial(self._linked.read, member.linkname) if self.takes(member.name, lambda: start) else None
