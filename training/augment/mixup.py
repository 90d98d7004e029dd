"""Mixup, CutMix and random erasing of a whole batch, each image with random parameters of its own."""

import torch
from torchvision.transforms import v2

from training.augment.per_sample import log_uniform, uniform

ERASED_AREA = (0.02, 0.33)  # share of the image, and the box's width : height, as in the paper
ERASED_ASPECT = (0.3, 1 / 0.3)


class PerSampleMix(torch.nn.Module):
    """Mixes each image and its target with those of another image of the batch.

    mixup: alpha of mixup's Beta(alpha, alpha) (Zhang et al. 2018, arXiv:1710.09412), which blends the two. cutmix: the
    same for CutMix (Yun et al. 2019, arXiv:1905.04899), which pastes a box of the other. With both above 0 each image
    gets one of them by a coin flip.
    """

    def __init__(self, mixup: float, cutmix: float):
        super().__init__()
        self.mixup, self.cutmix = mixup, cutmix

    def forward(self, pixels: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """pixels (batch, 3, height, width) and targets (batch, classes), both float; returns the same two, mixed."""
        other = torch.randperm(len(pixels), device=pixels.device)
        kept = self._kept(pixels)
        share = kept.mean(dim=(1, 2, 3))[:, None]
        return torch.lerp(pixels[other], pixels, kept), torch.lerp(targets[other], targets, share)

    def _kept(self, pixels: torch.Tensor) -> torch.Tensor:
        """(batch, 1, height, width): how much of each pixel stays."""
        blend = _beta(self.mixup, pixels).expand(-1, -1, *pixels.shape[2:]) if self.mixup else None
        if not self.cutmix:
            return blend
        box = 1 - box_masks(1 - _beta(self.cutmix, pixels), torch.ones_like(pixels[:, :1, :1, :1]), pixels)
        return torch.where(uniform(pixels, 0, 1) < 0.5, blend, box) if self.mixup else box


class PerSampleErasing(v2.Transform):
    """Replaces a box in a share of the images by noise (Zhong et al. 2020, arXiv:1708.04896).

    Takes a (batch, 3, height, width) float batch in [0, 1].
    """

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def transform(self, inpt: torch.Tensor, params: dict) -> torch.Tensor:
        area, aspect = uniform(inpt, *ERASED_AREA), log_uniform(inpt, *ERASED_ASPECT)
        erased = (uniform(inpt, 0, 1) < self.probability).to(inpt.dtype)
        return torch.lerp(inpt, torch.rand_like(inpt), erased * box_masks(area, aspect, inpt))


def box_masks(area: torch.Tensor, aspect: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """(batch, 1, height, width) in the pixels' type: 1 within a box at a random place, clipped at the border.

    area: the box's share of the image, aspect: its width : height, both (batch, 1, 1, 1).
    """
    height, width = pixels.shape[2:]
    half_height, half_width = (area / aspect).sqrt() / 2, (area * aspect).sqrt() / 2
    y = (torch.arange(height, device=pixels.device, dtype=pixels.dtype) + 0.5).view(1, 1, -1, 1) / height
    x = (torch.arange(width, device=pixels.device, dtype=pixels.dtype) + 0.5).view(1, 1, 1, -1) / width
    rows, columns = (y - torch.rand_like(area)).abs() < half_height, (x - torch.rand_like(area)).abs() < half_width
    return (rows & columns).to(pixels.dtype)


def _beta(alpha: float, pixels: torch.Tensor) -> torch.Tensor:
    """(batch, 1, 1, 1) draws from Beta(alpha, alpha)."""
    alpha = torch.full((len(pixels), 1, 1, 1), alpha, device=pixels.device, dtype=pixels.dtype)
    return torch.distributions.Beta(alpha, alpha, validate_args=False).sample()
