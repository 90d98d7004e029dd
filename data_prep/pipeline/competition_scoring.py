"""Score a submission against a competition's solution, after the checks that Kaggle makes.

scores = score_submission(Path("submission.csv"), Path("competition/solution.csv"))
# {"Public": Score(rows=1186, accuracy=0.871, macro_f1=0.61), "Private": ...}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import UserError
from data_prep.pipeline.tables import read_table

SUBMISSION_COLUMNS, SOLUTION_COLUMNS = ("id", "label"), ("id", "label", "Usage")
USAGES = ("Public", "Private")
TRAIN_NAME = "train.csv"
NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Score:
    """Of the rows with one Usage."""

    rows: int
    accuracy: float
    macro_f1: float


def score_submission(submission: Path, solution: Path) -> dict[str, Score]:
    """The score of each Usage. Raises UserError that says which file is wrong, where, and what to do."""
    truth = read_answers(solution, SOLUTION_COLUMNS)
    wrong = sorted({cells["Usage"] for cells in truth.values()} - set(USAGES))
    if wrong:
        raise UserError(f"{solution}: Usage {wrong[0]!r} is not allowed; it must be {' or '.join(USAGES)}")
    answers = read_answers(submission, SUBMISSION_COLUMNS)
    check_answers(answers, truth, known_labels(truth, solution), submission)
    pairs = {usage: [] for usage in USAGES}
    for key, cells in truth.items():
        pairs[cells["Usage"]].append((cells["label"], answers[key]["label"]))
    return {usage: score_rows(rows) for usage, rows in pairs.items() if rows}


def read_answers(path: Path, columns: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """`{id: cells}`. Raises UserError for wrong columns, a damaged line, an empty cell or an id used twice."""
    answers: dict[str, dict[str, str]] = {}
    for line in read_table(path, columns):
        if line.problem:
            raise UserError(f"{path}: {line.problem}")
        more = [name for name in line.cells if name not in columns]
        if more:
            raise UserError(f"{path} has the column {more[0]!r} too many; it must have {','.join(columns)}")
        empty = [name for name in columns if not line.cells[name]]
        if empty:
            raise UserError(f"{path}, line {line.number}: empty {empty[0]}")
        if line.cells["id"] in answers:
            raise UserError(f"{path}, line {line.number}: the id {line.cells['id']!r} for the second time")
        answers[line.cells["id"]] = line.cells
    if not answers:
        raise UserError(f"{path} has no rows below its header {','.join(columns)}")
    return answers


def check_answers(answers: Mapping[str, dict], truth: Mapping[str, dict], known: set[str], path: Path) -> None:
    """Raises UserError unless the submission gives each id of the test, and no other, one of the `known` labels.

    Those are not listed: test rows may have some of their own.
    """
    unknown = [key for key in answers if key not in truth]
    if unknown:
        raise UserError(f"{path}: {len(unknown):,} ids are not in test.csv: {some(unknown)}")
    missing = [key for key in truth if key not in answers]
    if missing:
        raise UserError(f"{path}: {len(missing):,} of {len(truth):,} rows are missing, such as {some(missing)}")
    wrong = sorted({cells["label"] for cells in answers.values()} - known)
    if wrong:
        raise UserError(f"{path}: unknown labels: {some(wrong)}; labels are written as in {TRAIN_NAME}")


def known_labels(truth: Mapping[str, dict], solution: Path) -> set[str]:
    """All classes: the solution's, and those of train.csv beside it, of which the test rows need not have each."""
    known = {cells["label"] for cells in truth.values()}
    train = solution.with_name(TRAIN_NAME)
    if train.is_file():
        known |= {line.cells["label"] for line in read_table(train, ["label"]) if not line.problem}
    return known


def score_rows(pairs: list[tuple[str, str]]) -> Score:
    """The score of pairs of a true and a given label."""
    from sklearn.metrics import f1_score  # 1 s, which a wrong submission need not wait for

    labels, answers = zip(*pairs, strict=True)
    accuracy = sum(label == answer for label, answer in pairs) / len(pairs)
    return Score(len(pairs), accuracy, float(f1_score(labels, answers, average="macro")))


def some(names: Sequence[str]) -> str:
    """A few names, so that the message stays one line."""
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(repr(name[:80]) for name in names[:NAMES_SHOWN]) + more
