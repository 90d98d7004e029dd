"""The OUT OF STOCK stamp on a tile."""

import numpy as np

from .sheet import Tile

# The frame of the stamp: its corners in widths of the tile, from the tile's upper left corner
CORNERS = ((0.058, 0.196), (0.923, 0.133), (0.954, 0.515), (0.088, 0.581))
SPREAD = 45  # levels of 255
STEP = 0.012  # half the width of its lines


def _frame(scale: float) -> np.ndarray:
    """Points along the stamp's frame, enlarged or shrunk about its center: (points, 2) in widths of the tile."""
    corners = np.array(CORNERS)
    along = np.linspace(0.04, 0.96, 30)[:, None]
    sides = [a + (b - a) * along for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    return corners.mean(axis=0) + (np.concatenate(sides) - corners.mean(axis=0)) * scale


FRAME = _frame(1.0)
SURROUNDINGS = np.concatenate([_frame(0.88), _frame(1.1)])


def is_stamped(pixels: np.ndarray, tile: Tile) -> bool:
    """Whether the stamp is on a tile, at its usual place or, if the top is cut off, anywhere above it.

    pixels: the page, (height, width, 3) uint8.
    """
    x, y, width, height = tile.box
    image = pixels[y : y + height, x : x + width]
    highest = -2 * STEP if tile.corners[0] or tile.visible == 1 else -CORNERS[0][1]
    return any(
        _shows_stamp(image, np.array((aside, down)))
        for down in np.arange(highest, 2.5 * STEP, STEP)
        for aside in (0, -STEP, STEP)
    )


def _shows_stamp(image: np.ndarray, shift: np.ndarray) -> bool:
    """Whether the stamp's frame is here: four lines of one strong color with other colors on both sides of them."""
    on_frame = _sample(image, FRAME + shift)
    if len(on_frame) < 0.3 * len(FRAME):
        return False
    color = np.median(on_frame, axis=0)
    if np.ptp(color) < 2 * SPREAD or (np.abs(on_frame - color).max(axis=1) <= SPREAD).mean() < 0.85:
        return False
    around = _sample(image, SURROUNDINGS + shift)
    return bool((np.abs(around - color).max(axis=1) > SPREAD).mean() >= 0.4)


def _sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colors, (n, 3) int16, at those (x, y) points, in widths of the image, that lie in it."""
    x, y = np.round(points * image.shape[1]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
    return image[y[inside], x[inside]].astype(np.int16)
