"""What all augmentations share: random numbers and affine maps, one per image of a batch."""

import math

import torch
import torch.nn.functional as F


def on_device(values: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """A tensor of the CPU on the device of `pixels`, without a wait for all that a GPU has queued."""
    return (values.pin_memory() if pixels.is_cuda else values).to(pixels.device, non_blocking=True)


def uniform(pixels: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """(batch, 1, 1, 1) draws, one per image."""
    return torch.empty(len(pixels), 1, 1, 1, device=pixels.device, dtype=pixels.dtype).uniform_(low, high)


def log_uniform(pixels: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """The same, but as often between 1/2 and 1 as between 1 and 2."""
    return uniform(pixels, math.log(low), math.log(high)).exp()


def signs(pixels: torch.Tensor) -> torch.Tensor:
    """(batch, 1, 1, 1): -1 or 1, equally often."""
    return torch.where(uniform(pixels, 0, 1) < 0.5, -1.0, 1.0)


def random_affine(
    pixels: torch.Tensor, max_rotation: float, scale_range: tuple[float, float], max_shift: float
) -> list[list[torch.Tensor]]:
    """Rows of affine_warp that flip, rotate (radians), scale and shift (share of the side) by chance."""
    angle, zoom = uniform(pixels, -max_rotation, max_rotation), log_uniform(pixels, *scale_range)
    flip = signs(pixels)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    shift_x, shift_y = (uniform(pixels, -2 * max_shift, 2 * max_shift) for _ in range(2))
    return [[cos * flip, -sin, shift_x], [sin * flip, cos, shift_y]]


def affine_warp(pixels: torch.Tensor, rows: list[list[torch.Tensor | float]]) -> torch.Tensor:
    """Resample by maps from output to input coordinates in [-1, 1]; the image's edges are repeated.

    rows: the two rows of a 2x3 matrix, each cell a number or (batch, 1, 1, 1).
    """
    grid = F.affine_grid(matrices(pixels, rows), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def matrices(pixels: torch.Tensor, rows: list[list[torch.Tensor | float]]) -> torch.Tensor:
    """(batch, rows, columns) of cells that are numbers or (batch, 1, 1, 1)."""

    def column(cell: torch.Tensor | float) -> torch.Tensor:
        # Filled on the device: to copy a number there would wait for all that a GPU has queued.
        filled = cell if isinstance(cell, torch.Tensor) else pixels.new_full((1,), cell)
        return filled.reshape(-1).expand(len(pixels))

    return torch.stack([torch.stack([column(cell) for cell in row], 1) for row in rows], 1)
