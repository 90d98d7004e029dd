"""Categories of any depth: from label paths such as `Food > Fruit > Apple` to a label column for each level.

    levels = with_levels(rows, names=("department", "category", "kind"))    # rows' labels are then by level
    levels.taxonomy["Apple"]                                                # ["Food", "Fruit", "Apple"]

A leaf is a category that no other image has a narrower one of; leaves may lie at different depths, and one that ends
early stands for itself at the levels below. Equal names under different parents are different categories, called by
their whole paths. An image whose label is not a leaf has its coarser levels only, and an empty label at the others.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import UserError, one_line
from app.taxonomy import PATH_SEPARATOR, category_names
from data_prep.pipeline.prepared import OWN_COLUMNS
from data_prep.pipeline.schema import Row
from data_prep.pipeline.tables import open_table, read_table

LABEL = "label"
BETWEEN_CATEGORIES = re.compile(r"(?<=\s)>(?=\s)")  # as Google's and Shopify's product taxonomies are written
MAX_LEVELS = 12

LabelPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Levels:
    """names: of the levels, broad first, the last the label's. taxonomy: each leaf's path. coarse: images without a
    leaf."""

    names: tuple[str, ...]
    taxonomy: dict[str, list[str]]
    coarse: int = 0

    def of_source(self) -> dict[str, Any]:
        """The fields of Source that these levels decide, but for label columns beside them."""
        columns = self.names[::-1]
        return {
            "stratify_by": columns[0],
            "levels": self.names,
            "taxonomy": self.taxonomy,
        }

    def notes(self) -> list[str]:
        """Remarks for the card."""
        return [f"Images with a coarser label only, which train: {self.coarse}."] if self.coarse else []


def with_levels(
    rows: Sequence[Row], names: Sequence[str] = (), paths_of_labels: Mapping[str, str] | None = None
) -> Levels | None:
    """Give the rows a label for each level; None where no label is a path, and the rows stay as they are.

    names: of the levels, from the user. paths_of_labels: a path for each label that is not one. Raises UserError.
    """
    offered = [(row, path_of(row.labels[LABEL], paths_of_labels or {})) for row in rows if not row.reject]
    if not names and all(len(path) < 2 for _, path in offered):
        return None
    for row, path in offered:
        row.reject = path_problem(path)
    usable = [(row, path) for row, path in offered if not row.reject]
    if not usable:
        return None
    leaves = leaves_of({path for _, path in usable})
    names = level_names(names, max(map(len, leaves)))
    columns = [category_names(leaves, depth) for depth in range(len(names))]
    labels = labels_of_paths(leaves, columns)
    for row, path in usable:
        attributes = {name: label for name, label in row.labels.items() if name != LABEL}
        row.labels = dict(zip(names, labels[path], strict=True)) | attributes
    coarse = sum(not row.labels[names[-1]] for row, _ in usable)
    return Levels(tuple(names), {own: list(leaf) for own, leaf in zip(columns[-1], leaves, strict=True)}, coarse)


def labels_of_paths(leaves: Sequence[LabelPath], columns: Sequence[Sequence[str]]) -> dict[LabelPath, list[str]]:
    """For each leaf and each category above one its name at every level, empty where the label does not reach."""
    labels: dict[LabelPath, list[str]] = {}
    for number, leaf in enumerate(leaves):
        own = [column[number] for column in columns]
        for depth in range(1, len(leaf)):
            labels.setdefault(leaf[:depth], own[:depth] + [""] * (len(columns) - depth))
        labels[leaf] = own
    return labels


def path_of(label: str, paths_of_labels: Mapping[str, str]) -> LabelPath:
    """The categories of a label, broad first, without empty ones at the end."""
    parts = [part.strip() for part in BETWEEN_CATEGORIES.split(f" {paths_of_labels.get(label, label)} ")]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def path_problem(path: LabelPath) -> str:
    """Why a path cannot be used, or an empty string."""
    if not path:
        return "empty label:"
    if not all(path):
        return f"category without the one above it: {PATH_SEPARATOR.join(path)!r}"
    return f"more than {MAX_LEVELS} levels: {PATH_SEPARATOR.join(path)!r}" if len(path) > MAX_LEVELS else ""


def leaves_of(paths: set[LabelPath]) -> list[LabelPath]:
    """The paths that are not the beginning of another."""
    beginnings = {path[:depth] for path in paths for depth in range(1, len(path))}
    return sorted(paths - beginnings)


def level_names(names: Sequence[str], depth: int) -> list[str]:
    """The user's, or level_1, level_2, … label; none that the dataset needs for itself. Raises UserError."""
    if not names:
        return [*(f"level_{number}" for number in range(1, depth)), LABEL]
    if depth > len(names):
        raise UserError(f"labels have up to {depth} levels, and {len(names)} are named: {', '.join(names)}")
    return [f"{name}_label" if name in OWN_COLUMNS else name for name in names]


def read_mapping(path: Path | None) -> dict[str, str]:
    """{label: path} from a JSON object, or from a table whose first column is the label and the others its levels.

    Raises UserError; an empty dict without a file.
    """
    if path is None:
        return {}
    if path.suffix.lower() != ".json":
        header = open_table(path).header
        lines = (line.cells for line in read_table(path, header) if not line.problem)
        rows = ([cells[name] for name in header] for cells in lines)
        return {label: PATH_SEPARATOR.join(filter(None, parts)) for label, *parts in rows}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--taxonomy {path} cannot be read ({one_line(error)})") from None
    if not isinstance(content, dict) or not all(isinstance(name, (str, list)) for name in content.values()):
        raise UserError(f'--taxonomy {path} must be like {{"Apple": "Food > Fruit > Apple"}} or have lists for paths')
    return {label: name if isinstance(name, str) else PATH_SEPARATOR.join(name) for label, name in content.items()}
