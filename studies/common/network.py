"""Logits and features of a trained folder for decoded images, without its ONNX graph, which takes longer to write.

model = Network(Path("runs/mobilenet_v2"))
logits = model.logits(pixels)          # pixels: (rows, size, size, 3) uint8
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForImageClassification

from app.classifier import TTA_CORNERS, TTA_SCALE
from models.registry import head_of, normalization_of
from train import bf16_is_fast

BATCH = 64


class Network:
    """A model folder of train.py, or pretrained weights in the same layout, ready to answer."""

    def __init__(self, folder: Path | str):
        model = AutoModelForImageClassification.from_pretrained(folder)
        self.device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        self.model = model.eval().to(self.device, memory_format=torch.channels_last)
        self.mean, self.std = (torch.tensor(each).view(1, 3, 1, 1).to(self.device) for each in normalization_of(folder))
        self.labels = [model.config.id2label[i] for i in range(model.config.num_labels)]

    @torch.inference_mode()
    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """(rows, height, width, 3) uint8 -> (rows, labels) float32."""
        return np.concatenate([self._answer(batch).float().cpu().numpy() for batch in self.batches(pixels)])

    @torch.inference_mode()
    def embeddings(self, pixels: np.ndarray) -> np.ndarray:
        """What the last linear layer reads: (rows, height, width, 3) uint8 -> (rows, dim) float32."""
        seen = []
        head = next(layer for layer in head_of(self.model).modules() if isinstance(layer, torch.nn.Linear))
        hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu().numpy()))
        try:
            for batch in self.batches(pixels):
                self._answer(batch)
        finally:
            hook.remove()
        return np.concatenate(seen)

    def batches(self, pixels: np.ndarray) -> Iterator[torch.Tensor]:
        """Normalised (batch, 3, height, width) float32 on the model's device."""
        for start in range(0, len(pixels), BATCH):
            batch = torch.from_numpy(np.array(pixels[start : start + BATCH])).to(self.device)
            normalized = (batch.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
            yield normalized.contiguous(memory_format=torch.channels_last)

    def _answer(self, batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=bf16_is_fast()):
            return self.model(pixel_values=batch).logits


def larger_size(size: int) -> int:
    """The side of the images that the crops of `views` are cut from."""
    return round(TTA_SCALE * size)


def views(pixels: np.ndarray, larger: np.ndarray) -> Iterator[np.ndarray]:
    """The image and its mirror image, then crops and theirs, as predict.py --tta makes them.

    pixels: (rows, size, size, 3) uint8; larger: the same images with the side larger_size(size).
    """
    size, spare = pixels.shape[1], larger.shape[1] - pixels.shape[1]
    places = [(round(x * spare), round(y * spare)) for x, y in TTA_CORNERS]
    for view in (pixels, *(larger[:, top : top + size, left : left + size] for left, top in places)):
        yield view
        yield view[:, :, ::-1]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    logits = logits.astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
