"""Joint training where some images have a coarse label: the probability of a class is the sum over its leaves.

A photo labelled «trousers» says that one of Jeans, Trousers, Track Pants … is right, not which. Its loss is
-log(p(Jeans) + p(Trousers) + …), the marginal likelihood over the taxonomy; an image with a leaf label has the usual
cross-entropy as its special case. So photos teach the model of 141 article types without being labelled anew.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import DatasetDict
from transformers import HfArgumentParser, PreTrainedModel, TrainingArguments, set_seed

import train
from data_prep.pipeline.prepared import load_prepared
from studies.domain_gap.common_labels import COMMON, leaves
from studies.domain_gap.data import Source
from training.augment.batch import batch_transforms
from training.cross_validation import PooledImageDataset
from training.image_dataset import ImageDataset, collate
from training.recipe import Recipe
from training.trainer import ImageTrainer, score


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
    """A ImageTrainer whose training labels from `leaves` on mean coarse classes: label - leaves is a row of `sets`.

    sets: (coarse classes, leaves) bool.
    """

    def __init__(self, *args, sets: np.ndarray, **kwargs):
        super().__init__(*args, loss=MarginalLoss(kwargs["args"].label_smoothing_factor), **kwargs)
        leaf_sets = np.eye(sets.shape[1], dtype=bool)
        self.members = torch.from_numpy(np.concatenate([leaf_sets, sets])).float().to(self.args.device)

    def _prepare_inputs(self, inputs: dict) -> dict:
        if not self.model.training:
            return super()._prepare_inputs(inputs)
        labels = inputs["labels"]
        inputs = super()._prepare_inputs({**inputs, "labels": labels.clamp(max=self.members.shape[1] - 1)})
        inputs["targets"] = self.members[labels.to(self.members.device)]
        return inputs


def train_jointly(
    arguments: Sequence[str], photos: Sequence[Source], repeats: int, export: bool, command: str, folder: Path
) -> None:
    """Train on the catalogue that `arguments` of train.py name and on the coarse sources, and write the model folder.

    arguments: without --mixup and --cutmix, since a coarse label is no share. repeats: how often an image of the
    coarse sources counts beside one of the catalogue. export: write model.onnx too. command: for the model's card.
    Raises ValueError where a coarse class has no article type in the catalogue.
    """
    parser = HfArgumentParser((train.Arguments, Recipe, TrainingArguments))
    options, recipe, training = train.parse(parser, [*arguments, "--output_dir", str(folder)])
    dataset = load_prepared(options.dataset, options.label, ["train", "validation", "test"])
    set_seed(training.seed)
    model = train.labeled_model(options, dataset)
    cache = train.cache_folder(options, training)
    images = train.decode_splits(dataset, options, model.config, cache, training.seed)
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    joined = joined_images(images["train"], photos, labels, options.image_size, repeats)
    trainer = joint_trainer(model, joined, images["validation"], labels, options, recipe, training, dataset)
    train.fit(trainer, None)
    train.save(trainer, options, command, train.final_scores(trainer, images))
    if export:
        train.export(trainer, images)


def joint_trainer(
    model: PreTrainedModel,
    joined: PooledImageDataset,
    validation: ImageDataset,
    labels: list[str],
    options: train.Arguments,
    recipe: Recipe,
    training: TrainingArguments,
    dataset: DatasetDict,
) -> CoarseTrainer:
    levels, ancestors = train.ancestors_of(model.config.taxonomy, dataset["train"].features)
    transforms = batch_transforms(recipe.augment, *train.normalization(options), recipe.random_erasing)
    return CoarseTrainer(
        model=model,
        args=training,
        data_collator=collate,
        train_dataset=joined,
        eval_dataset=validation,
        compute_metrics=partial(score, ancestors=ancestors, levels=levels),
        train_transform=transforms[0],
        eval_transform=transforms[1],
        recipe=recipe,
        sets=leaves(labels),
    )


def joined_images(
    catalog: ImageDataset, photos: Sequence[Source], labels: list[str], size: int, repeats: int
) -> PooledImageDataset:
    """The catalogue's training images and, `repeats` times, those of the coarse sources with labels above its own."""
    parts, known = [catalog], leaves(labels).any(axis=1)
    for source in photos:
        columns = ["label"] * catalog.labels.shape[1]
        part = ImageDataset(source.split("train"), columns, source.pixels("train", size))
        unknown = sorted({COMMON[number] for number in part.labels[:, 0] if not known[number]})
        if unknown:
            raise ValueError(f"the catalogue has no article type of the class {', '.join(unknown)} of {source.name}")
        part.labels = part.labels + len(labels)
        parts.append(part)
    coarse = len(catalog) + np.arange(sum(map(len, parts[1:])))
    return PooledImageDataset(parts, np.concatenate([np.arange(len(catalog)), np.tile(coarse, repeats)]))
