"""Joint training where some images have a coarse label of another dataset; training/coarse_labels.py has the loss.

A photo labeled "trousers" teaches the model of 141 article types without being labeled anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from data_prep.pipeline.card import DatasetError
from studies.domain_gap.common_labels import COMMON, leaves
from studies.domain_gap.data import Source
from training.arguments import build_parser, parse
from training.data import PreparedData
from training.image_dataset import ImageDataset, PooledImageDataset
from training.run import train_model
from training.trainer import ImageTrainer


class JointSets:
    """What the labels above the model's own mean: the coarse classes of `sets`, (coarse classes, leaves) bool."""

    def __init__(self, sets: np.ndarray):
        self.sets = torch.from_numpy(np.concatenate([np.eye(sets.shape[1], dtype=bool), sets]))

    def members(self, labels: torch.Tensor, coarser: torch.Tensor) -> torch.Tensor:
        """As training.coarse_labels.LabelSets has it."""
        self.sets = self.sets.to(labels.device)
        return self.sets[labels]


@dataclass(frozen=True)
class JointData(PreparedData):
    """The catalogue whose `train` is joined by the photos, each of them `repeats` times."""

    photos: Sequence[Source]
    repeats: int

    def images(self, columns: Sequence[str], image_size: int, seed: int) -> dict[str, ImageDataset]:
        own = super().images(columns, image_size, seed)
        labels = self.splits["train"].features[self.label].names
        return {**own, "train": joined_images(own["train"], self.photos, labels, image_size, self.repeats)}


def train_jointly(argv: Sequence[str], photos: Sequence[Source], repeats: int, command: str, folder: Path) -> None:
    """Train on the catalogue that `argv` names and on the coarse sources, and write the model folder.

    argv: arguments of train.py without --mixup and --cutmix, since a coarse label cannot be shared out. repeats: how
    often an image of the coarse sources counts beside one of the catalogue. command: for the model's card.
    Raises DatasetError where a coarse class has no article type in the catalogue.
    """
    arguments, recipe, training = parse(build_parser(__doc__), [*argv, "--output_dir", str(folder)])
    catalog = PreparedData.open(arguments.dataset, arguments.label)
    data = JointData(catalog.folder, catalog.label, catalog.splits, catalog.cache, photos, repeats)
    sets = leaves(catalog.splits["train"].features[catalog.label].names)
    train_model(data, training, arguments, recipe, command, partial(ImageTrainer, coarse=JointSets(sets)))


def joined_images(
    catalog: ImageDataset, photos: Sequence[Source], labels: list[str], size: int, repeats: int
) -> PooledImageDataset:
    """The catalogue's training images and, `repeats` times, those of the coarse sources with labels above its own."""
    parts, has_leaves = [catalog], leaves(labels).any(axis=1)
    for source in photos:
        columns = ["label"] * catalog.labels.shape[1]
        part = ImageDataset(source.split("train"), columns, source.pixels("train", size))
        unknown = sorted({COMMON[number] for number in part.labels[:, 0] if not has_leaves[number]})
        if unknown:
            raise DatasetError(f"the catalogue has no article type of the class {', '.join(unknown)} of {source.name}")
        part.labels = part.labels + len(labels)
        parts.append(part)
    coarse = len(catalog) + np.arange(sum(map(len, parts[1:])))
    return PooledImageDataset(parts, np.concatenate([np.arange(len(catalog)), np.tile(coarse, repeats)]))
