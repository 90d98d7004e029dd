"""A dataset as a training sees it, wherever its images come from: `TrainingData` and its implementations.

    data = open_data(arguments, recipe)                       # PreparedData, or StreamedData with --streaming
    images = data.images(["articleType"], image_size=96, seed=42)
    images["train"].__getitems__([0, 1])                      # pixels, label ids, row numbers

PreparedData keeps decoded images in a cache, StreamedData decodes them while it reads Parquet shards, and FoldData of
training/cross_validation.py deals the rows of a PreparedData into another train and validation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from datasets import Dataset, DatasetDict

from data_prep.pipeline.card import dataset_fingerprint
from data_prep.pipeline.empty_splits import check_filled
from data_prep.pipeline.prepared import DatasetError, load_prepared, taxonomy_of
from training.arguments import Arguments, Recipe
from training.image_dataset import Batch, ImageDataset, bytes_to_cache, cached_pixels, collate
from training.streaming import (
    StreamedImageDataset,
    StreamedSplit,
    collate_rows,
    open_shards,
    shards_fingerprint,
    shards_taxonomy,
)

NEEDED_SPLITS = ("train", "validation")


class Images(Protocol):
    """The images of one split. labels: (rows, levels) label ids, the label first, then its coarser levels."""

    labels: np.ndarray

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int]) -> Batch: ...

    def ids(self, rows: list[int]) -> list[str]:
        """The ids of some rows, to name them to a person."""

    def groups(self) -> list[str]:
        """The duplicate group of every row."""


class TrainingData(Protocol):
    """An open dataset with its splits.

    any_row: whether rows can be read in any order, which a balanced sampler and folds need. collate: makes a batch of
    what the images hand out. label: the column to learn. splits: by name, with `features`. cache: the folder for
    decoded images; None where none are kept.
    """

    any_row: ClassVar[bool]
    collate: ClassVar[Callable[..., dict]]
    label: str
    splits: Mapping[str, Dataset | StreamedSplit]
    cache: Path | None

    def fingerprint(self) -> str | None:
        """The hash that names the dataset's content, from its card; None without a card."""

    def taxonomy(self) -> dict:
        """`levels` and `paths` of the label column's class names, as the model's config holds them."""

    def bytes_to_cache(self, image_size: int) -> int:
        """The disk space that decoded images will take in the cache."""

    def images(self, columns: Sequence[str], image_size: int, seed: int) -> dict[str, Images]:
        """The images of every split. columns: the label, then its coarser levels. seed: of the order, if streamed."""


@dataclass(frozen=True)
class PreparedData:
    """What a data_prep command wrote, in its folder; images are decoded once and then mapped from the cache."""

    any_row = True
    collate = staticmethod(collate)
    folder: str
    label: str
    splits: DatasetDict
    cache: Path

    @classmethod
    def open(cls, folder: str, label: str, cache_dir: str | None = None) -> "PreparedData":
        """Raises DatasetError."""
        dataset = load_prepared(folder, label, NEEDED_SPLITS)
        check_filled(folder, {split: dataset[split] for split in NEEDED_SPLITS})
        filled = DatasetDict({name: split for name, split in dataset.items() if len(split)})
        return cls(folder, label, filled, Path(cache_dir or f"{folder}/cache"))

    def fingerprint(self) -> str:
        return dataset_fingerprint(self.folder)

    def taxonomy(self) -> dict:
        return taxonomy_of(self.folder, self.label, self.splits["train"].features[self.label].names)

    def bytes_to_cache(self, image_size: int) -> int:
        return bytes_to_cache(self.splits.values(), image_size, self.cache)

    def images(self, columns: Sequence[str], image_size: int, seed: int) -> dict[str, ImageDataset]:
        return {
            name: ImageDataset(split, columns, cached_pixels(split, image_size, self.cache))
            for name, split in self.splits.items()
        }


@dataclass(frozen=True)
class StreamedData:
    """Parquet shards at an address, of which only the footers have been read; training order comes from the seed."""

    any_row = False
    collate = staticmethod(collate_rows)
    cache = None
    address: str
    label: str
    splits: dict[str, StreamedSplit]

    @classmethod
    def open(cls, address: str, label: str, cache_dir: str | None = None) -> "StreamedData":
        """Raises DatasetError."""
        return cls(address, label, open_shards(address, label, NEEDED_SPLITS))

    def fingerprint(self) -> str | None:
        return shards_fingerprint(self.address)

    def taxonomy(self) -> dict:
        return shards_taxonomy(self.address, self.label, self.splits["train"].features[self.label].names)

    def bytes_to_cache(self, image_size: int) -> int:
        return 0

    def images(self, columns: Sequence[str], image_size: int, seed: int) -> dict[str, StreamedImageDataset]:
        return {
            name: StreamedImageDataset(split, columns, image_size, seed if name == "train" else None)
            for name, split in self.splits.items()
        }


def open_data(arguments: Arguments, recipe: Recipe) -> TrainingData:
    """The dataset that the command line names. Raises DatasetError, also for options that it cannot serve."""
    kind = StreamedData if arguments.streaming else PreparedData
    if not kind.any_row and arguments.folds:
        raise DatasetError("--folds picks rows, which --streaming cannot; prepare the dataset on this machine")
    if not kind.any_row and recipe.sampler == "balanced":
        raise DatasetError(
            "--sampler balanced picks any row at any time, which --streaming cannot; use --class_weights"
        )
    if not kind.any_row and recipe.fit_head:
        raise DatasetError("--fit_head reads every image before the first step, which --streaming cannot")
    return kind.open(arguments.dataset, arguments.label, arguments.cache_dir)
