"""Trained models as teachers: their logits for the batch that the student sees, in the student's order of labels."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision.transforms.v2 import functional
from transformers import AutoModelForImageClassification

from app.errors import UserError, one_line
from models.registry import normalization_of
from training.run_state import label_differences


class TeacherError(UserError):
    """The teacher cannot be loaded or has other labels; the message says which."""


class Teacher(torch.nn.Module):
    """Answers for the student's images, whatever its own image size, normalization and order of labels are.

    folder: a model folder of train.py. labels: the student's, in its order. mean, std: the student's normalization.
    Raises TeacherError.
    """

    def __init__(self, folder: str, labels: list[str], mean: list[float], std: list[float]):
        super().__init__()
        try:
            self.model = AutoModelForImageClassification.from_pretrained(folder).eval().requires_grad_(False)
        except (OSError, ValueError) as error:
            reason = one_line(error) if Path(folder).is_dir() else "no such folder, nor a model on the Hub"
            raise TeacherError(f"--teacher {folder} is not a model folder with weights: {reason}") from error
        own = [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]
        _check_labels(folder, own, labels)
        self.register_buffer("order", torch.tensor([own.index(label) for label in labels]))
        self.image_size = self.model.config.image_size
        own_mean, own_std = (torch.tensor(values) for values in normalization_of(folder))
        # Undoing the student's normalization and applying the teacher's is one multiplication and one addition.
        self.register_buffer("scale", (torch.tensor(std) / own_std).view(1, 3, 1, 1))
        self.register_buffer("shift", ((torch.tensor(mean) - own_mean) / own_std).view(1, 3, 1, 1))

    @torch.no_grad()
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(batch, 3, height, width) float32 as the student reads them -> (batch, labels) float32 logits."""
        pixels = pixels * self.scale + self.shift
        if pixels.shape[-1] != self.image_size:
            pixels = functional.resize(pixels, [self.image_size, self.image_size], antialias=True)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return self.model(pixel_values=pixels).logits.float()[:, self.order]


class Teachers(torch.nn.Module):
    """Several teachers as one: the logarithm of the mean of their probabilities."""

    def __init__(self, teachers: Sequence[Teacher]):
        super().__init__()
        self.teachers = torch.nn.ModuleList(teachers)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """As Teacher's."""
        logarithms = torch.stack([teacher(pixels).log_softmax(dim=1) for teacher in self.teachers])
        return logarithms.logsumexp(dim=0) - math.log(len(self.teachers))


def _check_labels(folder: str, own: list[str], labels: list[str]) -> None:
    if differences := label_differences(own, labels):
        raise TeacherError(f"--teacher {folder} has other labels than the dataset: {differences}")
