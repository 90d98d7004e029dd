"""Apply a file of corrections (quarantine.csv, relabel.csv of the doctor, or your own) while a dataset is prepared."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ACTIONS = ("quarantine", "relabel")
HEADER = ("id", "action", "column", "label", "reason")


@dataclass(slots=True)
class Correction:
    """One line of the file."""

    id: str
    action: str
    column: str
    label: str
    reason: str


@dataclass(slots=True)
class Outcome:
    """How many corrections were applied and what became of the others."""

    applied: int = 0
    already_right: int = 0
    in_test: int = 0
    not_found: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.applied} applied, {len(self.not_found)} with an id that is not in the data"
        if self.already_right:
            text += f", {self.already_right} without effect"
        if self.in_test:
            text += f", {self.in_test} left alone because the row is in the test split (--correct_test applies them)"
        return text


def read_corrections(path: Path, label_columns: Sequence[str]) -> list[Correction]:
    """The lines of a corrections file. Raises ValueError that names the line, the value and what is allowed."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = {"id", "action"} - set(reader.fieldnames or ())
            if missing:
                raise ValueError(f"{path} lacks the columns {sorted(missing)}; it needs {', '.join(HEADER)}")
            return [parse_line(row, f"{path}, line {reader.line_num}", label_columns) for row in reader]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise ValueError(f"cannot read the corrections {path}: {error.strerror}") from error


def parse_line(row: dict, where: str, label_columns: Sequence[str]) -> Correction:
    """One checked line."""
    cells = {name: (row.get(name) or "").strip() for name in HEADER}
    correction = Correction(**cells)
    correction.column = correction.column or label_columns[0]
    if not correction.id:
        raise ValueError(f"{where}: the id is empty")
    if correction.action not in ACTIONS:
        raise ValueError(f"{where}: action {correction.action!r} is unknown; allowed: {', '.join(ACTIONS)}")
    if correction.action == "relabel" and correction.column not in label_columns:
        raise ValueError(f"{where}: no label column {correction.column!r}; allowed: {', '.join(label_columns)}")
    if correction.action == "relabel" and not correction.label:
        raise ValueError(f"{where}: relabel needs a label")
    return correction
