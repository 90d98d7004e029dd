"""What passes between a source, the pipeline and the card: rows, options and the report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.pipeline.images import ImageReference

NOT_STATED = "NA"  # an attribute that a product lacks; the Kaggle data's own word


@dataclass(slots=True)
class Row:
    """One image that a source offers.

    file: its name in the input, as rejected.csv and the image's path show it. labels: one string per label column.
    split: train, validation or test where the source has fixed splits (empty then means train). group: rows with an
    equal, non-empty key stay together, whatever the images look like. extra: values of the source's own columns.
    reject: the source already knows why this row must be left out; `kind: detail`, counted by kind.
    """

    file: str
    image: ImageReference | None = None
    id: str = ""
    title: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    split: str = ""
    group: str = ""
    extra: dict[str, object] = field(default_factory=dict)
    reject: str = ""


@dataclass(slots=True, frozen=True)
class Options:
    """What every command that writes a dataset takes from its user."""

    output: Path
    seed: int = 42
    num_proc: int = 1
    corrections: Path | None = None
    correct_test: bool = False
    overwrite: bool = False
    command: str = ""


@dataclass(slots=True, frozen=True)
class Source:
    """What the card says about the origin, and how the rows are to be read.

    label_columns: the first is the default label of training. stratify_by: the column whose proportions the splits
    keep. levels: label columns from the top of a taxonomy to its leaf. taxonomy: each leaf's path where it is known;
    then a row may lack its narrower labels, and belongs to train. features: `datasets` features of the columns in
    `Row.extra`. drop_leaks: leave out rows of given splits whose duplicates are in a stricter split (test before
    validation before train); False keeps them and lists them in leaks.csv. cut_missing_splits: take a validation or
    test split that the given ones lack from train; False leaves it empty. merge_duplicates: keep only the largest image
    of each duplicate group. notes: remarks for the card.
    """

    name: str
    origin: str
    license: str
    label_columns: Sequence[str] = ("label",)
    stratify_by: str = "label"
    levels: Sequence[str] = ()
    features: Mapping[str, object] = field(default_factory=dict)
    drop_leaks: bool = True
    cut_missing_splits: bool = True
    merge_duplicates: bool = False
    notes: Sequence[str] = ()
    taxonomy: Mapping[str, Sequence[str]] | None = None


@dataclass(slots=True)
class Prepared:
    """Accepted rows and what is known about them; the first four lists are parallel, or empty so far.

    rejected: (file, reason) of everything that was left out.
    """

    rows: list[Row]
    sha256: list[bytes]
    groups: list[str]
    splits: list[str]
    rejected: list[tuple[str, str]]

    def leave_out(self, reasons: Mapping[int, str]) -> None:
        """Move the rows at these positions to `rejected`."""
        self.rejected += [(self.rows[index].file, reason) for index, reason in reasons.items()]
        for values in (self.rows, self.sha256, self.groups, self.splits):
            values[:] = [value for index, value in enumerate(values) if index not in reasons]

    def positions(self, split: str) -> list[int]:
        """Where the rows of a split are."""
        return [index for index, name in enumerate(self.splits) if name == split]


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


@dataclass(slots=True)
class Report:
    """What `write_dataset` did, for the summary, the card and the tests."""

    output: Path
    counts: dict[str, int]
    classes: dict[str, int]  # label column -> number of classes
    rejected: dict[str, int]  # reason -> number
    groups: Counter  # size -> number of groups
    leaks: int  # rows whose duplicates are in another, given split
    fingerprint: str
    corrections: Outcome | None
    remarks: list[str]
