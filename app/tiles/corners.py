"""The rounded corners of tiles: measured on the page, and filled when a tile is cut out."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from PIL import Image

from .sheet import MIN_ASPECT, Sheet, Tile

EMPTY_CORNER = 1 - np.pi / 4  # share of a square that a quarter circle in it leaves empty
RIM = 0.006  # blended pixels along a rounded edge, in widths of the tile
TRIM = 0.004  # blended pixels along a straight edge, a thin dark line that is cut away


def corner_radius(sheet: Sheet, tiles: Sequence[Tile]) -> tuple[int, int]:
    """Radius of the tiles' corners on this page in pixels, 0 for square ones, and the contrast at which they show.

    A quarter circle of radius r leaves (1 - pi / 4) r^2 pixels of its square empty. Corners where dark parts of the
    image add to that are recognized by the first row, which must be about r short as well.
    """
    for contrast in (sheet.contrast, sheet.contrast // 2):
        radii: list[float] = []
        for tile, upper in product(tiles, (True, False)):
            if tile.box[3] < MIN_ASPECT * tile.box[2]:
                continue
            offsets = _corner_offsets(sheet, tile, upper, contrast)
            guesses = np.sqrt(offsets.sum(axis=0) / EMPTY_CORNER)
            good = (0.6 * guesses <= offsets[0]) & (offsets[0] <= 1.2 * guesses) & (offsets[-1] == 0) & (guesses >= 2)
            radii += list(guesses[good])
        if radii:
            return round(float(np.median(radii))), contrast
    return 0, sheet.contrast


def rounded_corners(sheet: Sheet, tile: Tile, radius: int, contrast: int) -> tuple[bool, bool]:
    """Whether the upper and the lower corners are empty like rounded ones (or like those of invisible edges)."""
    ends = [_corner_offsets(sheet, tile, upper, contrast)[: max(2, radius)] for upper in (True, False)]
    upper, lower = (offsets.sum(axis=0).max() / (EMPTY_CORNER * len(offsets) ** 2) for offsets in ends)
    return bool(radius and upper > 0.3), bool(radius and lower > 0.3)


def cut(page: Image.Image, tile: Tile) -> Image.Image:
    """The image of a tile, RGB. The parts hidden by rounded corners are filled with the image mirrored at the corner.

    Black wedges would tell a classifier which app an image is from; cropping them away would cost a strip on each
    side, and often a part of the product.
    """
    x, y, width, height = tile.box
    pixels = np.array(page.convert("RGB").crop((x, y, x + width, y + height)))
    for rounded, down in zip(tile.corners, (1, -1), strict=True):
        if tile.corner_radius and rounded:
            for right in (1, -1):
                _fill_corner(pixels[::down, ::right], tile.corner_radius)
    trim = 0 if (width, height) == page.size else max(1, round(TRIM * width))
    return Image.fromarray(pixels[trim : height - trim, trim : width - trim])


def _corner_offsets(sheet: Sheet, tile: Tile, upper: bool, contrast: int) -> np.ndarray:
    """Background pixels before the image begins, from the given edge inwards: (rows, 2), left and right side."""
    left, top, width, height = tile.box
    size = max(2, min(width // 4, height // 2))
    rows = slice(top, top + size) if upper else slice(top + height - size, top + height)
    drawn = sheet.distance[rows, left : left + width] > contrast
    drawn = drawn if upper else drawn[::-1]
    sides = np.stack([drawn[:, :size], drawn[:, : -size - 1 : -1]])
    first = np.where(sides.any(axis=2), sides.argmax(axis=2), size)
    return np.minimum.accumulate(first, axis=1).T


def _fill_corner(pixels: np.ndarray, radius: int) -> None:
    """Mirror the image, in place, at a quarter circle in its upper left corner."""
    radius = min(radius, (len(pixels) - 1) // 2, (pixels.shape[1] - 1) // 2)
    rows, columns = np.mgrid[:radius, :radius] + 0.5 - radius
    reach = np.hypot(rows, columns)
    edge = radius - max(1.0, RIM * pixels.shape[1])
    outside = reach > edge
    factor = (2 * edge - reach[outside]) / reach[outside]
    sources = [np.floor(axis[outside] * factor + radius).astype(int) for axis in (rows, columns)]
    pixels[:radius, :radius][outside] = pixels[sources[0], sources[1]]
