"""Adapt a trained network to other images without labels: SHOT (Liang et al. 2020), https://arxiv.org/abs/2002.08546.

    adapt(Path("runs/kaggle_phone"), pixels, classes=[0, 1, 2], steps=200, seed=42, output=Path("runs/adapted"))

The head stays; the features move until every image gets a sure answer while the answers together keep using all
classes. Labels, which each epoch takes from the nearest class mean of the features, keep the clusters together.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import softmax

from app.model_files import PREPROCESSOR_FILE
from models.layers import head_of
from models.registry import normalization_of
from training.arguments import bf16_is_fast
from training.augment.batch import batch_transforms
from training.network import Network

BATCH_SIZE = 64
LEARNING_RATE = 2e-4
PSEUDO_LABELS = 0.3  # their share in the loss, as in the paper
ROUNDS = 2  # of class means and labels from them


def adapt(source: Path, pixels: np.ndarray, classes: list[int], steps: int, seed: int, output: Path) -> None:
    """Write the model of `source`, adapted to the images, into the folder `output`.

    pixels: (rows, size, size, 3) uint8. classes: numbers of the classes that may occur among them.
    """
    torch.manual_seed(seed)
    network = Network(source)
    model = network.model.requires_grad_(True)
    head_of(model).requires_grad_(False)
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    change, _ = batch_transforms("basic", *normalization_of(str(source)))
    for rows, labels in batches(network, pixels, classes, steps, seed):
        images = change(torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2)).contiguous(
            memory_format=torch.channels_last
        )
        model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            logits = model(pixel_values=images).logits.float()[:, classes]
        loss = information_loss(logits) + PSEUDO_LABELS * F.cross_entropy(logits, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.save_pretrained(output)
    shutil.copyfile(Path(source, PREPROCESSOR_FILE), output / PREPROCESSOR_FILE)


def batches(
    network: Network, pixels: np.ndarray, classes: list[int], steps: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of each step and the labels that they have for now, as places in `classes`; new labels every epoch."""
    generator, step = np.random.default_rng(seed), 0
    while step < steps:
        network.model.eval()
        labels = labels_by_similarity(network.embeddings(pixels), softmax(network.logits(pixels)[:, classes], axis=1))
        for rows in np.array_split(generator.permutation(len(pixels)), max(1, len(pixels) // BATCH_SIZE))[
            : steps - step
        ]:
            yield rows, labels[rows]
            step += 1


def information_loss(logits: torch.Tensor) -> torch.Tensor:
    """Mean entropy of the answers less the entropy of their mean: each one sure, together diverse."""
    probabilities = logits.softmax(dim=1)
    mean = probabilities.mean(dim=0)
    return entropy(probabilities).mean() - entropy(mean)


def entropy(probabilities: torch.Tensor) -> torch.Tensor:
    return -(probabilities * probabilities.clamp_min(1e-8).log()).sum(dim=-1)


def labels_by_similarity(embeddings: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(rows,) the class whose mean is nearest by cosine; the means are of all rows, weighted by `probabilities`."""
    features = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    weights = probabilities
    for _ in range(ROUNDS):
        means = weights.T @ features
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-8)
        labels = (features @ means.T).argmax(axis=1)
        weights = np.eye(probabilities.shape[1])[labels]
    return labels
