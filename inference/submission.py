"""A Kaggle submission: the labels of the images in the order, with the ids and columns, of a sample submission.

    python predict.py --image_path test.csv --submission sample_submission.csv --output submission.csv

An image belongs to the id that is its file's name without the ending: images/12345.jpg to 12345.
"""

import csv
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from app.files import replacing
from data_prep.pipeline.tables import read_table
from inference.journal import Row
from inference.readers.base import InputError
from inference.writers import open_text

ID_COLUMN = "id"
NAMES_SHOWN = 3
FAILED_SHOWN = 6


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
            raise ValueError(f"line {number}: the id {cells[ID_COLUMN]!r} appears a second time")
        self.labels[cells[ID_COLUMN]] = cells[self.column]

    def check_names(self, names: Iterable[str]) -> None:
        """Raises InputError unless every id has exactly one of the images; images without an id do not matter."""
        name_of: dict[str, str] = {}
        for name in names:
            key = id_of(name)
            if key in self.labels and name_of.setdefault(key, name) != name:
                raise InputError(f"--submission: two images have the id {key}: {name_of[key]} and {name}")
        missing = [key for key in self.labels if key not in name_of]
        if missing:
            raise InputError(
                f"--submission: {len(missing):,} of the {len(self.labels):,} ids in {self.path} have no image, "
                f"such as {', '.join(missing[:NAMES_SHOWN])}; an image's file must be named like its id"
            )

    def save(self, rows: Iterable[Row], path: Path) -> list[str]:
        """Write the model's best label for each id, whatever its status. Returns the ids whose images failed.

        Those keep the label of the sample, because Kaggle does not accept a submission that lacks a row.
        """
        best = {id_of(name): prediction.top_k[0].label for name, prediction in rows if prediction.top_k}
        with replacing(path) as partial, open_text(partial) as output:
            writer = csv.writer(output, lineterminator="\n")
            writer.writerow([ID_COLUMN, self.column])
            writer.writerows((key, best.get(key, label)) for key, label in self.labels.items())
        failed = [key for key in self.labels if key not in best]
        print(f"{path.name}: {len(self.labels):,} rows in the order of {self.path}", file=sys.stderr)
        if failed:
            names = ", ".join(failed[:FAILED_SHOWN])
            print(f"{len(failed)} ids without an answer keep the sample's label: {names}", file=sys.stderr)
        return failed


def id_of(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem
