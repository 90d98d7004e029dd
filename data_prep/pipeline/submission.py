"""Score a submission against a competition's solution, after the checks that Kaggle makes.

scores = score_submission(Path("submission.csv"), Path("competition/solution.csv"))
# {"Public": Score(rows=1186, accuracy=0.871, macro_f1=0.61), "Private": ...}
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

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
    """The score of each Usage. Raises ValueError that says which file is wrong, where, and what to do."""
    truth = read_answers(solution, SOLUTION_COLUMNS)
    wrong = sorted({cells["Usage"] for cells in truth.values()} - set(USAGES))
    if wrong:
        raise ValueError(f"{solution}: Usage {wrong[0]!r} is not allowed; it must be {' or '.join(USAGES)}")
    answers = read_answers(submission, SUBMISSION_COLUMNS)
    check_ids(answers, truth, submission)
    check_labels(answers, known_labels(truth, solution), submission)
    return {
        usage: score_rows([(cells["label"], answers[key]["label"]) for key, cells in truth.items() if is_in(cells)])
        for usage, is_in in ((usage, lambda cells, usage=usage: cells["Usage"] == usage) for usage in USAGES)
        if any(map(is_in, truth.values()))
    }


def read_answers(path: Path, columns: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """`{id: cells}`. Raises ValueError for wrong columns, a damaged line, an empty cell or an id used twice."""
    answers: dict[str, dict[str, str]] = {}
    for line in read_table(path, columns):
        if line.problem:
            raise ValueError(f"{path}: {line.problem}")
        more = [name for name in line.cells if name not in columns]
        if more:
            raise ValueError(f"{path} has the column {more[0]!r} too many; it must have {','.join(columns)}")
        empty = [name for name in columns if not line.cells[name]]
        if empty:
            raise ValueError(f"{path}, line {line.number}: empty {empty[0]}")
        if line.cells["id"] in answers:
            raise ValueError(f"{path}, line {line.number}: the id {line.cells['id']!r} for the second time")
        answers[line.cells["id"]] = line.cells
    if not answers:
        raise ValueError(f"{path} has no rows below its header {','.join(columns)}")
    return answers


def check_ids(answers: Mapping[str, dict], truth: Mapping[str, dict], path: Path) -> None:
    """Raises ValueError unless the submission answers exactly the ids of the test."""
    unknown = [key for key in answers if key not in truth]
    if unknown:
        raise ValueError(f"{path}: {len(unknown):,} ids are not in test.csv: {some(unknown)}")
    missing = [key for key in truth if key not in answers]
    if missing:
        raise ValueError(f"{path}: {len(missing):,} of {len(truth):,} rows are missing, such as {some(missing)}")


def known_labels(truth: Mapping[str, dict], solution: Path) -> set[str]:
    """All classes: the solution's, and those of train.csv beside it, of which the test rows need not have each."""
    known = {cells["label"] for cells in truth.values()}
    train = solution.with_name(TRAIN_NAME)
    if train.is_file():
        known |= {line.cells["label"] for line in read_table(train, ["label"]) if not line.problem}
    return known


def check_labels(answers: Mapping[str, dict], known: set[str], path: Path) -> None:
    """Raises ValueError for labels that are no class. Which are is not listed: test rows may have some of their own."""
    unknown = sorted({cells["label"] for cells in answers.values()} - known)
    if unknown:
        raise ValueError(f"{path}: unknown labels: {some(unknown)}; labels are written as in {TRAIN_NAME}")


def score_rows(pairs: list[tuple[str, str]]) -> Score:
    """The score of pairs of a true and a given label."""
    from sklearn.metrics import f1_score  # 1 s, which a wrong submission need not wait for

    truth, given = zip(*pairs, strict=True)
    accuracy = sum(mine == right for right, mine in pairs) / len(pairs)
    return Score(len(pairs), accuracy, float(f1_score(truth, given, average="macro")))


def some(names: Iterable[str]) -> str:
    """A few names, so that the message stays one line."""
    names = list(names)
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(repr(name[:80]) for name in names[:NAMES_SHOWN]) + more
