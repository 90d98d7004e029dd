"""Apply a file of corrections (quarantine.csv, relabel.csv of the doctor, or your own) while a dataset is prepared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import UserError
from data_prep.pipeline.schema import Outcome, Prepared, Row
from data_prep.pipeline.tables import Line, read_table

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


def read_corrections(path: Path | None, label_columns: Sequence[str]) -> list[Correction]:
    """The lines of a file, none without one. Raises UserError that names the line, the value and what is allowed."""
    lines = read_table(path, ("id", "action")) if path else ()
    return [parse_line(line, f"{path}, line {line.number}", label_columns) for line in lines]


def parse_line(line: Line, where: str, label_columns: Sequence[str]) -> Correction:
    """One checked line."""
    if line.problem:
        raise UserError(f"{where}: {line.problem}")
    correction = Correction(**{name: line.cells.get(name, "") for name in HEADER})
    correction.column = correction.column or label_columns[0]
    if not correction.id:
        raise UserError(f"{where}: the id is empty")
    if correction.action not in ACTIONS:
        raise UserError(f"{where}: action {correction.action!r} is unknown; allowed: {', '.join(ACTIONS)}")
    if correction.action == "relabel" and correction.column not in label_columns:
        raise UserError(f"{where}: no label column {correction.column!r}; allowed: {', '.join(label_columns)}")
    if correction.action == "relabel" and not correction.label:
        raise UserError(f"{where}: relabel needs a label")
    return correction


def apply_corrections(
    prepared: Prepared, corrections: Sequence[Correction], names: Mapping[str, Sequence[str]], correct_test: bool
) -> Outcome:
    """Quarantine and relabel rows. Splits were made before, so a correction never moves another image.

    names: the class names of each label column.
    """
    outcome = Outcome()
    position = {row.id: index for index, row in enumerate(prepared.rows)}
    quarantined: dict[int, str] = {}
    for correction in corrections:
        index = position.get(correction.id)
        if index is None:
            outcome.not_found.append(correction.id)
            continue
        if prepared.splits[index] == "test" and not correct_test:
            outcome.in_test += 1
            continue
        if correction.action == "quarantine":
            changed = index not in quarantined
            quarantined.setdefault(index, f"quarantine: {correction.reason or 'by corrections'}")
        else:
            changed = relabel(prepared.rows[index], correction, names[correction.column])
        outcome.applied += changed
        outcome.already_right += not changed
    prepared.leave_out(quarantined)
    return outcome


def relabel(row: Row, correction: Correction, names: Sequence[str]) -> bool:
    """Give a row another label of the same column; False where it has that label already."""
    if correction.label not in names:
        raise UserError(
            f"correction of {correction.id}: {correction.label!r} is not a class of {correction.column}; "
            f"allowed: {', '.join(names)}"
        )
    changed = row.labels[correction.column] != correction.label
    row.labels = {**row.labels, correction.column: correction.label}
    return changed
