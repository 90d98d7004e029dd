"""Images that a table names or holds: a column of paths, addresses, base64 or bytes, in any format of
data_prep/pipeline/tables.py.

Paths are relative to the table, or to --image_root. A column may hold Hugging Face's {"bytes", "path"}.
"""

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from app.errors import UserError, one_line
from app.images import ImageError
from app.titled import TitledImage
from data_prep.pipeline.image_cells import IMAGE_COLUMNS, read_cell, usual_column
from data_prep.pipeline.tables import Record, Table, open_table, text_of
from inference.readers.base import InputError, Lookup, NamedImage, NamedPlace, OpenFile, Reader
from inference.readers.references import find_image

MAX_NAMES_LENGTH = 300


class TableReader(Reader):
    """One image per row, in the order of the table. A row that cannot be read is a row with that error."""

    empty_message = "a table without rows"

    def __init__(self, argument: str, lookup: Lookup, open_file: OpenFile | None = None) -> None:
        super().__init__(argument)
        self.lookup = lookup
        self.open_file = open_file

    def check(self) -> None:
        _ = self.columns

    def as_table(self) -> "TableReader":
        return self

    def count(self) -> int:
        """Raises InputError."""
        return self.table.count() or 1

    def find(self) -> Iterator[NamedImage]:
        for record in self.records(self.columns):
            yield self.image_of(record)

    def image_of(self, record: Record) -> NamedImage:
        """record: with the `columns` alone."""
        row = f"{self.argument}#{record.number}"
        if record.problem:
            return row, ImageError(record.problem)
        name, image = self.image_in(record.values[0], row)
        return name, TitledImage(image, title_in(record.values[-1])) if self.lookup.title_column else image

    def records(self, columns: list[int] | None = None) -> Iterator[Record]:
        """The rows, one for each image. Raises InputError where the table can no longer be read."""
        try:
            yield from self.table.records(columns)
        except (UserError, OSError, UnicodeError) as error:
            raise self._unreadable(error) from None

    @cached_property
    def table(self) -> Table:
        """Raises InputError."""
        if not self.open_file and not os.path.isfile(self.argument):
            raise InputError(f"there is no table {self.argument!r}")
        try:
            table = open_table(self.argument, self.lookup.encoding, open_file=self.open_file)
        except (UserError, OSError, UnicodeError) as error:
            raise self._unreadable(error) from None
        if table.encoding and not self.lookup.encoding:
            self.notes.append(f"not UTF-8, read as {table.encoding}; --encoding names another")
        return table

    @cached_property
    def columns(self) -> list[int]:
        """The positions of what is read of a row: the image and, with --title_column, the title. Raises InputError."""
        title = self.lookup.title_column
        if title is None:
            return [self.column]
        if title not in self.table.header:
            choice = ", ".join(self.table.header)[:MAX_NAMES_LENGTH]
            raise InputError(
                f"the table {self.argument!r} has no column {title!r}: give --title_column, one of {choice}"
            )
        return [self.column, self.table.header.index(title)]

    @cached_property
    def column(self) -> int:
        """The position of the column with the images. Raises InputError."""
        names = self.table.header
        wanted = self.lookup.image_column
        if wanted in names:
            return names.index(wanted)
        if not wanted and (usual := usual_column(names, IMAGE_COLUMNS)) is not None:
            return usual
        missing = repr(wanted) if wanted else "with a usual name, such as image or path"
        choice = ", ".join(names)[:MAX_NAMES_LENGTH]
        raise InputError(f"the table {self.argument!r} has no column {missing}: give --image_column, one of {choice}")

    def image_in(self, value: Any, row: str) -> NamedPlace:
        """row: the name of an image that has no other."""
        name, embedded = read_cell(value)
        if embedded is not None:
            return name or row, embedded
        return find_image(name, self._folders(), self.lookup, row, "table")

    def _folders(self) -> list[str]:
        if self.lookup.image_root is not None:
            return [self.lookup.image_root]
        return [] if self.open_file else [os.path.dirname(self.argument)]

    def _unreadable(self, error: Exception) -> InputError:
        if isinstance(error, InputError):
            return error
        return InputError(f"the table {self.argument!r} cannot be read: {one_line(error)}")


def title_in(value: Any) -> str | None:
    """The title in a cell; None in one without text."""
    if value is None or isinstance(value, (bytes, dict, list)):
        return None
    return text_of(value)
