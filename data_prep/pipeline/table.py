"""What tables of all formats have in common: a header, and records below it in a fixed order."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Record:
    """One record. number: the line or row where it is in the file. values: one per column of the header, as the format
    has them. problem: why they cannot be trusted; `values` are then what could be read."""

    number: int
    values: list[object] = field(default_factory=list)
    problem: str = ""


class Table(ABC):
    """header: the names of the columns. encoding: of a text, where it had to be guessed, else empty.

    class_names: of the columns that hold numbers of classes, as datasets of the Hub do.
    """

    path: Path | str
    header: list[str]
    encoding: str = ""
    class_names: Mapping[str, Sequence[str]] = {}

    @abstractmethod
    def records(self, columns: Sequence[int] | None = None) -> Iterator[Record]:
        """All records, from the start. columns: positions in the header; `values` has only these. None for all."""

    def count(self) -> int:
        return sum(1 for _ in self.records())


def pick(values: list[object], columns: Sequence[int] | None) -> list[object]:
    return values if columns is None else [values[column] for column in columns]


def fit(values: list[object], width: int) -> list[object]:
    """As many values as the header has columns; what is missing is None."""
    return values[:width] + [None] * (width - len(values))
