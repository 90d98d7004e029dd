"""Images at a path of this machine: a file, a folder, or a container, which has a reader of its own."""

import os
from collections.abc import Iterator
from functools import partial

from app.images import HEAD_BYTES, ImageError, check_file
from app.system_files import is_left_behind
from inference.readers.base import Lookup, NamedImage, OpenFile, Reader

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx", ".xlsm", ".parquet", ".jsonl", ".ndjson", ".json")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class FileReader(Reader):
    """One image."""

    def find(self) -> Iterator[NamedImage]:
        yield self.argument, self.argument

    def count(self) -> int:
        return 1


class FolderReader(Reader):
    """All images below a folder, sorted, so that two runs agree; a file with an odd name is known by its content.

    Hidden files, linked folders and what systems leave behind (app/system_files.py) are left out.

    A folder that is unreadable or has no images is a row with that error.
    """

    empty_message = "a folder without images"

    def find(self) -> Iterator[NamedImage]:
        unreadable: list[OSError] = []
        for parent, folders, names in os.walk(self.argument, onerror=unreadable.append):
            self.left_out["hidden"] += sum(map(is_left_behind, (*folders, *names)))
            folders[:] = sorted(name for name in folders if not is_left_behind(name))
            self.left_out["linked folder"] += sum(os.path.islink(os.path.join(parent, name)) for name in folders)
            for name in sorted(name for name in names if not is_left_behind(name)):
                path = os.path.join(parent, name)
                if self.takes(name, partial(first_bytes, path)):
                    yield path, path
        for error in unreadable:
            yield error.filename, ImageError(f"folder cannot be read ({error.strerror})")


def first_bytes(path: str) -> bytes:
    """Raises ImageError for what is not a file, OSError for one that cannot be read."""
    if not os.path.getsize(path):
        return b""
    check_file(path)
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)


def local_reader(path: str, lookup: Lookup) -> Reader:
    if os.path.isdir(path):
        return FolderReader(path)
    return container_reader(path, lookup) or FileReader(path)


def container_reader(path: str, lookup: Lookup, open_file: OpenFile | None = None) -> Reader | None:
    """The reader for a table or an archive, known by the ending of its name; None for any other file."""
    name = path.lower()
    if name.endswith(TABLE_SUFFIXES):
        from inference.readers.table import TableReader

        return TableReader(path, lookup, open_file)
    if name.endswith(ARCHIVE_SUFFIXES):
        from inference.readers.archive import ZipReader
        from inference.readers.tar_archive import TarReader

        return ZipReader(path, open_file) if name.endswith(".zip") else TarReader(path, open_file)
    return None
