"""A Kaggle submission: the labels of the images in the order, with the ids and columns, of a sample submission.

    python predict.py --image_path test.csv --submission sample_submission.csv --output submission.csv

An image belongs to the id that is its file's name without the ending: images/12345.jpg to 12345.
"""

import csv
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TextIO

from data_prep.pipeline.tables import read_table
from inference.journal import Row
from inference.readers.find import InputError

ID_COLUMN = "id"
NAMES_SHOWN = 3


class Sample:
    """A sample submission: `column`, the one of the labels, and for each id the label that it gives, in its order."""

    def __init__(self, path: Path) -> None:
        """Raises InputError unless it is a CSV file with an id that is unique and one more column."""
        self.path = path
        try:
            with open(path, newline="", encoding="utf-8-sig") as lines:
                header = next(csv.reader(lines), [])
            if len(header) != 2 or header[0] != ID_COLUMN:
                raise ValueError(
                    f"its columns are {', '.join(header) or 'none'}; they must be id and the label's column"
                )
            self.column = header[1]
            self.labels: dict[str, str] = {}
            for line in read_table(path, header):
                self._add(line.number, line.problem, line.cells)
            if not self.labels:
                raise ValueError("it has no rows")
        except FileNotFoundError:
            raise InputError(f"--submission: there is no file {str(path)!r}") from None
        except (ValueError, OSError) as error:
            raise InputError(f"--submission {path}: {error}") from None

    def _add(self, number: int, problem: str, cells: dict[str, str]) -> None:
        if problem or not cells[ID_COLUMN]:
            raise ValueError(f"line {number}: {problem or 'no id'}")
        if cells[ID_COLUMN] in self.labels:
            raise ValueError(f"line {number}: the id {cells[ID_COLUMN]!r} for the second time")
        self.labels[cells[ID_COLUMN]] = cells[self.column]

    def check_names(self, names: Iterable[str]) -> None:
        """Raises InputError unless every id has exactly one of the images; images without an id are no matter."""
        found: dict[str, str] = {}
        for name in names:
            key = id_of(name)
            if key in self.labels and found.setdefault(key, name) != name:
                raise InputError(f"--submission: two images have the id {key}: {found[key]} and {name}")
        missing = [key for key in self.labels if key not in found]
        if missing:
            raise InputError(
                f"--submission: {len(missing):,} of the {len(self.labels):,} ids in {self.path} have no image, "
                f"such as {', '.join(missing[:NAMES_SHOWN])}; an image's file must be named like its id"
            )

    def write(self, rows: Iterable[Row], output: TextIO) -> list[str]:
        """The model's best label of each id, whatever its status. Returns the ids whose images failed.

        Those keep the label of the sample, because Kaggle takes no submission that lacks a row.
        """
        best = {id_of(name): prediction.top_k[0].label for name, prediction in rows if prediction.top_k}
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow([ID_COLUMN, self.column])
        writer.writerows((key, best.get(key, label)) for key, label in self.labels.items())
        return [key for key in self.labels if key not in best]


def id_of(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem
