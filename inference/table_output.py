"""The rows of a table with the answers behind them: somebody with a sheet of products gets the sheet back.

    save_joined(options, counts, journal.rows(), Path("answers.xlsx"))

The columns of the input come first, in its order, then those of the answer; one whose name is taken gets `_predicted`.
Where other images are among the inputs, the answer begins with `image_path` and their rows have no other cells. Of
several tables each row has the columns of its own.
"""

import csv
import datetime
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.files import replacing
from app.prediction import CSV_COLUMNS, Prediction
from inference.journal import Row
from inference.readers.base import InputError, NamedImage, Reader
from inference.writers import (
    NAME_COLUMN,
    answer_schema,
    as_flat_object,
    as_object,
    check_parquet,
    open_text,
    safe_cell,
    storable,
)

if TYPE_CHECKING:
    from inference.options import PredictOptions
    from inference.readers.table import TableReader

FORMATS = ("csv", "xlsx", "parquet")  # those that hold the columns of the input
TAKEN_SUFFIX = "_predicted"
EXCEL_ROWS, EXCEL_CHARACTERS = 1_048_576, 32_767  # of a sheet, of a cell
ROWS_PER_GROUP, BYTES_PER_GROUP = 10_000, 64 * 2**20  # of a Parquet file; one group is in memory at a time

Cells = list[Any]


def has_table(readers: Iterable[Reader]) -> bool:
    return any(reader.as_table() for reader in readers)


def counted(readers: Sequence[Reader], counts: list[int]) -> Iterator[NamedImage]:
    """The images of all readers; counts: how many each has yielded."""
    counts[:] = [0] * len(readers)
    for number, reader in enumerate(readers):
        for image in reader:
            counts[number] += 1
            yield image


def save_joined(options: "PredictOptions", counts: Sequence[int], rows: Iterator[Row], path: Path) -> None:
    """counts: images per reader, from `counted`. Raises InputError where an input is no longer what it was."""
    answer = CSV_COLUMNS if options.format != "parquet" else list(as_object(EMPTY_ROW, 1))[1:]
    columns = Columns(options.readers, [*answer, *options.extra_columns])
    joined = join(options.readers, counts, rows, columns)
    with replacing(path) as partial:
        if options.format == "parquet":
            write_parquet(joined, columns, partial, options)
        elif options.format == "xlsx":
            write_excel(joined, columns, partial)
        else:
            write_csv(joined, columns, partial)


EMPTY_ROW: Row = ("", Prediction())


class Columns:
    """names: of the input, then of the answer. places: for each table, where its columns stand."""

    def __init__(self, readers: Sequence[Reader], answer: list[str]) -> None:
        self.tables: list[TableReader] = [table for reader in readers if (table := reader.as_table())]
        self.with_name = len(self.tables) < len(readers)
        self.input: list[str] = []
        self.places: dict[int, list[int]] = {}
        for table in self.tables:
            headers = unique(table.table.header)
            self.input += [name for name in headers if name not in self.input]
            self.places[id(table)] = [self.input.index(name) for name in headers]
        self.answer_keys = [NAME_COLUMN, *answer] if self.with_name else answer
        self.names = [*self.input, *(self._free(name) for name in self.answer_keys)]

    def _free(self, name: str) -> str:
        lowered = {taken.lower() for taken in self.input}
        while name.lower() in lowered:
            name += TAKEN_SUFFIX
        return name


def unique(header: Sequence[str]) -> list[str]:
    """The names of one table, a repeated one with its number."""
    names: list[str] = []
    for name in header:
        new, number = name, 1
        while new in names:
            number += 1
            new = f"{name}_{number}"
        names.append(new)
    return names


def join(
    readers: Sequence[Reader], counts: Sequence[int], rows: Iterator[Row], columns: Columns
) -> Iterator[tuple[Cells, Row]]:
    """(cells of the input, row) for each row."""
    blank: Cells = [None] * len(columns.input)
    for reader, count in zip_longest(readers, counts, fillvalue=0):
        assert isinstance(reader, Reader)
        table = reader.as_table()
        inputs = cells_of(table, columns) if table else (blank for _ in range(count))
        is_empty = True
        for cells in inputs:
            is_empty = False
            if (row := next(rows, None)) is None:
                raise changed(reader)
            yield cells, row
        if table and is_empty and (row := next(rows, None)):  # the one row that says that there is none
            yield blank, row
    if next(rows, None) is not None:
        raise changed(readers[-1])


def changed(reader: Reader) -> InputError:
    return InputError(f"{reader.argument} is not what it was when its images were read: restore it, then --resume")


def cells_of(table: "TableReader", columns: Columns) -> Iterator[Cells]:
    places = columns.places[id(table)]
    for record in table.records():
        cells: Cells = [None] * len(columns.input)
        for place, value in zip(places, record.values, strict=False):
            cells[place] = value
        yield cells


# --- the three formats -----------------------------------------------------------------------------------------------


def write_csv(joined: Iterable[tuple[Cells, Row]], columns: Columns, path: Path) -> None:
    with open_text(path) as output:
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow(map(safe_cell, columns.names))
        for cells, row in joined:
            writer.writerow(
                [*(safe_cell(as_text(value)) for value in cells), *map(safe_cell, answer_cells(columns, row))]
            )


def answer_cells(columns: Columns, row: Row) -> Cells:
    name, prediction = row
    cells = {NAME_COLUMN: name, **prediction.to_csv_row()}
    return [cells.get(key) for key in columns.answer_keys]


def as_text(value: Any) -> Any:
    """A cell of the input for a CSV: text exactly as it was; of an embedded image the path."""
    if isinstance(value, str):
        return value
    from data_prep.pipeline.tables import text_of

    return text_of(value)


def write_excel(joined: Iterable[tuple[Cells, Row]], columns: Columns, path: Path) -> None:
    """Text stays text: a cell that starts with = is not a formula there."""
    import openpyxl
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("answers")

    def cell(value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, (datetime.datetime, datetime.date)) and not getattr(value, "tzinfo", None):
            return value
        text = ILLEGAL_CHARACTERS_RE.sub("", as_text(value))
        if len(text) > EXCEL_CHARACTERS:
            text = f"({len(text):,} characters, more than a cell of Excel holds)"
        made = WriteOnlyCell(sheet, value=text)
        made.data_type = "s"
        return made

    sheet.append([cell(name) for name in columns.names])
    for number, (cells, row) in enumerate(joined, start=2):
        if number > EXCEL_ROWS:
            raise InputError(
                f"a sheet of Excel has at most {EXCEL_ROWS:,} rows: give --output a name that ends with .csv"
            )
        sheet.append([cell(value) for value in (*cells, *answer_cells(columns, row))])
    book.save(path)


def write_parquet(joined: Iterable[tuple[Cells, Row]], columns: Columns, path: Path, options: "PredictOptions") -> None:
    """The input's columns with their own types if it is one Parquet table, else as text."""
    check_parquet()
    import pyarrow as pa
    import pyarrow.parquet as pq

    answer = answer_schema(options.extra_columns)
    schema_of_input = getattr(columns.tables[0].table, "schema", None) if len(columns.tables) == 1 else None
    types = schema_of_input.types if schema_of_input else [pa.string()] * len(columns.input)
    types = [*types, *(answer.field(key).type for key in columns.answer_keys)]
    schema = pa.schema(list(zip(columns.names, types, strict=True)))

    def values(cells: Cells, row: Row) -> Cells:
        answers = as_flat_object((storable(row[0]), row[1]), options.top_k)
        own = cells if schema_of_input else [None if value is None else storable(as_text(value)) for value in cells]
        return [*own, *(answers.get(key) for key in columns.answer_keys)]

    with pq.ParquetWriter(path, schema) as writer:
        for group in groups(values(*pair) for pair in joined):
            arrays = [pa.array(column, type) for column, type in zip(zip(*group, strict=True), types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def groups(rows: Iterable[Cells]) -> Iterator[list[Cells]]:
    """Rows that fit into memory together, images among their cells."""
    group: list[Cells] = []
    num_bytes = 0
    for row in rows:
        group.append(row)
        for value in row:
            content = value.get("bytes") if isinstance(value, dict) else value
            num_bytes += len(content) if isinstance(content, (bytes, str)) else 0
        if len(group) >= ROWS_PER_GROUP or num_bytes >= BYTES_PER_GROUP:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group
