"""Tables as people have them, for every command and for predict.py: CSV, TSV, .xlsx, JSON lines, Parquet.

for line in read_table(Path("catalogue.csv"), ["file", "category"]):
    print(line.number, line.problem or line.cells["category"])

A table is known by its content. What the formats have in common is `Table`; text_tables.py has CSV and JSON, whatever
their encoding and separator, excel_tables.py and parquet_tables.py the others. Nothing here fetches an address.
"""

import csv
import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from app.errors import UserError
from data_prep.pipeline.table import Record, Table
from data_prep.pipeline.text_tables import CsvTable, JsonTable, find_encoding, read_start

__all__ = [
    "SEPARATORS",
    "Line",
    "Record",
    "Table",
    "check_header",
    "find_encoding",
    "open_table",
    "read_table",
    "text_of",
    "write_table",
]

SEPARATORS = ",;\t|"
MAX_COLUMNS = 16_384  # as many as a sheet of Excel has
ZIP_MARK, OLD_EXCEL_MARK, PARQUET_MARK = b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1"
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")


@dataclass(slots=True)
class Line:
    """One line of a table. number: where it starts in the file, from 1. problem: why it has no cells."""

    number: int
    cells: dict[str, str] = field(default_factory=dict)
    problem: str = ""


def read_table(path: Path, needed: Sequence[str], encoding: str = "") -> Iterator[Line]:
    """The lines below the header as text, one at a time. A damaged line fails only itself.

    encoding: detected when empty. Raises UserError when the file is missing, is not a table, or lacks a needed column.
    """
    table = open_table(path, encoding, needed)
    for record in table.records():
        if record.problem:
            yield Line(record.number, problem=record.problem)
        elif any(cells := list(map(text_of, record.values))):
            yield Line(record.number, dict(zip(table.header, cells, strict=True)))


def open_table(
    path: Path | str,
    encoding: str = "",
    needed: Sequence[str] = (),
    open_file: Callable[[str], BinaryIO] | None = None,
) -> Table:
    """The table at a path, its header read. Raises UserError, also where a needed column is missing or there twice.

    open_file: how to open a Parquet table that is not on this machine.
    """
    table = table_of_content(path, encoding, needed, open_file)
    if len(table.header) > MAX_COLUMNS:
        raise UserError(f"{path} has {len(table.header):,} columns; at most {MAX_COLUMNS:,} are read")
    check_header(table, needed)
    return table


def check_header(table: Table, needed: Sequence[str]) -> None:
    """Raises UserError where a needed column is missing or there twice."""
    missing = [name for name in needed if name not in table.header]
    if missing:
        has = ", ".join(table.header)[:500] or "no header"
        raise UserError(f"{table.path} lacks the columns {', '.join(missing)}; it has {has}")
    twice = [name for name in needed if Counter(table.header)[name] > 1]
    if twice:
        raise UserError(f"{table.path} has the column {twice[0]!r} twice; rename one")


def table_of_content(
    path: Path | str, encoding: str, needed: Sequence[str], open_file: Callable[[str], BinaryIO] | None
) -> Table:
    start = PARQUET_MARK if open_file else read_start(Path(path))
    is_known = start.startswith((ZIP_MARK, OLD_EXCEL_MARK))
    if start.startswith(PARQUET_MARK) or (str(path).lower().endswith(".parquet") and not is_known):
        from data_prep.pipeline.parquet_tables import ParquetTable  # pyarrow takes 0.3 s to import

        return ParquetTable(path, open_file)
    path = Path(path)
    if start.startswith(ZIP_MARK):
        from data_prep.pipeline.excel_tables import ExcelTable

        return ExcelTable(path)
    if start.startswith(OLD_EXCEL_MARK):
        raise UserError(f"{path} is a workbook of an old Excel (.xls); save it as .xlsx or as CSV (UTF-8)")
    if path.suffix.lower() in JSON_SUFFIXES or start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b'{"', b'[{"')):
        return JsonTable(path, encoding)
    return CsvTable(path, find_encoding(path, encoding), SEPARATORS, needed)


def text_of(value: Any) -> str:
    """A cell as text: numbers as a person writes them, dates by ISO 8601, of an embedded image its path."""
    if isinstance(value, str):
        return value.strip()
    if value is None or isinstance(value, bytes):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # spreadsheets and pandas know only floats where a cell is empty
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, dict) and "path" in value:
        return str(value["path"] or "")
    return str(value)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A CSV file in UTF-8, with a comma between cells and a plain newline after each line."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
