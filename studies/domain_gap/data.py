"""The three sources of studies/domain_gap/study.py with common labels: what they train on and what they are scored on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets

from data_prep.pipeline.card import dataset_fingerprint
from data_prep.pipeline.prepared import load_prepared
from studies.common.derived import derive
from studies.domain_gap.common_labels import COMMON, SOURCES, common_id
from training.image_dataset import cached_pixels

SPLITS = ("train", "validation", "test")
KEPT = ("image", "id", "title", "group", "label")
# Scored are Kaggle's test split, the photos of the given validation split, and, since the shared Fashion-MNIST is
# small, validation and test of it. The rest trains, but for Kaggle's validation split, which stays what it is.
SCORED = {"fashion_mnist": ("validation", "test"), "kaggle": ("test",), "clothing": ("validation",)}
TRAINING = {"fashion_mnist": ("train",), "kaggle": ("train",), "clothing": ("train", "test")}


@dataclass(frozen=True)
class Source:
    """name: as in common_labels. folder: derived dataset, train to learn from and validation to be scored on.

    truth: (rows,) common classes of the scored rows. groups: their duplicate groups.
    """

    name: str
    folder: Path
    fingerprint: str
    trained_on: int
    truth: np.ndarray
    groups: list[str]

    def scored_pixels(self, size: int) -> np.ndarray:
        """(rows, size, size, 3) uint8."""
        return self.pixels("validation", size)

    def pixels(self, split: str, size: int) -> np.ndarray:
        return cached_pixels(self.split(split), size, self.folder / "cache")

    def split(self, name: str) -> Dataset:
        return DatasetDict.load_from_disk(self.folder)[name]


def open_source(name: str, prepared: Path, runs: Path) -> Source:
    """Raises ValueError where `prepared` is no dataset of this source, with what it lacks."""
    load_prepared(str(prepared), SOURCES[name], SPLITS)
    folder = derive(prepared, runs / "data" / name, lambda splits: with_common_labels(splits, name))
    splits = DatasetDict.load_from_disk(folder)
    scored = splits["validation"]
    truth = np.array(scored["label"])
    return Source(name, folder, dataset_fingerprint(prepared), len(splits["train"]), truth, list(scored["group"]))


def with_common_labels(splits: DatasetDict, name: str) -> DatasetDict:
    parts = {"train": TRAINING[name], "validation": SCORED[name]}
    joined = {part: concatenate_datasets([splits[one] for one in ones]) for part, ones in parts.items()}
    return DatasetDict({part: relabeled(rows, name) for part, rows in joined.items()})


def relabeled(rows: Dataset, name: str) -> Dataset:
    """The rows whose class stands in the table, with the common class as `label`."""
    column, number_of = SOURCES[name], common_id(name)
    own = [rows.features[column].names[label] for label in rows[column]]
    kept = [row for row, label in enumerate(own) if label in number_of]
    rows = rows.select(kept)
    rows = rows.remove_columns([each for each in rows.column_names if each not in KEPT or each == "label"])
    labels = [number_of[own[row]] for row in kept]
    return rows.add_column("label", labels).cast_column("label", ClassLabel(names=COMMON))


def few_images(source: Source, count: int, runs: Path, seed: int) -> Path:
    """A dataset with `count` images a class to learn from; the scored ones stay."""
    folder = runs / "data" / f"few_{count}_{source.name}"
    return derive(source.folder, folder, lambda splits: fewer(splits, count, seed), seed)


def fewer(splits: DatasetDict, count: int, seed: int) -> DatasetDict:
    labels, generator = np.array(splits["train"]["label"]), np.random.default_rng(seed)
    rows = [generator.permutation(np.flatnonzero(labels == one))[:count] for one in np.unique(labels)]
    return DatasetDict({"train": splits["train"].select(np.concatenate(rows)), "validation": splits["validation"]})


def fingerprints(sources: Sequence[Source]) -> dict[str, str]:
    return {source.name: source.fingerprint for source in sources}
