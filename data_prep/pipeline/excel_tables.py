"""Tables in .xlsx: the first sheet, through openpyxl's read-only mode, once the size of the workbook is checked."""

import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from app.errors import UserError, one_line
from app.zip_archive import ZipError, grows_too_much, open_zip
from data_prep.pipeline.table import Record, Table, fit, pick

MAX_UNPACKED_BYTES = 500_000_000
WORKBOOK = "xl/workbook.xml"
EXCEL_SUFFIXES = (".xlsx", ".xlsm")


class ExcelTable(Table):
    """The values as Excel last showed them: formulas are never computed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        check_workbook(path)
        first = next(self._rows(), (1, []))
        self._header_row, names = first
        while names and names[-1] is None:
            names.pop()
        self.header = ["" if name is None else str(name).strip() for name in names]

    def records(self, columns: Sequence[int] | None = None) -> Iterator[Record]:
        for number, values in self._rows():
            if number > self._header_row:
                yield Record(number, pick(fit(values, len(self.header)), columns))

    def _rows(self) -> Iterator[tuple[int, list[Any]]]:
        """The rows that are not empty, with their numbers."""
        try:
            import openpyxl
        except ImportError:
            raise UserError("workbooks need the package openpyxl: pip install openpyxl") from None
        try:
            with warnings.catch_warnings(action="ignore"):  # on styles and extensions, which are not read
                book = openpyxl.load_workbook(self.path, read_only=True, data_only=True)
                sheet = book.worksheets[0]
                sheet.reset_dimensions()  # what the sheet states about its size may be wrong
                for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
                    if any(value is not None for value in row):
                        yield number, list(row)
                book.close()
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, SyntaxError) as error:
            raise self._damaged(error) from None
        except zipfile.BadZipFile as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> UserError:
        return UserError(f"{self.path} is a damaged workbook ({one_line(error, 100)}); save it again or as CSV (UTF-8)")


def check_workbook(path: Path) -> None:
    """Raises UserError for a zip that is not a workbook, and for one that unpacks to too much."""
    try:
        members = open_zip(path).members
    except ZipError as error:
        raise UserError(f"{path} is a damaged workbook or zip ({error}); save the table as CSV (UTF-8)") from None
    if not any(member.filename == WORKBOOK for member in members):
        raise UserError(f"{path} is a zip file and not a table; unpack it, or give it where an archive is wanted")
    if any(map(grows_too_much, members)):
        raise UserError(f"{path} is not read: parts of it claim to unpack to far more than sheets do; save it as CSV")
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_UNPACKED_BYTES:
        raise UserError(
            f"{path} unpacks to {unpacked:,} bytes; at most {MAX_UNPACKED_BYTES:,} are read: save it as CSV"
        )
