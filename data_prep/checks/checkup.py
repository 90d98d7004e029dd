"""What the doctor knows about a dataset after one look at every image, and the form in which it says what it found."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.checks.contact_sheet import Band, Tile
from data_prep.pipeline.card import read_card
from data_prep.pipeline.corrections import Correction
from data_prep.pipeline.duplicates import ImageSignature
from data_prep.pipeline.facts import FactsCache, check_all
from data_prep.pipeline.images import THUMBNAIL_SIDE, ImageFacts
from data_prep.pipeline.schema import Row
from data_prep.pipeline.storage import read_rows

FINE = "nothing to do"
GRAY_TOLERANCE = 1  # of 255 between the channels of an image without colour


@dataclass(slots=True)
class Checkup:
    """The readable images of a dataset; all lists and arrays are parallel.

    column: the label column that the report is about. unreadable: (row, reason) of the others. looks: see
    data_prep.pipeline.duplicates. spread: `(n,) float32`, the standard deviation of the colours in [0, 127.5], 0 for a blank
    image. grey: `(n,) bool`, True for an image without colour, whatever mode stores it.
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

    def tile(self, index: int, *more: str, alarm: bool = False) -> Tile:
        """An image for a contact sheet with its id, label and title."""
        row = self.rows[index]
        return Tile(row.image, (f"{row.id}, {row.split}", row.labels[self.column], *(more or (row.title,))), alarm)


@dataclass(slots=True)
class Proposals:
    """Corrections by id: what a person may apply after looking. A row is quarantined or relabelled once."""

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
    """(card, label column, rows). Raises ValueError for a folder that is no prepared dataset or has no such column."""
    card = read_card(folder)
    columns = card.get("label_columns") or []
    if not columns or (column and column not in columns):
        raise ValueError(f"{folder} has no label column {column!r}; its card names {', '.join(columns) or 'none'}")
    rows = list(read_rows(folder))
    if not rows:
        raise ValueError(f"{folder} has no rows")
    return card, column or columns[0], rows


def examine(
    folder: Path, card: Mapping, column: str, offered: Sequence[Row], num_proc: int, cache: FactsCache
) -> Checkup:
    """Look at every image once. Raises ValueError when none can be read."""
    rows, unreadable = [], []
    formats, modes, sha256, spread = [], [], [], []

    def good_facts() -> Iterator[ImageFacts]:
        found = check_all([row.image for row in offered], num_proc, cache)
        for row, facts in zip(offered, found, strict=True):
            if facts.reason:
                unreadable.append((row, facts.reason))
                continue
            rows.append(row)
            formats.append(facts.format)
            modes.append(facts.mode)
            sha256.append(facts.sha256)
            spread.append(facts.spread)
            yield facts

    signatures = ImageSignature.of(good_facts(), at_most=len(offered))
    if not rows:
        raise ValueError(f"{folder} has no readable image ({len(unreadable)} unreadable)")
    gray = has_no_color(signatures.thumbnails)
    return Checkup(
        folder, card, column, rows, unreadable, formats, modes, sha256, signatures, np.array(spread, np.float32), gray
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


def plural(count: int, one: str, many: str = "") -> str:
    """`1 image`, `1,297 images`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
