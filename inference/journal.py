"""The rows of a run, kept on disk as they come, so that a run that was interrupted, or killed, can go on.

    with Journal(Path("answers.csv.partial"), settings, resume=True) as journal:
        journal.append(name, prediction)

JSON lines below one line with the settings of the run. A row counts when its line is complete; half a line is dropped.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any

from app.prediction import Attribute, Prediction, ScoredLabel
from inference.readers.base import InputError, NamedImage

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

VERSION = 1
MAX_LINE = 2**26  # bytes of a row, with a data URL as its name
FIELDS = {field.name for field in fields(Prediction)}
STATUSES = ("ok", "review", "unknown", "error")
Row = tuple[str, Prediction]


class Journal:
    """`done` rows in the order of the images; `counts` of them by status."""

    def __init__(self, path: Path, settings: dict[str, Any], resume: bool) -> None:
        """Raises InputError where there are rows and no `resume`, or where they were made with other settings."""
        self.path = path
        self.done = 0
        self.counts: Counter[str] = Counter()
        if path.exists() and not path.is_file():
            raise InputError(
                f"{path} is not a regular file, and predict.py keeps its rows there: give another --output"
            )
        self._file = open(path, "a+b")  # noqa: SIM115  closed by __exit__
        try:
            self._lock()
            self._read(json.loads(json.dumps({"version": VERSION, **settings})), resume)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self.done:
            self.remove()

    def append(self, name: str, prediction: Prediction) -> None:
        self._file.write(as_line(name, prediction).encode() + b"\n")
        self.done += 1
        self.counts[prediction.status] += 1

    def rows(self) -> Iterator[Row]:
        """All rows, from the start."""
        self._file.flush()
        with open(self.path, "rb") as lines:
            yield from map(as_row, islice(lines, 1, None))

    def skip_done(self, images: Iterable[NamedImage]) -> Iterator[NamedImage]:
        """The images without a row. Raises InputError where those with one are no longer the same."""
        images = iter(images)
        for number, (before, _) in enumerate(islice(self.rows(), self.done) if self.done else (), start=1):
            now = next(images, ("the end of the input", None))[0]
            if now != before:
                raise InputError(
                    f"--resume: image {number:,} was {before} and is now {now}; restore the input, or delete "
                    f"{self.path} and start again"
                )
        yield from images

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _lock(self) -> None:
        """Two runs that write to the same file would mix their rows."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another run is writing {self.path}: wait for it, or give another --output") from None

    def _read(self, settings: dict[str, Any], resume: bool) -> None:
        """Count the rows, drop what is incomplete, and go to the end."""
        self._file.seek(0)
        line = self._file.readline(MAX_LINE)
        header = parsed(line)
        begin = json.dumps(settings).encode()
        if header is None and begin.startswith(line):  # nothing, or what a killed run had begun to write
            self._file.truncate(0)
            self._file.write(begin + b"\n")
            return
        if not isinstance(header, dict) or "version" not in header or "model" not in header:
            raise foreign(self.path)
        end = self._file.tell()
        while line := self._file.readline(MAX_LINE):
            row = parsed(line)
            if row is None and (not line.endswith(b"\n") or b"\0" in line):
                break  # the run was killed, or the machine lost its power, while this was written
            if not is_row(row):
                raise foreign(self.path)
            self.done += 1
            self.counts[row[1]["status"]] += 1
            end = self._file.tell()
        self._file.truncate(end)
        self._file.seek(end)
        if self.done and not resume:
            raise InputError(
                f"{self.path} holds {self.done:,} rows of a run that was interrupted: continue it with --resume, or "
                "delete the file to start again"
            )
        check_settings(header, settings, self.path)


def is_row(content: Any) -> bool:
    """Whether parsed JSON is what `as_line` wrote."""
    if not (isinstance(content, list) and len(content) == 2 and isinstance(content[0], str)):
        return False
    values = content[1]
    return isinstance(values, dict) and values.keys() == FIELDS and values["status"] in STATUSES


def foreign(path: Path) -> InputError:
    return InputError(
        f"{path} is not a journal of predict.py, or a damaged one: move it away, or give another --output"
    )


def as_line(name: str, prediction: Prediction) -> str:
    """JSON in one line, from which as_row makes the same again, to the last digit."""
    return json.dumps([name, asdict(prediction)])


def as_row(line: str | bytes) -> Row:
    name, values = json.loads(line)
    values["top_k"] = [ScoredLabel(*pair) for pair in values["top_k"]]
    values["attributes"] = {attribute: Attribute(*answer) for attribute, answer in values["attributes"].items()}
    return name, Prediction(**values)


def parsed(line: bytes) -> Any:
    """The JSON in a line; None for the end of the file and for a line that was not written to its end."""
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # a machine that lost its power may leave zeros
        return None


def check_settings(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raises InputError that names the first setting that differs."""
    for name in (*before, *now):
        if before.get(name) != now.get(name):
            raise InputError(
                f"--resume: {path} was begun with {name} {before.get(name)}, and this is {now.get(name)}: give the "
                "same options, or delete the file to start again"
            )
