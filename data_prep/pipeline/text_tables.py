"""Tables that are text: CSV with any separator, JSON lines; UTF-8, UTF-16, or an encoding that is named or guessed."""

import codecs
import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.errors import UserError
from app.text_encoding import guess_encoding
from data_prep.pipeline.table import Record, Table, fit, pick

MAX_TABLE_BYTES = 500_000_000
MAX_CELL = 131_072  # characters over several lines: more means that a quote is missing; one line may be longer
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SURE = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")  # encodings that are recognised and not guessed
CHARACTERS_AT_ONCE = 1_000_000
SAMPLE_BYTES = 200_000
CONTROLS = re.compile(rb"[\x01-\x08\x0e-\x19\x7f]")  # in no text, so nothing is guessed for what has them
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # the first line of a CSV for Excel


class CsvTable(Table):
    """encoding: how it is read. A line `sep=;` names the separator; else it is the one that fits the header best."""

    def __init__(self, path: Path, encoding: str, separators: str, needed: Sequence[str]) -> None:
        self.path, self._encoding = path, encoding
        self.encoding = "" if encoding in SURE else encoding
        with open(path, newline="", encoding=encoding) as stream:
            named = SEPARATOR_LINE.fullmatch(stream.readline(10))
        self._skipped = 1 if named else 0
        headers = {mark: self._read_header(mark) for mark in ([named[1]] if named else separators)}
        fitting = [mark for mark, header in headers.items() if needed and set(needed) <= set(header)]
        self._separator = fitting[0] if fitting else max(headers, key=lambda mark: len(headers[mark]))
        self.header = headers[self._separator]

    def _read_header(self, separator: str) -> list[str]:
        try:
            for record in self._parse(separator):
                return [str(name).strip() for name in record.values]
        except csv.Error:
            pass
        return []

    def records(self, columns: Sequence[int] | None = None) -> Iterator[Record]:
        records = self._parse(self._separator)
        next(records, None)
        width = len(self.header)
        for record in records:
            if not record.problem and any(record.values[width:]):
                count = len(record.values)
                record.problem = f"too many cells: {count} instead of {width}; is a quote missing?"
            record.values = pick(fit(record.values, width), columns)
            yield record

    def _parse(self, separator: str) -> Iterator[Record]:
        """The lines that are not empty, the header among them."""
        with open(self.path, newline="", encoding=self._encoding) as stream:
            for _ in range(self._skipped):
                stream.readline()
            reader = csv.reader(with_cell_limit(stream), delimiter=separator)
            while True:
                start = self._skipped + reader.line_num + 1
                try:
                    cells: list[object] = list(next(reader))
                except StopIteration:
                    return
                except csv.Error as error:
                    end = self._skipped + reader.line_num
                    yield Record(start, problem=f"not a line of a CSV file: {error}, lines {start} to {end}")
                    continue
                if any(cells):
                    yield Record(start, cells)


def with_cell_limit(lines: Iterator[str]) -> Iterator[str]:
    """A cell may be as long as its line, an image in base64 for example; one over many lines lacks its quote."""
    for line in lines:
        csv.field_size_limit(MAX_CELL + len(line))
        yield line.replace("\0", "") if "\0" in line else line


def has_many_zeros(zeros: int, length: int) -> bool:
    """Whether there are more than the few that databases leave behind in exported text."""
    return zeros > 1 + length // 100


class JsonTable(Table):
    """JSON lines, or one list of objects. The header has the keys of all objects in the order of their appearance."""

    def __init__(self, path: Path, encoding: str) -> None:
        self.path, self._encoding = path, find_encoding(path, encoding)
        self.encoding = "" if self._encoding in SURE else self._encoding
        self.header = list(dict.fromkeys(key for _, content, _ in self._objects() for key in content))
        if not self.header:
            raise UserError(f"{path} has no object in its lines; a table of JSON lines has one {{...}} in each")

    def records(self, columns: Sequence[int] | None = None) -> Iterator[Record]:
        names = pick(list(self.header), columns)
        for number, content, problem in self._objects():
            yield Record(number, [content.get(name) for name in names], problem)

    def _objects(self) -> Iterator[tuple[int, dict[str, object], str]]:
        with open(self.path, encoding=self._encoding) as stream:
            if stream.read(1) == "[":
                yield from self._list()
                return
            stream.seek(0)
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, *parse_object(line)

    def _list(self) -> Iterator[tuple[int, dict[str, object], str]]:
        try:
            content = json.loads(Path(self.path).read_text(encoding=self._encoding))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path} is not JSON: {error}") from error
        for number, item in enumerate(content, start=1):
            yield number, item if isinstance(item, dict) else {}, "" if isinstance(item, dict) else "not a JSON object"


def parse_object(line: str) -> tuple[dict[str, object], str]:
    """An object, or what is wrong."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, f"not a line of JSON: {str(error)[:100]}"
    return (content, "") if isinstance(content, dict) else ({}, "not a JSON object")


# --- encodings -------------------------------------------------------------------------------------------------------


def find_encoding(path: Path, named: str = "") -> str:
    """The encoding in which the whole file can be read: the named one, UTF-16 or UTF-8 where it is, else a guess."""
    start = read_start(path)
    if named:
        guesses = [named]
    elif start.startswith(UTF16_MARKS):
        guesses = ["utf-16"]
    elif has_many_zeros(start.count(0), len(start)):
        guesses = [name for name, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])) if not any(zeros)]
    elif is_readable(path, "utf-8-sig"):
        return "utf-8-sig"
    else:
        with open(path, "rb") as stream:
            sample = stream.read(SAMPLE_BYTES)
        cut = sample.rfind(b"\n") + 1 if len(sample) == SAMPLE_BYTES else 0
        is_text = not CONTROLS.search(sample)
        guesses = list(dict.fromkeys((guess_encoding(sample[:cut] if cut else sample), "cp1252"))) if is_text else []
    for encoding in guesses:
        if is_readable(path, encoding):
            return encoding
    tried = named or "UTF-8, UTF-16, Windows or East Asian"
    raise UserError(f"{path} is not {tried} text; save it as UTF-8, or name its encoding with --encoding")


def read_start(path: Path) -> bytes:
    """The first bytes of a file that can be a table at all. Raises UserError."""
    if not path.is_file():
        raise UserError(f"no file {path}")
    with open(path, "rb") as stream:
        return stream.read(64)


def is_readable(path: Path, encoding: str) -> bool:
    """Whether every byte decodes, and to text: many NULs mean another encoding or no text."""
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise UserError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_TABLE_BYTES:,} are read")
    try:
        with open(path, encoding=encoding) as stream:
            zeros = length = 0
            while characters := stream.read(CHARACTERS_AT_ONCE):
                zeros, length = zeros + characters.count("\0"), length + len(characters)
                if has_many_zeros(zeros, length):
                    return False
    except UnicodeError:
        return False
    except LookupError as error:
        usual = "utf-8, utf-16, cp1252, gb18030, cp932, latin-1"
        raise UserError(f"unknown encoding {encoding!r}; usual ones: {usual}") from error
    return True
