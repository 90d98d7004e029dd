"""Images at a path of this machine: a file, a folder, or a container, which has a reader of its own."""

import os
from collections.abc import Iterator

from app.images import ImageError
from inference.readers.base import NamedImage, OpenFile, Reader

TABLE_SUFFIXES = (".csv", ".parquet")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class FileReader(Reader):
    """One image."""

    def find(self) -> Iterator[NamedImage]:
        yield self.argument, self.argument

    def count(self) -> int:
        return 1


class FolderReader(Reader):
    """All images below a folder, sorted, so that two runs agree. Hidden files and linked folders are left out.

    A folder that is unreadable or has no images is a row with that error.
    """

    empty_message = "a folder without images"

    def find(self) -> Iterator[NamedImage]:
        unreadable: list[OSError] = []
        for parent, folders, names in os.walk(self.argument, onerror=unreadable.append):
            self.left_out["hidden"] += sum(name.startswith(".") for name in (*folders, *names))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            self.left_out["linked folder"] += sum(os.path.islink(os.path.join(parent, name)) for name in folders)
            for name in sorted(name for name in names if not name.startswith(".")):
                if self.takes(name):
                    yield (path := os.path.join(parent, name)), path
        for error in unreadable:
            yield error.filename, ImageError(f"folder cannot be read ({error.strerror})")


def local_reader(path: str, image_column: str | None) -> Reader:
    if os.path.isdir(path):
        return FolderReader(path)
    return container_reader(path, image_column) or FileReader(path)


def container_reader(path: str, image_column: str | None, open_file: OpenFile | None = None) -> Reader | None:
    """The reader for a table or an archive, known by the ending of its name; None for any other file."""
    name = path.lower()
    if name.endswith(TABLE_SUFFIXES):
        from inference.readers.table import CsvReader, ParquetReader

        is_csv = name.endswith(".csv")
        return CsvReader(path, image_column) if is_csv else ParquetReader(path, image_column, open_file)
    if name.endswith(ARCHIVE_SUFFIXES):
        from inference.readers.archive import TarReader, ZipReader

        return ZipReader(path, open_file) if name.endswith(".zip") else TarReader(path, open_file)
    return None
