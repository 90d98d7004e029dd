"""Which training images an epoch draws: all of them once, or every class equally often."""

from collections.abc import Iterator

import numpy as np
import torch
from transformers import TrainerCallback

SAMPLERS = ("uniform", "balanced")


class BalancedSampler(torch.utils.data.Sampler, TrainerCallback):
    """Draws as many rows as there are, with replacement, every class of `labels` (rows,) equally often on average.

    An epoch's rows depend on the seed and the epoch alone: a resumed run and every process of a distributed one draw
    the same.
    """

    def __init__(self, labels: np.ndarray, seed: int):
        counts = np.bincount(labels)
        self.probabilities = 1.0 / (counts[labels] * np.count_nonzero(counts))
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return len(self.probabilities)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng([self.seed, self.epoch])
        yield from generator.choice(len(self), len(self), p=self.probabilities).tolist()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.set_epoch(int(state.epoch))
