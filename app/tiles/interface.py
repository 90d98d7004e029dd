"""Whether a part of a page is interface (text, tables, buttons, or next to nothing) and not the image of a product.

Text is strokes of one color on a flat ground, again and again along a row; photographs have texture, and a product
that was cut out has an outline with few crossings.
"""

import numpy as np
from PIL import Image

CELL = 32  # pixels: a line of text and its ground, or a part of a letter on a sharp screen
MIN_CELLS = 12  # in fewer nothing can be told
MAX_CELLS = 2_000  # of a page, evenly spread
SHADES = 64  # of gray, in which the ground of a cell is looked for
INK = 40  # levels of 255 from the ground
FLAT = 0.97  # share of a cell that is ground
GROUND = 0.4  # the same where something is drawn on it; texture has less
STROKES = 3  # crossings of ground and ink along a row: an outline has one or two
ROWS_OF_TEXT = 0.15  # of a cell
MIN_FLAT = 0.1  # share of the cells of an interface
DENSE = 0.08  # share of text where hardly a cell is flat: small print, a table without room between its lines
MIN_TEXT = 0.86  # share of the text among text and texture
MIN_DRAWN = 0.04  # share of the cells on which there is anything


def is_interface(image: Image.Image, min_text: float = MIN_TEXT) -> bool:
    """min_text: how sure to be; packages and books have text too. False also where the image is too small to tell."""
    cells = _cells(np.asarray(image.convert("L")))
    if len(cells) < MIN_CELLS:
        return False
    ground, share = _ground(cells)
    ink = np.abs(cells.astype(np.int16) - ground[:, None, None]) > INK
    crossings = (ink[:, :, 1:] != ink[:, :, :-1]).sum(axis=2)
    flat = share > FLAT
    grounded = share > GROUND
    text = grounded & ~flat & ((crossings >= STROKES).mean(axis=1) > ROWS_OF_TEXT)
    texture = ~grounded
    if flat.mean() > 1 - MIN_DRAWN:
        return True
    telling = int(text.sum() + texture.sum())
    has_room = flat.mean() >= MIN_FLAT or text.mean() >= DENSE
    return bool(telling and has_room and text.sum() >= min_text * telling)


def _cells(gray: np.ndarray) -> np.ndarray:
    """(cells, CELL, CELL) uint8, at most MAX_CELLS of them."""
    rows, columns = gray.shape[0] // CELL, gray.shape[1] // CELL
    number = rows * columns
    chosen = np.linspace(0, number - 1, min(number, MAX_CELLS)).astype(int)
    grid = gray[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL).swapaxes(1, 2)
    return grid[chosen // columns, chosen % columns] if number else np.empty((0, CELL, CELL), np.uint8)


def _ground(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gray level that most pixels of each cell are near, and the share of these pixels."""
    shades = cells.reshape(len(cells), -1) // (256 // SHADES) + SHADES * np.arange(len(cells))[:, None]
    counts = np.bincount(shades.ravel(), minlength=SHADES * len(cells)).reshape(-1, SHADES)
    near = counts.copy()
    near[:, 1:] += counts[:, :-1]
    near[:, :-1] += counts[:, 1:]
    best = near.argmax(axis=1)
    levels = best * (256 // SHADES) + 256 // SHADES // 2
    return levels, near[np.arange(len(cells)), best] / CELL**2
