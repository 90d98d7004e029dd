"""Open a dataset that a data_prep command wrote, and its taxonomy."""

from collections.abc import Sequence

from datasets import ClassLabel, DatasetDict, load_from_disk

from data_prep.pipeline.card import read_card


class DatasetError(ValueError):
    """The dataset folder, a split or a column of it cannot be used; the message says what is there."""


def load_prepared(folder: str, label: str, splits: Sequence[str]) -> DatasetDict:
    """The dataset in `folder`, which must have the label column and the splits. Raises DatasetError."""
    try:
        read_card(folder)
        dataset = load_from_disk(folder)
    except (FileNotFoundError, ValueError) as error:
        raise DatasetError(f"{folder} is no prepared dataset; data_prep writes one, see the README") from error
    missing = [split for split in splits if split not in dataset]
    if missing:
        raise DatasetError(f"{folder} has no split {' and no split '.join(missing)}; it has {', '.join(dataset)}")
    features = dataset[splits[0]].features
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    if label not in classes:
        raise DatasetError(f"{folder} has no label column {label!r}; it has {', '.join(classes) or 'none'}")
    return dataset


def taxonomy_of(folder: str, label: str, names: Sequence[str]) -> dict:
    """`{"levels": [coarse … label], "paths": {name: [coarse name … name]}}` for a label column's class names.

    The dataset's card holds the tree; a column that is no level of it is a tree of one level.
    """
    card = read_card(folder)
    levels = card.get("taxonomy_levels") or []
    if label not in levels:
        return {"levels": [label], "paths": {name: [name] for name in names}}
    depth = levels.index(label) + 1
    known = {path[depth - 1]: path[:depth] for path in card["taxonomy"].values()}
    return {"levels": levels[:depth], "paths": {name: known.get(name, [name] * depth) for name in names}}
