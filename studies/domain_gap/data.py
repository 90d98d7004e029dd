"""The three sources of the study with common labels: what models train on and what they are scored on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets

from data_prep.pipeline.card import dataset_fingerprint
from data_prep.pipeline.prepared import load_prepared
from studies.common.derived_dataset import derive
from studies.domain_gap.common_labels import COMMON, SOURCES, common_id
from training.image_dataset import cached_pixels

SPLITS = ("train", "validation", "test")
KEPT = ("image", "id", "title", "group")  # columns beside the label
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
    """Raises DatasetError where `prepared` is not a dataset of this source, with what it lacks."""
    load_prepared(str(prepared), SOURCES[name], SPLITS)
    folder = derive(prepared, runs / "data" / name, lambda splits: with_common_labels(splits, name))
    splits = DatasetDict.load_from_disk(folder)
    scored = splits["validation"]
    truth = np.array(scored["label"])
    return Source(name, folder, dataset_fingerprint(prepared), len(splits["train"]), truth, list(scored["group"]))


def with_common_labels(splits: DatasetDict, name: str) -> DatasetDict:
    parts = {"train": TRAINING[name], "validation": SCORED[name]}
    return DatasetDict(
        {part: relabeled(concatenate_datasets([splits[own] for own in names]), name) for part, names in parts.items()}
    )


def relabeled(rows: Dataset, name: str) -> Dataset:
    """The rows whose class stands in the table, with the common class as `label`."""
    column, number_of = SOURCES[name], common_id(name)
    own = [rows.features[column].names[label] for label in rows[column]]
    kept = [row for row, label in enumerate(own) if label in number_of]
    rows = rows.select(kept)
    rows = rows.select_columns([name for name in KEPT if name in rows.column_names])
    labels = [number_of[own[row]] for row in kept]
    return rows.add_column("label", labels).cast_column("label", ClassLabel(names=COMMON))


def few_images(source: Source, count: int, runs: Path, seed: int) -> Path:
    """A dataset with `count` images per class to learn from; the scored ones stay."""
    folder = runs / "data" / f"few_{count}_{source.name}"
    return derive(source.folder, folder, lambda splits: fewer(splits, count, seed), seed)


def fewer(splits: DatasetDict, count: int, seed: int) -> DatasetDict:
    labels, generator = np.array(splits["train"]["label"]), np.random.default_rng(seed)
    rows = [generator.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return DatasetDict({"train": splits["train"].select(np.concatenate(rows)), "validation": splits["validation"]})
