"""What is said, before any work, where a split has no images."""

import sys
from collections.abc import Mapping, Sized
from pathlib import Path

from data_prep.pipeline.card import DatasetError, read_card

PURPOSES = {"train": "train on", "validation": "validate on", "test": "test on"}
CURE = (
    "a class needs images of at least 3 different products to reach train, validation and test: add images, or give "
    "splits of your own, and prepare the dataset again"
)


def nothing_left(counts: Mapping[str, int]) -> str:
    """Which splits have no images and what would help; an empty string if all have some. counts: images by split."""
    empty = [split for split in PURPOSES if not counts.get(split)]
    if not empty:
        return ""
    purposes, names = (" and ".join(words) for words in ([PURPOSES[split] for split in empty], empty))
    return f"nothing is left to {purposes}: no images in {names}; {CURE}"


def check_filled(folder: str | Path, splits: Mapping[str, Sized]) -> None:
    """Raises DatasetError if one of these splits has no images."""
    if problem := nothing_left({split: len(splits[split]) if split in splits else 1 for split in PURPOSES}):
        raise DatasetError(f"{folder}: {problem}")


def say_what_is_empty(folder: str | Path) -> None:
    """For commands that can do without: one line on the terminal, from the dataset's card."""
    counts = read_card(folder).get("splits")
    if isinstance(counts, dict) and (problem := nothing_left(counts)):
        print(f"note: {folder}: {problem}", file=sys.stderr)
