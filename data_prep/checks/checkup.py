"""What the doctor knows about a dataset after one look at every image, and the form in which it reports a finding."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from app.errors import UserError
from data_prep.checks.contact_sheet import Band, Tile
from data_prep.pipeline.card import read_card
from data_prep.pipeline.corrections import Correction
from data_prep.pipeline.duplicates import ImageSignature
from data_prep.pipeline.facts import FactsCache, check_all
from data_prep.pipeline.images import THUMBNAIL_SIDE, ImageFacts
from data_prep.pipeline.prepared import pick_label, read_rows
from data_prep.pipeline.schema import Row

FINE = "nothing to do"
GRAY_TOLERANCE = 1  # of 255 between the channels of an image without colour


@dataclass(slots=True)
class Checkup:
    """The readable images of a dataset; all lists and arrays are parallel.

    column: the label column that the report is about. unreadable: (row, reason) of the others. signatures:
    see data_prep.pipeline.duplicates. spread: `(n,) float32`, the standard deviation of the colours in [0, 127.5], 0
    for a blank image. gray: `(n,) bool`, True for an image without colour, whatever mode stores it.
    """

    folder: Path
    card: Mapping
    column: str
    rows: list[Row]
    unreadable: list[tuple[Row, str]]
    formats: list[str]
    modes: list[str]
    sha256: list[bytes]
    signatures: ImageSignature
    spread: np.ndarray
    gray: np.ndarray

    def labels(self, column: str = "") -> list[str]:
        """The labels of all rows in one column."""
        return [row.labels[column or self.column] for row in self.rows]

    def indices(self, split: str) -> list[int]:
        """Where the rows of a split are."""
        return [index for index, row in enumerate(self.rows) if row.split == split]

    def tile(self, index: int, *remarks: str, alarm: bool = False) -> Tile:
        """An image for a contact sheet with its id, split, label and remarks; its title where there are none."""
        row = self.rows[index]
        return Tile(row.image, (f"{row.id}, {row.split}", row.labels[self.column], *(remarks or (row.title,))), alarm)


@dataclass(slots=True)
class Proposals:
    """Corrections by id, which a person may apply after a look. A row is either quarantined or relabelled, and once."""

    quarantine: dict[str, Correction] = field(default_factory=dict)
    relabel: dict[str, Correction] = field(default_factory=dict)

    def leave_out(self, row: Row, reason: str) -> None:
        """Propose to leave a row out."""
        self.relabel.pop(row.id, None)
        self.quarantine.setdefault(row.id, Correction(row.id, "quarantine", "", "", reason))

    def rename(self, row: Row, column: str, label: str, reason: str) -> None:
        """Propose another label."""
        if row.id not in self.quarantine:
            self.relabel.setdefault(row.id, Correction(row.id, "relabel", column, label, reason))


@dataclass(slots=True)
class Finding:
    """One section of the report.

    found, advice: its cells in the summary; a finding with the advice FINE needs no attention. lines: the evidence in
    Markdown. sheet: the name of its contact sheet, drawn from `bands`.
    """

    title: str
    found: str
    advice: str
    lines: Sequence[str] = ()
    sheet: str = ""
    bands: Sequence[Band] = ()


def open_dataset(folder: Path, column: str) -> tuple[Mapping, str, list[Row]]:
    """(card, label column, rows). Raises UserError unless the folder is a prepared dataset with such a column."""
    card = read_card(folder)
    column = pick_label(folder, card.get("label_columns") or [], column)
    rows = list(read_rows(folder))
    if not rows:
        raise UserError(f"{folder} has no rows")
    return card, column, rows


def examine(
    folder: Path, card: Mapping, column: str, offered: Sequence[Row], num_proc: int, cache: FactsCache
) -> Checkup:
    """Look at every image once. Raises UserError when none can be read."""
    rows, facts_of_rows, unreadable = [], [], []

    def readable_facts() -> Iterator[ImageFacts]:
        all_facts = check_all([row.image for row in offered], num_proc, cache)
        for row, facts in zip(offered, all_facts, strict=True):
            if facts.reason:
                unreadable.append((row, facts.reason))
            else:
                rows.append(row)
                facts_of_rows.append(replace(facts, thumbnail=b""))  # the signatures hold it
                yield facts

    signatures = ImageSignature.of(readable_facts(), at_most=len(offered))
    if not rows:
        raise UserError(f"{folder} has no readable image ({len(unreadable)} unreadable)")
    return Checkup(
        folder=folder,
        card=card,
        column=column,
        rows=rows,
        unreadable=unreadable,
        formats=[facts.format for facts in facts_of_rows],
        modes=[facts.mode for facts in facts_of_rows],
        sha256=[facts.sha256 for facts in facts_of_rows],
        signatures=signatures,
        spread=np.array([facts.spread for facts in facts_of_rows], np.float32),
        gray=has_no_color(signatures.thumbnails),
    )


def has_no_color(thumbnails: np.ndarray) -> np.ndarray:
    """`(n, 768) uint8` -> `(n,) bool`: True where red, green and blue are equal everywhere."""
    pixels = thumbnails.reshape(len(thumbnails), THUMBNAIL_SIDE**2, 3)
    spread = np.max(pixels, axis=2) - np.min(pixels, axis=2)
    return spread.max(axis=1) <= GRAY_TOLERANCE


def most_common(values: Sequence[str], shown: int) -> str:
    """`Black 846, Silver 168 and 12 more`."""
    counts = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
    text = ", ".join(f"{name} {count:,}" for name, count in counts[:shown])
    return text + (f" and {len(counts) - shown} more" if len(counts) > shown else "")


def plural(count: int, singular: str, plural: str = "") -> str:
    """`1 image`, `1,297 images`."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
