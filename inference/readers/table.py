"""Images that a table names: .csv with a column of paths, .parquet with a column of paths or of bytes.

Paths are relative to the table. What a table names is never fetched from a network: a row with the address of a web
page is a row with an error. A column of bytes may be binary or Hugging Face's {"bytes", "path"}.
"""

import os
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import one_line
from app.images import ImageError
from data_prep.pipeline.tables import SEPARATORS, find_encoding, read_header, read_table
from inference.readers.base import InputError, NamedImage, OpenFile, Reader

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

USUAL_COLUMNS = ("image_path", "image", "path", "file", "file_name", "filename", "image_file", "picture")
ROWS_PER_READ = 16  # images of a parquet file in memory at the same time, beside the batches
READ_BYTES = 2**20
MAX_NAMES_LENGTH = 300


class TableReader(Reader):
    """One image per row, in the order of the table."""

    def __init__(self, argument: str, image_column: str | None, open_file: OpenFile | None = None) -> None:
        super().__init__(argument)
        self.image_column = image_column
        self.open_file = open_file

    def check(self) -> None:
        _ = self.column

    @cached_property
    def column(self) -> str:
        """The column with the images. Raises InputError where the table cannot be read or has no such column."""
        if not self.open_file and not os.path.isfile(self.argument):
            raise InputError(f"there is no table {self.argument!r}")
        try:
            names = self.column_names()
        except (ValueError, OSError) as error:  # pyarrow's errors are both
            raise self._unreadable(error) from None
        for name in [self.image_column] if self.image_column else USUAL_COLUMNS:
            if name in names:
                return name
        missing = repr(self.image_column) if self.image_column else "with a usual name, such as image or path"
        choice = ", ".join(names)[:MAX_NAMES_LENGTH]
        raise InputError(f"the table {self.argument!r} has no column {missing}: give --image_column, one of {choice}")

    @abstractmethod
    def column_names(self) -> list[str]: ...

    def _unreadable(self, error: Exception) -> InputError:
        if isinstance(error, InputError):
            return error
        return InputError(f"the table {self.argument!r} cannot be read: {one_line(error)}")


class CsvReader(TableReader):
    def column_names(self) -> list[str]:
        path = Path(self.argument)
        encoding = find_encoding(path)
        return max((read_header(path, separator, encoding) for separator in SEPARATORS), key=len)

    def find(self) -> Iterator[NamedImage]:
        for line in read_table(Path(self.argument), [self.column]):
            row = f"{self.argument}#{line.number}"
            if line.problem:
                yield row, ImageError(line.problem)
            else:
                yield image_at(self.argument, line.cells[self.column], row)


class ParquetReader(TableReader):
    def column_names(self) -> list[str]:
        with self._opened() as table:
            return list(table.schema_arrow.names)

    def count(self) -> int:
        """From the table's metadata. Raises InputError."""
        self.check()
        with self._opened() as table:
            return int(table.metadata.num_rows)

    def find(self) -> Iterator[NamedImage]:
        try:
            for number, value in enumerate(self._values(self.column), start=1):
                yield from_cell(self.argument, value, f"{self.argument}#{number}")
        except (ValueError, OSError) as error:  # pyarrow's errors are both
            raise self._unreadable(error) from None

    def _values(self, column: str) -> Iterator[object]:
        with self._opened() as table:
            for batch in table.iter_batches(ROWS_PER_READ, columns=[column]):
                yield from (value.as_py() for value in batch.column(0))

    @contextmanager
    def _opened(self) -> Iterator["ParquetFile"]:
        """The table, which is read as it goes instead of in whole columns."""
        try:
            import pyarrow.parquet
        except ImportError:
            raise InputError("parquet files need the package pyarrow: pip install pyarrow") from None
        with self.open_file(self.argument) if self.open_file else nullcontext(self.argument) as place:
            yield pyarrow.parquet.ParquetFile(place, buffer_size=READ_BYTES, pre_buffer=False)


def from_cell(table: str, value: object, row: str) -> NamedImage:
    """row: the name of an image that has no other."""
    if isinstance(value, dict):
        name, value = value.get("path"), value.get("bytes") or value.get("path")
        row = name if isinstance(name, str) and name else row
    if isinstance(value, bytes):
        return row, value
    if value is None or isinstance(value, str):
        return image_at(table, value or "", row)
    return row, ImageError(f"a {type(value).__name__} in the column of images; it must hold paths or bytes")


def image_at(table: str, value: str, row: str) -> NamedImage:
    """The image at a path in a table, relative to its folder. row: the name to show where there is no path."""
    if not value:
        return row, ImageError("no path in this row")
    if "://" in value:
        return value, ImageError("an address in a table is not fetched: download the images first")
    if "://" in table:
        return value, ImageError("a path in a table on a network cannot be followed: put the bytes into the table")
    path = os.path.join(os.path.dirname(table), value)
    return path, path
