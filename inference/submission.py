"""A Kaggle submission: the labels of the images in the order, with the ids and columns, of a sample submission.

    python predict.py --image_path test.csv --submission sample_submission.csv --output submission.csv

An image belongs to the id that is its file's name, with or without the ending: images/12345.jpg to 12345 or 12345.jpg.
The columns may have any names; labels are text, so 04 stays 04.
"""

import csv
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from app.files import replacing
from data_prep.pipeline.file_names import without_image_suffix
from data_prep.pipeline.tables import open_table, read_table
from inference.journal import Row
from inference.readers.base import InputError
from inference.writers import open_text

NAMES_SHOWN = 3
FAILED_SHOWN = 6


class Sample:
    """A sample submission: `header`, the columns of the ids and the labels, and each id's label, in its order."""

    def __init__(self, path: Path) -> None:
        """Raises InputError unless it is a table of two columns with ids that are unique."""
        self.path = path
        if not path.is_file():
            raise InputError(f"--submission: there is no file {str(path)!r}")
        try:
            table = open_table(path)
            if len(table.header) != 2:
                columns = ", ".join(table.header) or "none"
                raise ValueError(f"its columns are {columns}; they must be two, the ids and the label")
            self.header = table.header
            self.labels: dict[str, str] = {}
            for line in read_table(path, self.header):
                self._add(line.number, line.problem, line.cells)
            if not self.labels:
                raise ValueError("it has no rows")
        except (ValueError, OSError) as error:
            raise InputError(f"--submission {path}: {error}") from None

    def _add(self, number: int, problem: str, cells: dict[str, str]) -> None:
        if problem or not cells[self.header[0]]:
            raise ValueError(f"line {number}: {problem or 'no id'}")
        if cells[self.header[0]] in self.labels:
            raise ValueError(f"line {number}: the id {cells[self.header[0]]!r} appears a second time")
        self.labels[cells[self.header[0]]] = cells[self.header[1]]

    def check_names(self, names: Iterable[str]) -> None:
        """Raises InputError unless every id has exactly one of the images; images without an id do not matter."""
        name_of: dict[str, str] = {}
        keys = self._keys()
        for name in names:
            key = keys(name)
            if key is not None and name_of.setdefault(key, name) != name:
                raise InputError(f"--submission: two images have the id {key}: {name_of[key]} and {name}")
        missing = [key for key in self.labels if key not in name_of]
        if missing:
            raise InputError(
                f"--submission: {len(missing):,} of the {len(self.labels):,} ids in {self.path} have no image, "
                f"such as {', '.join(missing[:NAMES_SHOWN])}; an image's file must be named like its id, "
                "with or without its ending"
            )

    def save(self, rows: Iterable[Row], path: Path) -> list[str]:
        """Write the model's best label for each id, whatever its status. Returns the ids whose images failed.

        Those keep the label of the sample, because Kaggle does not accept a submission that lacks a row.
        """
        keys = self._keys()
        best = {keys(name): prediction.top_k[0].label for name, prediction in rows if prediction.top_k}
        with replacing(path) as partial, open_text(partial) as output:
            writer = csv.writer(output, lineterminator="\n")
            writer.writerow(self.header)
            writer.writerows((key, best.get(key, label)) for key, label in self.labels.items())
        failed = [key for key in self.labels if key not in best]
        print(f"{path.name}: {len(self.labels):,} rows in the order of {self.path}", file=sys.stderr)
        if failed:
            names = ", ".join(failed[:FAILED_SHOWN])
            print(f"{len(failed)} ids without an answer keep the sample's label: {names}", file=sys.stderr)
        return failed

    def _keys(self) -> Callable[[str], str | None]:
        """A function from the name of an image to its id; None for an image without one."""
        by_stem: dict[str, list[str]] = {}
        for key in self.labels:
            by_stem.setdefault(without_image_suffix(key), []).append(key)

        def key_of(name: str) -> str | None:
            path = name.replace("\\", "/")
            ids = by_stem.get(without_image_suffix(path), [])
            exact = [key for key in ids if path == key or path.endswith(f"/{key}")]
            if exact:
                return max(exact, key=len)
            alike = [key for key in ids if not has_image_suffix(key)] or ids
            return alike[0] if len(alike) == 1 else None

        return key_of


def has_image_suffix(name: str) -> bool:
    return without_image_suffix(name) != name.rpartition("/")[2]
