"""Which images an epoch draws, and that --sampler balanced is what a training uses."""

from types import SimpleNamespace

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pytest
import torch

from training.arguments import Recipe
from training.sampler import BalancedSampler
from training.trainer import ImageTrainer

LABELS = np.array([0] * 6 + [2] * 3 + [3])


def test_every_class_that_occurs_has_the_same_share_of_the_draws():
    sampler = BalancedSampler(LABELS, seed=1)
    assert sampler.probabilities.tolist() == pytest.approx([1 / 18] * 6 + [1 / 9] * 3 + [1 / 3])


def test_an_epoch_is_drawn_with_replacement_by_seed_and_epoch_alone():
    sampler = BalancedSampler(LABELS, seed=5)
    assert len(sampler) == 10
    for epoch in (0, 3):
        sampler.set_epoch(epoch)
        expected = np.random.default_rng([5, epoch]).choice(10, 10, p=sampler.probabilities)
        assert list(sampler) == expected.tolist()


def test_a_sampler_starts_at_the_first_epoch_and_hears_of_each_next_one():
    sampler = BalancedSampler(LABELS, seed=5)
    assert (sampler.seed, sampler.epoch) == (5, 0)
    sampler.on_epoch_begin(None, SimpleNamespace(epoch=2.0), None)
    assert sampler.epoch == 2 and isinstance(sampler.epoch, int)


@pytest.mark.parametrize(("name", "kind"), [("balanced", BalancedSampler), ("uniform", torch.utils.data.RandomSampler)])
def test_a_training_draws_with_the_sampler_of_its_recipe(tmp_path, name, kind):
    sampler = trainer(tmp_path, Recipe(sampler=name))._get_train_sampler()
    assert type(sampler) is kind


def test_a_balanced_training_sees_the_rare_class_as_often_as_the_frequent_one(tmp_path):
    training = trainer(tmp_path, Recipe(sampler="balanced"))
    drawn = np.concatenate([batch["labels"].numpy() for batch in training.get_train_dataloader()])
    assert len(drawn) == 400 and 0.4 < drawn.mean() < 0.6  # 1 image of 20 has label 1


def trainer(folder, recipe: Recipe) -> ImageTrainer:
    """As training/run.py makes it, of a model and images that cost nothing."""
    from transformers import TrainingArguments

    from models.registry import build_model
    from training.image_dataset import collate

    labels = (np.arange(400) % 20 == 0).astype(int)[:, None]

    class Images(torch.utils.data.Dataset):
        def __init__(self):
            self.labels = labels

        def __len__(self):
            return len(labels)

        def __getitems__(self, rows):
            return np.zeros((len(rows), 8, 8, 3), np.uint8), labels[rows], np.asarray(rows)

    return ImageTrainer(
        model=build_model("basic_cnn", ["often", "rarely"], image_size=32, from_scratch=True),
        args=TrainingArguments(output_dir=str(folder), use_cpu=True, remove_unused_columns=False, report_to="none"),
        data_collator=collate,
        train_dataset=Images(),
        train_transform=torch.nn.Identity(),
        eval_transform=torch.nn.Identity(),
        recipe=recipe,
    )
