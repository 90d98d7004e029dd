"""TrivialAugment and RandAugment for a whole batch, each image with operations and strengths of its own.

torchvision's TrivialAugmentWide and RandAugment draw once per call, so that all images of a batch would change alike.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from training.augment.per_sample import affine_warp, on_device, signs


@dataclass(frozen=True)
class Space:
    """What strength 1 means for each kind of operation."""

    shear: float  # pixels sideways per pixel down
    shift: float  # share of the image's side
    rotation: float  # radians
    blend: float  # how far brightness, contrast, saturation and sharpness move from 1
    bits: int  # of 8 per color that are kept


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
            inpt = self._one_operation_each(inpt)
        return inpt.clamp_(0, 1)

    def _one_operation_each(self, pixels: torch.Tensor) -> torch.Tensor:
        drawn = torch.randint(len(OPERATIONS), (len(pixels),))  # on the CPU, which then need not wait for a GPU
        strength = torch.rand_like(pixels[:, :1, :1, :1])
        if self.strength is not None:
            strength.fill_(self.strength)
        strength *= signs(pixels)
        rows = on_device(drawn.argsort(), pixels)
        counts = drawn.bincount(minlength=len(OPERATIONS)).tolist()
        parts = zip(OPERATIONS.values(), pixels[rows].split(counts), strength[rows].split(counts), strict=True)
        changed = [operation(part, own, self.space) for operation, part, own in parts if len(part)]
        return torch.empty_like(pixels).index_copy_(0, rows, torch.cat(changed))


def _sharpness(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    kernel = on_device(torch.tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=pixels.dtype), pixels) / 13
    blurred = F.conv2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), kernel.expand(3, 1, 3, 3), groups=3)
    return _away_from(blurred, pixels, strength, space)


def _rotate(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    cos, sin = torch.cos(strength * space.rotation), torch.sin(strength * space.rotation)
    return affine_warp(pixels, [[cos, -sin, 0], [sin, cos, 0]])


def _posterize(pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    step = 2 ** torch.round(strength.abs() * (8 - space.bits))
    return torch.floor(pixels * 255 / step) * step / 255


def _gray(pixels: torch.Tensor) -> torch.Tensor:
    red, green, blue = pixels.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _away_from(other: torch.Tensor, pixels: torch.Tensor, strength: torch.Tensor, space: Space) -> torch.Tensor:
    return torch.lerp(other.expand_as(pixels), pixels, 1 + strength * space.blend)


# By name, each operation: (pixels (n, 3, height, width) in [0, 1], strength (n, 1, 1, 1) in [-1, 1], space) -> pixels.
OPERATIONS = {
    "identity": lambda x, strength, space: x,
    "shear x": lambda x, strength, space: affine_warp(x, [[1, strength * space.shear, 0], [0, 1, 0]]),
    "shear y": lambda x, strength, space: affine_warp(x, [[1, 0, 0], [strength * space.shear, 1, 0]]),
    "shift x": lambda x, strength, space: affine_warp(x, [[1, 0, 2 * strength * space.shift], [0, 1, 0]]),
    "shift y": lambda x, strength, space: affine_warp(x, [[1, 0, 0], [0, 1, 2 * strength * space.shift]]),
    "rotate": _rotate,
    "brightness": lambda x, strength, space: x * (1 + strength * space.blend),
    "contrast": lambda x, strength, space: _away_from(_gray(x).mean(dim=(2, 3), keepdim=True), x, strength, space),
    "saturation": lambda x, strength, space: _away_from(_gray(x), x, strength, space),
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": lambda x, strength, space: torch.where(x >= 1 - strength.abs(), 1 - x, x),
    "autocontrast": lambda x, strength, space: functional.autocontrast(x),
    "equalize": lambda x, strength, space: functional.equalize(x),
}
