"""Logits and features of a trained folder for decoded images, without its ONNX graph, which takes longer to write.

model = Network(Path("runs/mobilenet_v2"))
logits = model.logits(pixels)          # pixels: (rows, size, size, 3) uint8
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from transformers import AutoModelForImageClassification, PreTrainedModel

from app.views import CORNERS, SCALE
from models.layers import head_of
from models.registry import normalization_of
from training.arguments import bf16_is_fast

BATCH_SIZE = 64


class Network:
    """A model folder of train.py, or pretrained weights in the same layout, ready to answer."""

    def __init__(self, folder: Path | str):
        self._take(AutoModelForImageClassification.from_pretrained(folder), normalization_of(folder))

    @classmethod
    def around(cls, model: PreTrainedModel, normalization: tuple[list[float], list[float]]) -> "Network":
        """Of a model in memory, which is set to answer, not to learn. normalization: mean and standard deviation."""
        network = cls.__new__(cls)
        network._take(model, normalization)
        return network

    def _take(self, model: PreTrainedModel, normalization: tuple[list[float], list[float]]) -> None:
        self.device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        self.model = model.eval().to(self.device, memory_format=torch.channels_last)
        self.mean, self.std = (torch.tensor(v).view(1, 3, 1, 1).to(self.device) for v in normalization)
        self.labels = [model.config.id2label[i] for i in range(model.config.num_labels)]

    @torch.inference_mode()
    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """(rows, height, width, 3) uint8 -> (rows, labels) float64."""
        return np.concatenate([self._forward(batch).float().cpu() for batch in self._batches(pixels)], dtype=np.float64)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """(rows, height, width, 3) uint8 -> (rows, labels) float64."""
        return softmax(self.logits(pixels), axis=1)

    @torch.inference_mode()
    def embeddings(self, pixels: np.ndarray) -> np.ndarray:
        """What the last linear layer reads: (rows, height, width, 3) uint8 -> (rows, dim) float32.

        Several threads may call it at the same time.
        """
        inputs_of_head: list[np.ndarray] = []
        own_thread = threading.get_ident()

        def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
            if threading.get_ident() == own_thread:
                inputs_of_head.append(inputs[0].float().cpu().numpy())

        hook = linear_head(self.model).register_forward_pre_hook(keep)
        try:
            self.logits(pixels)
        finally:
            hook.remove()
        return np.concatenate(inputs_of_head)

    def _batches(self, pixels: np.ndarray) -> Iterator[torch.Tensor]:
        """Normalized (batch, 3, height, width) float32 on the model's device."""
        for start in range(0, len(pixels), BATCH_SIZE):
            batch = torch.from_numpy(np.array(pixels[start : start + BATCH_SIZE])).to(self.device)
            normalized = (batch.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
            yield normalized.contiguous(memory_format=torch.channels_last)

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        with autocast(batch.device):
            return self.model(pixel_values=batch).logits


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast())


def linear_head(model: PreTrainedModel) -> torch.nn.Linear:
    return next(layer for layer in head_of(model).modules() if isinstance(layer, torch.nn.Linear))


def larger_size(size: int) -> int:
    """The side of the images that the crops of `views` are cut from."""
    return round(SCALE * size)


def views(pixels: np.ndarray, larger: np.ndarray) -> Iterator[np.ndarray]:
    """The image and its mirror image, then crops and theirs, as predict.py --tta makes them.

    pixels: (rows, size, size, 3) uint8; larger: the same images with the side larger_size(size).
    """
    size, spare = pixels.shape[1], larger.shape[1] - pixels.shape[1]
    corners = [(round(x * spare), round(y * spare)) for x, y in CORNERS]
    for view in (pixels, *(larger[:, top : top + size, left : left + size] for left, top in corners)):
        yield from with_mirror_images(view)


def with_mirror_images(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return pixels, pixels[:, :, ::-1]
