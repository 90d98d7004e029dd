"""Joint training where some images have a coarse label: the probability of a class is the sum over its leaves.

A photo labeled "trousers" says that one of Jeans, Trousers, Track Pants … is right, not which. Its loss is
-log(p(Jeans) + p(Trousers) + …), the marginal likelihood over the taxonomy; an image with a leaf label has the usual
cross-entropy as its special case. So photos teach the model of 141 article types without being labeled anew.
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


class MarginalLoss(torch.nn.Module):
    """Mean of -log of the summed probability of each image's leaves; smoothing: share of the uniform target."""

    def __init__(self, smoothing: float = 0.0):
        super().__init__()
        self.smoothing = smoothing

    def forward(self, logits: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
        """logits: (batch, leaves) float32; members: (batch, leaves), above 0 where a leaf belongs to the label."""
        logarithms = logits.log_softmax(dim=1)
        marginal = logarithms.masked_fill(members == 0, -torch.inf).logsumexp(dim=1)
        return -((1 - self.smoothing) * marginal + self.smoothing * logarithms.mean(dim=1)).mean()


class CoarseTrainer(ImageTrainer):
    """An ImageTrainer whose training labels above the model's own mean coarse classes, in the order of `sets`.

    sets: (coarse classes, leaves) bool.
    """

    def __init__(self, *args, sets: np.ndarray, **kwargs):
        kwargs["loss"] = MarginalLoss(kwargs["args"].label_smoothing_factor)
        super().__init__(*args, **kwargs)
        leaf_sets = np.eye(sets.shape[1], dtype=bool)
        self.members = torch.from_numpy(np.concatenate([leaf_sets, sets])).float().to(self.args.device)

    def _prepare_inputs(self, inputs: dict) -> dict:
        if not self.model.training:
            return super()._prepare_inputs(inputs)
        labels = inputs["labels"]
        inputs = super()._prepare_inputs({**inputs, "labels": labels.clamp(max=self.members.shape[1] - 1)})
        inputs["targets"] = self.members[labels.to(self.members.device)]
        return inputs


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
    train_model(data, training, arguments, recipe, command, partial(CoarseTrainer, sets=sets))


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
