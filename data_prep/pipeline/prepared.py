"""Read a dataset that a data_prep command wrote: its splits, rows, label columns and taxonomy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import one_line
from app.taxonomy import category_names
from data_prep.pipeline.card import DatasetError, read_card
from data_prep.pipeline.images import DatasetImage, open_split
from data_prep.pipeline.schema import Row
from data_prep.pipeline.splits import SPLITS

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

ROWS_PER_READ = 500
CARD_FACTS = {"label_columns", "splits", "fingerprint", "license", "source"}
OWN_COLUMNS = ("image", "id", "title", "group")  # of every prepared dataset


@dataclass(slots=True, frozen=True)
class PreparedDataset:
    """A dataset of which all splits can be opened. label: the label column that counts."""

    folder: Path
    card: Mapping
    label: str

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def split(self, name: str) -> "Dataset":
        """One split, its images undecoded."""
        return open_split(self.folder, name)

    def class_names(self, column: str = "") -> list[str]:
        """The classes of a label column; of the one that counts where none is named."""
        return list(self.split("train").features[column or self.label].names)

    def rows(self) -> Iterator[Row]:
        return read_rows(self.folder)


def open_prepared(folder: Path, label: str = "") -> PreparedDataset:
    """The dataset in a folder; `label` is empty for the card's first label column. Raises DatasetError."""
    card = read_card(folder)
    missing = CARD_FACTS - card.keys()
    if missing:
        raise DatasetError(f"the card of {folder} lacks {', '.join(sorted(missing))}; prepare the dataset again")
    label = pick_label(folder, card["label_columns"], label)
    for split in SPLITS:
        check_split(folder, split, card["label_columns"])
    return PreparedDataset(folder, card, label)


def check_split(folder: Path, split: str, label_columns: Sequence[str]) -> None:
    """Raises DatasetError unless the split can be opened and has the columns of a prepared dataset."""
    from datasets import ClassLabel

    try:
        features = open_split(folder, split).features
    except (KeyError, ValueError, OSError) as error:
        raise DatasetError(f"{folder} cannot be opened ({one_line(error)}); prepare it again") from error
    missing = [name for name in (*OWN_COLUMNS, *label_columns) if name not in features]
    if missing:
        raise DatasetError(f"{folder}: the {split} split lacks the columns {', '.join(missing)}")
    for column in label_columns:
        if not isinstance(features[column], ClassLabel):
            raise DatasetError(f"{folder}: {column} is not a column of class labels")


def pick_label(folder: str | Path, columns: Sequence[str], label: str = "") -> str:
    """The label column `label` of a dataset, or its first where none is named. Raises DatasetError."""
    if not columns or (label and label not in columns):
        raise DatasetError(f"{folder} has no label column {label!r}; it has {', '.join(columns) or 'none'}")
    return label or columns[0]


def load_prepared(folder: str, label: str, splits: Sequence[str]) -> "DatasetDict":
    """The dataset in `folder`, which must have the label column and the splits. Raises DatasetError."""
    from datasets import ClassLabel, load_from_disk

    try:
        read_card(folder)
        dataset = load_from_disk(folder)
    except (FileNotFoundError, ValueError) as error:
        raise DatasetError(f"{folder} is not a prepared dataset; data_prep writes one, see the README") from error
    missing = [split for split in splits if split not in dataset]
    if missing:
        raise DatasetError(f"{folder} has no split {' and no split '.join(missing)}; it has {', '.join(dataset)}")
    features = dataset[splits[0]].features
    pick_label(folder, [name for name, feature in features.items() if isinstance(feature, ClassLabel)], label)
    return dataset


def taxonomy_of(folder: str, label: str, names: Sequence[str]) -> dict:
    """`{"levels": [coarse … label], "paths": {name: [coarse name … name]}}` for a label column's class names.

    The dataset's card holds the tree; a column that is not a level of it is a tree of one level.
    """
    card = read_card(folder)
    levels = card.get("taxonomy_levels") or []
    if label not in levels:
        return {"levels": [label], "paths": {name: [name] for name in names}}
    depth = levels.index(label) + 1
    leaves = list(card["taxonomy"].values())
    categories = list(card["taxonomy"]) if depth == len(levels) else category_names(leaves, depth - 1)
    known = {category: path[:depth] for category, path in zip(categories, leaves, strict=True)}
    return {"levels": levels[:depth], "paths": {name: known.get(name, [name] * depth) for name in names}}


def read_rows(folder: Path) -> Iterator[Row]:
    """The rows of a prepared dataset with their splits and groups, for the commands that start from one."""
    label_columns = read_card(folder)["label_columns"]
    for split in SPLITS:
        part = open_split(folder, split)
        features = part.features  # asked once: `part.features` copies them all
        paths = part.select_columns("image").flatten().select_columns("image.path")
        columns = [name for name in part.column_names if name != "image"]
        batches = zip(paths.iter(ROWS_PER_READ), part.select_columns(columns).iter(ROWS_PER_READ), strict=True)
        lines = (zip(names["image.path"], *batch.values(), strict=True) for names, batch in batches)
        for index, (file, *cells) in enumerate(chain.from_iterable(lines)):
            values: dict = dict(zip(columns, cells, strict=True))
            labels = {name: label_name(features[name], values.pop(name)) for name in label_columns}
            image = DatasetImage(str(folder), split, index)
            own = {name: values.pop(name) or "" for name in OWN_COLUMNS[1:]}
            yield Row(file=file or "", image=image, labels=labels, split=split, extra=values, **own)


def label_name(feature, value: int | str | None) -> str:
    """The name of a label, whether the column holds numbers or names; empty for an unknown one."""
    if value is None or value == -1:
        return ""
    return feature.int2str(value) if hasattr(feature, "int2str") else str(value)
