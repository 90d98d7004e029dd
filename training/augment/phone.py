"""Make studio images look as if taken with a phone at home: for models that will see such photos.

A catalogue shows products on white, in even light and upright. Here the white around the product becomes a floor, a
cloth or a table, the camera is tilted, and light, lens and JPEG leave their marks. All of it works on whole batches,
each image with random parameters of its own, on the batch's device.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct
from torchvision.transforms import v2

from training.augment.per_sample import log_uniform, matrices, random_affine, uniform

REPLACED = 0.8  # share of the images with a white background that get another one
WHITE = 0.9  # all three channels of a studio background are above this
CORNERS = 1  # that the path from the border to a background pixel may have
BACKGROUND_SHARE = (0.05, 0.97)  # with less or more white around the product it is not a studio image
MAX_ROTATION = math.radians(25)
SCALE_RANGE = (0.75, 1.3)
MAX_SHIFT = 0.15
MAX_PERSPECTIVE = 0.25
OCTAVES = (2, 4, 8, 16, 32, 64)  # random cells per side, each layer of a background finer than the last
CAST = 0.1  # standard deviation of a channel's log gain
GAMMA_RANGE = (0.6, 1.7)
MAX_LIGHT_FALL = 0.5  # how much darker one side of the image is than the other
BLUR_SIGMA = (0.1, 1.0)  # pixels
BLUR_RADIUS = 3
MAX_NOISE = 0.03
JPEG_QUALITY = (40, 95)
JPEG_BLOCK = 8
# The quantization table of the JPEG standard, Annex K, for luminance; color gets the same, twice as coarse.
JPEG_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
COSINES = dct(np.eye(JPEG_BLOCK), axis=0, norm="ortho")  # (8, 8), orthonormal
RGB_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class PerSampleBackground(v2.Transform):
    """Sees the product from another side, on a new background: (batch, 3, height, width) float in [0, 1]."""

    def transform(self, inpt: torch.Tensor, params: dict) -> torch.Tensor:
        white = background_masks(inpt)
        share = white.mean(dim=(2, 3), keepdim=True)
        low, high = BACKGROUND_SHARE
        replaced = (share > low) & (share < high) & (torch.rand_like(share) < REPLACED)
        # The mask is warped with its image, so that the new background reaches the border and stays upright.
        image, white = _warp(torch.cat([inpt, white], dim=1)).split([3, 1], dim=1)
        return torch.lerp(image, random_backgrounds(inpt), white * replaced.to(inpt.dtype))


class PerSamplePhoneCamera(v2.Transform):
    """Light, lens, sensor and JPEG of a phone: (batch, 3, height, width) float in [0, 1]."""

    def transform(self, inpt: torch.Tensor, params: dict) -> torch.Tensor:
        pixels = _light(inpt)
        pixels = _blur(pixels)
        pixels = pixels + torch.randn_like(pixels) * uniform(pixels, 0, MAX_NOISE)
        return jpeg(pixels.clamp_(0, 1), uniform(pixels, *JPEG_QUALITY)).clamp_(0, 1)


def background_masks(pixels: torch.Tensor) -> torch.Tensor:
    """(batch, 1, height, width): 1 on the white around the product, soft at its edge.

    White that is reached from the border in straight lines with at most one corner, and one pixel more, so that no
    bright rim stays. A white product counts partly as background where nothing separates the two.
    """
    white = pixels.amin(dim=1, keepdim=True) > WHITE
    reached = torch.zeros_like(white)
    reached[..., [0, -1], :] = reached[..., :, [0, -1]] = True
    for _ in range(CORNERS + 1):
        reached = _along(white, reached, 2) | _along(white, reached, 3)
    grown = F.max_pool2d(reached.to(pixels.dtype), 3, stride=1, padding=1)
    return F.avg_pool2d(grown, 3, stride=1, padding=1, count_include_pad=False)


def _along(white: torch.Tensor, reached: torch.Tensor, dim: int) -> torch.Tensor:
    """The white pixels with a reached one in their run of white along `dim`."""
    place = torch.arange(1, white.shape[dim] + 1, dtype=torch.int16, device=white.device)
    place = place.view(-1, 1) if dim == 2 else place
    start = white & reached
    connected = torch.zeros_like(white)
    for turn in ((lambda x: x), (lambda x: x.flip(dim))):
        last_start = (turn(start) * place).cummax(dim).values
        last_wall = (turn(~white) * place).cummax(dim).values
        connected |= turn(last_start > last_wall)
    return connected & white


def random_backgrounds(pixels: torch.Tensor) -> torch.Tensor:
    """A floor, cloth or table for each image, of the shape of `pixels`: two colors, mixed by noise of many sizes.

    The noise is randomly stretched along one side, which looks like wood or folds.
    """
    count, _, height, width = pixels.shape
    noise = torch.zeros_like(pixels[:, :1])
    rough = uniform(pixels, 0.5, 1.0)
    for octave, cells in enumerate(OCTAVES):
        for shape in ((cells, cells), (cells, 1 + cells // 8), (1 + cells // 8, cells)):
            layer = torch.randn(count, 1, *shape, device=pixels.device, dtype=pixels.dtype)
            layer = F.interpolate(layer, size=(height, width), mode="bilinear", align_corners=False)
            noise += layer * rough**octave * 2 * torch.rand_like(rough) ** 2
    share = torch.sigmoid(noise)
    first, second = (_colors(pixels) for _ in range(2))
    return torch.lerp(first, torch.lerp(first, second, uniform(pixels, 0.1, 1.0)), share)


def jpeg(pixels: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """(batch, 3, height, width) in [0, 1] after JPEG at `quality` (batch, 1, 1, 1), without chroma subsampling."""
    height, width = pixels.shape[2:]
    pixels = F.pad(pixels, (0, -width % JPEG_BLOCK, 0, -height % JPEG_BLOCK), mode="replicate")
    to_ycc = pixels.new_tensor(RGB_TO_YCC)
    ycc = torch.einsum("dc,bchw->bdhw", to_ycc, pixels * 255 - 128)
    lines, columns = pixels.shape[2] // JPEG_BLOCK, pixels.shape[3] // JPEG_BLOCK
    blocks = ycc.reshape(-1, 3, lines, JPEG_BLOCK, columns, JPEG_BLOCK)
    cosines = pixels.new_tensor(COSINES)
    steps = _quantization(pixels, quality)
    waves = torch.einsum("ui,bdlimj,vj->bdlumv", cosines, blocks, cosines)
    waves = torch.round(waves / steps) * steps
    blocks = torch.einsum("ui,bdlumv,vj->bdlimj", cosines, waves, cosines)
    rgb = torch.einsum("cd,bdhw->bchw", to_ycc.inverse(), blocks.reshape(ycc.shape))
    return ((rgb + 128) / 255)[:, :, :height, :width]


def _quantization(pixels: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """(batch, 3, 1, 8, 1, 8) steps, scaled from the standard's table as the IJG's library does."""
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    table = pixels.new_tensor(JPEG_LUMINANCE) * pixels.new_tensor([1, 2, 2]).view(3, 1, 1)
    return (table * percent / 100).round().clamp(1, 255)[:, :, None, :, None, :]


def _warp(pixels: torch.Tensor) -> torch.Tensor:
    """Flip, rotate, scale, shift and tilt each image of (batch, channels, height, width); edges are repeated."""
    count, _, height, width = pixels.shape
    affine = random_affine(pixels, MAX_ROTATION, SCALE_RANGE, MAX_SHIFT)
    tilt_x, tilt_y = (uniform(pixels, -MAX_PERSPECTIVE, MAX_PERSPECTIVE) for _ in range(2))
    maps = matrices(pixels, [*affine, [tilt_x, tilt_y, 1]])
    y, x = torch.meshgrid(_centers(pixels, height), _centers(pixels, width), indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(-1, 3) @ maps.transpose(1, 2)
    grid = (places[..., :2] / places[..., 2:]).view(count, height, width, 2)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _light(pixels: torch.Tensor) -> torch.Tensor:
    """Another brightness curve, a color cast, and less light on one side."""
    gamma = log_uniform(pixels, *GAMMA_RANGE)
    cast = torch.exp(CAST * torch.randn(len(pixels), 3, 1, 1, device=pixels.device, dtype=pixels.dtype))
    angle, fall = uniform(pixels, 0, 2 * math.pi), uniform(pixels, 0, MAX_LIGHT_FALL)
    height, width = pixels.shape[2:]
    x, y = _centers(pixels, width).view(1, 1, 1, -1), _centers(pixels, height).view(1, 1, -1, 1)
    shade = 1 - fall * (0.5 + 0.35 * (torch.cos(angle) * x + torch.sin(angle) * y))
    return pixels.clamp(min=1e-3) ** gamma * cast * shade


def _blur(pixels: torch.Tensor) -> torch.Tensor:
    """Gaussian blur with a sigma per image."""
    count, channels, height, width = pixels.shape
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=pixels.device, dtype=pixels.dtype)
    kernels = torch.exp(-(offsets**2) / (2 * uniform(pixels, *BLUR_SIGMA).view(-1, 1) ** 2))
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    flat = F.pad(pixels.reshape(1, count * channels, height, width), (BLUR_RADIUS,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernels[:, None, :, None], groups=count * channels)
    return F.conv2d(flat, kernels[:, None, None, :], groups=count * channels).view(pixels.shape)


def _colors(pixels: torch.Tensor) -> torch.Tensor:
    """(batch, 3, 1, 1): mostly grays and browns of any brightness, now and then a strong color."""
    gray = uniform(pixels, 0.05, 0.95)
    tint = torch.randn(len(pixels), 3, 1, 1, device=pixels.device, dtype=pixels.dtype)
    return (gray + 0.25 * torch.rand_like(gray) ** 2 * tint).clamp(0, 1)


def _centers(pixels: torch.Tensor, count: int) -> torch.Tensor:
    """The pixels' centers along a side, from -1 to 1."""
    return (2 * torch.arange(count, device=pixels.device, dtype=pixels.dtype) + 1) / count - 1
