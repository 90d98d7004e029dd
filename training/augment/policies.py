"""TrivialAugment and RandAugment for a whole batch, each image with operations and strengths of its own.

torchvision's TrivialAugmentWide and RandAugment draw once a call, so that a batch would be changed alike.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional


@dataclass(frozen=True)
class Space:
    """What strength 1 means for each kind of operation."""

    shear: float  # pixels sideways a pixel down
    shift: float  # share of the image's side
    rotation: float  # radians
    blend: float  # how far brightness, contrast, saturation and sharpness move from 1
    bits: int  # left of 8 a colour


# TrivialAugment's wide space (Müller and Hutter 2021, arXiv:2103.10158) and RandAugment's (Cubuk et al. 2020,
# arXiv:1909.13719), as torchvision has them.
WIDE = Space(shear=0.99, shift=32 / 224, rotation=math.radians(135), blend=0.99, bits=2)
NARROW = Space(shear=0.3, shift=150 / 331, rotation=math.radians(30), blend=0.9, bits=4)
RAND_OPERATIONS = 2
RAND_STRENGTH = 9 / 30
LUMA = (0.299, 0.587, 0.114)


class PerSampleOperations(v2.Transform):
    """Applies `count` random operations to each image of a (batch, 3, height, width) float batch in [0, 1].

    strength: from 0 to 1, the same for all images; None draws one for each.
    """

    def __init__(self, space: Space, count: int = 1, strength: float | None = None):
        super().__init__()
        self.space, self.count, self.strength = space, count, strength

    def transform(self, inpt: torch.Tensor, params: dict) -> torch.Tensor:
        for _ in range(self.count):
            inpt = self._one_each(inpt)
        return inpt.clamp_(0, 1)

    def _one_each(self, pixels: torch.Tensor) -> torch.Tensor:
        drawn = torch.randint(len(OPERATIONS), (len(pixels),))  # on the CPU, which then need not wait for a GPU
        strength = torch.rand_like(pixels[:, :1, :1, :1])
        if self.strength is not None:
            strength.fill_(self.strength)
        strength *= torch.where(torch.rand_like(strength) < 0.5, -1.0, 1.0)
        changed = pixels.clone()
        for number, operation in enumerate(OPERATIONS):
            rows = (drawn == number).nonzero().flatten().to(pixels.device)
            if len(rows):
                changed[rows] = operation(pixels[rows], strength[rows], self.space)
        return changed


# Each operation: (pixels (n, 3, height, width) in [0, 1], strength (n, 1, 1, 1) in [-1, 1], space) -> pixels.


def _identity(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return pixels


def _shear_x(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return _warp(pixels, [[1, strength * space.shear, 0], [0, 1, 0]])


def _shear_y(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return _warp(pixels, [[1, 0, 0], [strength * space.shear, 1, 0]])


def _shift_x(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return _warp(pixels, [[1, 0, 2 * strength * space.shift], [0, 1, 0]])


def _shift_y(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return _warp(pixels, [[1, 0, 0], [0, 1, 2 * strength * space.shift]])


def _rotate(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    cos, sin = torch.cos(strength * space.rotation), torch.sin(strength * space.rotation)
    return _warp(pixels, [[cos, -sin, 0], [sin, cos, 0]])


def _brightness(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return pixels * (1 + strength * space.blend)


def _contrast(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return _away_from(_gray(pixels).mean(dim=(2, 3), keepdim=True), pixels, strength, space)


def _saturation(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return _away_from(_gray(pixels), pixels, strength, space)


def _sharpness(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    kernel = pixels.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    blurred = F.conv2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), kernel.expand(3, 1, 3, 3), groups=3)
    return _away_from(blurred, pixels, strength, space)


def _posterize(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    step = 2 ** torch.round(strength.abs() * (8 - space.bits))
    return torch.floor(pixels * 255 / step) * step / 255


def _solarize(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return torch.where(pixels >= 1 - strength.abs(), 1 - pixels, pixels)


def _autocontrast(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return functional.autocontrast(pixels)


def _equalize(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return functional.equalize(pixels)


OPERATIONS = (
    _identity,
    _shear_x,
    _shear_y,
    _shift_x,
    _shift_y,
    _rotate,
    _brightness,
    _contrast,
    _saturation,
    _sharpness,
    _posterize,
    _solarize,
    _autocontrast,
    _equalize,
)


def _warp(pixels: torch.Tensor, rows: list[list[torch.Tensor | float]]) -> torch.Tensor:
    """Resample by maps from output to input coordinates in [-1, 1]; the image's edges are repeated."""
    count = len(pixels)
    cells = [[torch.as_tensor(cell, dtype=pixels.dtype, device=pixels.device) for cell in row] for row in rows]
    matrices = torch.stack([torch.stack([cell.reshape(-1).expand(count) for cell in row], 1) for row in cells], 1)
    grid = F.affine_grid(matrices, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _gray(pixels: torch.Tensor) -> torch.Tensor:
    red, green, blue = pixels.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _away_from(other: torch.Tensor, pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return torch.lerp(other.expand_as(pixels), pixels, 1 + strength * space.blend)
