"""CSV files as people have them: UTF-8, UTF-16 or Windows text, any usual separator, damaged lines, huge cells.

for line in read_table(Path("catalogue.csv"), ["file", "category"]):
    print(line.number, line.problem or line.cells["category"])
"""

import codecs
import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import UserError

SEPARATORS = ",;\t|"
MAX_TABLE_BYTES = 500_000_000
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
ZIP_MARK = b"PK\x03\x04"
CHARACTERS_AT_ONCE = 1_000_000


@dataclass(slots=True)
class Line:
    """One line of the table. number: where it starts in the file, from 1. problem: why it has no cells."""

    number: int
    cells: dict[str, str] = field(default_factory=dict)
    problem: str = ""


def read_table(path: Path, needed: Sequence[str], encoding: str = "") -> Iterator[Line]:
    """The lines below the header, one at a time. A damaged line fails only itself.

    encoding: detected when empty. Raises UserError when the file is missing, is not text in a known encoding, or
    lacks a needed column.
    """
    encoding = encoding or find_encoding(path)
    separator = find_separator(path, needed, encoding)
    with open(path, newline="", encoding=encoding) as stream:
        reader = csv.reader(stream, delimiter=separator)
        header = [name.strip() for name in next(reader)]
        while True:
            start = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Line(start, problem=f"not a line of a CSV file: {error}, lines {start} to {reader.line_num}")
                continue
            if any(cells[len(header) :]):
                yield Line(start, problem=f"too many cells: {len(cells)} instead of {len(header)}; is a quote missing?")
            elif any(cells):
                cells += [""] * (len(header) - len(cells))
                yield Line(start, dict(zip(header, map(str.strip, cells), strict=False)))


def find_encoding(path: Path, named: str = "") -> str:
    """The encoding in which the whole file can be read: the named one, or utf-16 (if marked), utf-8-sig or cp1252."""
    start = read_start(path)
    if start.startswith(ZIP_MARK):
        raise UserError(f"{path} is a zip file or an Excel workbook; save the table as CSV (UTF-8)")
    guesses = ["utf-16"] if start.startswith(UTF16_MARKS) else ["utf-8-sig", "cp1252"]
    for encoding in [named] if named else guesses:
        if is_readable(path, encoding):
            return encoding
    tried = named or "UTF-8, marked UTF-16 or Windows-1252"
    raise UserError(f"{path} is not {tried} text; save it as UTF-8, or name its encoding with --encoding")


def read_start(path: Path) -> bytes:
    """The first bytes of a file that can be a table at all."""
    if not path.is_file():
        raise UserError(f"no file {path}")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise UserError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_TABLE_BYTES:,} are read")
    with open(path, "rb") as stream:
        return stream.read(4)


def is_readable(path: Path, encoding: str) -> bool:
    """Whether every byte decodes, and to text: a NUL means another encoding or no text."""
    try:
        with open(path, encoding=encoding) as stream:
            while characters := stream.read(CHARACTERS_AT_ONCE):
                if "\0" in characters:
                    return False
    except UnicodeError:
        return False
    except LookupError as error:
        raise UserError(f"unknown encoding {encoding!r}; usual ones: utf-8, utf-16, cp1252, latin-1") from error
    return True


def find_separator(path: Path, needed: Sequence[str], encoding: str) -> str:
    """The separator with which the header holds every needed column exactly once."""
    headers = {separator: read_header(path, separator, encoding) for separator in SEPARATORS}
    for separator, header in headers.items():
        if set(needed) <= set(header):
            twice = [name for name in needed if Counter(header)[name] > 1]
            if twice:
                raise UserError(f"{path} has the column {twice[0]!r} twice; rename one")
            return separator
    header = max(headers.values(), key=len)
    missing = [name for name in needed if name not in header]
    raise UserError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(header)[:500] or 'no header'}")


def read_header(path: Path, separator: str, encoding: str) -> list[str]:
    """The names in the first line, empty when there is none."""
    with open(path, newline="", encoding=encoding) as stream:
        try:
            return [name.strip() for name in next(csv.reader(stream, delimiter=separator), [])]
        except csv.Error:
            return []


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A CSV file in UTF-8, with a comma between cells and a plain newline after each line."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
