"""Test-time adaptation of BatchNorm to other images than those of training, without a label (Schneider et al. 2020).

    adapt_batch_norm(network, pixels)
    probabilities = network.probabilities(pixels)

https://arxiv.org/abs/2006.16971. A network's statistics of its training images are mixed with those of the new ones.
"""

import numpy as np
import torch

from training.network import Network

PRIOR = 256  # how many images the statistics of training count as; chosen before any score was known


def adapt_batch_norm(network: Network, pixels: np.ndarray, prior: int = PRIOR) -> None:
    """Let rows / (rows + prior) of the network's statistics come from these very images.

    pixels: (rows, height, width, 3) uint8. Raises ValueError where the network has no BatchNorm.
    """
    layers = [layer for layer in network.model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    if not layers:
        raise ValueError("the network has no BatchNorm layer to adapt")
    before = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    network.logits(pixels)
    share = len(pixels) / (len(pixels) + prior)
    for layer, (mean, variance) in zip(layers, before, strict=True):
        layer.eval()
        layer.running_mean.copy_(torch.lerp(mean, layer.running_mean, share))
        layer.running_var.copy_(torch.lerp(variance, layer.running_var, share))
