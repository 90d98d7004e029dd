"""The one large image of a page without columns."""

from dataclasses import replace

import numpy as np
from PIL import Image

from .corners import corner_radius, rounded_corners
from .sheet import FAINT, MIN_CONTRAST, SAME, Sheet, Span, Tile, as_color, color_distance, longest_run

JPEG_BLOCK = 16  # pixels that the noise around an edge can reach
MAX_THEME_STEP = 60  # levels of 255 between the bars of an app and what surrounds its images
MAX_EMPTY = 0.05  # share of the rows or columns of a letterboxed image that may have the color of the page
MIN_IMAGE = 0.1  # sides of the image, as shares of the page's
MAX_ELONGATION = 4  # of a page that is taken for an image as a whole


def find_single(page: Image.Image) -> Tile | None:
    """The one large image of a page, between the bars of the phone and the app; None if there is none.

    It is letterboxed in a color of its own, or lies on the page among texts and buttons. A page without bars is taken
    for an image that somebody has cut out already, unless it is of one flat color or a long strip.
    """
    pixels = np.asarray(page)
    thin = pixels[:, :: max(1, page.width // 180)].astype(np.int16)
    top = _bar_height(thin)
    bottom = page.height - _bar_height(thin[::-1])
    if not top:
        is_flat = thin.std(axis=(0, 1)).max() < FAINT
        is_strip = max(page.size) > MAX_ELONGATION * min(page.size)
        return None if is_flat or is_strip else Tile((0, 0, page.width, page.height))
    bar = np.median(thin[0], axis=0)
    if bottom - top < MIN_IMAGE * page.height:
        return _find_block(page, bar)
    first, last = _inside_letterbox(thin[top:bottom], bar, np.inf)  # something may be the phone's volume control
    left, right = 0, page.width
    if last - first > 0.9 * (bottom - top):  # an image that fits the height may leave room at its sides
        rows = pixels[top + first : top + last : max(1, page.height // 180)][1:-1]  # without rests of the bars
        left, right = _inside_letterbox(rows.transpose(1, 0, 2).astype(np.int16), bar, JPEG_BLOCK)
    on_page = np.abs(thin[top + first : top + last] - bar).max(axis=2) <= SAME
    if max((on_page.mean(axis=axis) > 0.99).mean() for axis in (0, 1)) > MAX_EMPTY:
        return _find_block(page, bar)
    if min((last - first) / page.height, (right - left) / page.width) < MIN_IMAGE:
        return None
    return Tile((left, top + first, right - left, last - first))


def _find_block(page: Image.Image, color: np.ndarray) -> Tile | None:
    """The largest block on a page of one color that empty rows and columns separate from all others, if it is full."""
    distance = color_distance(page, as_color(color))
    shown = distance > MIN_CONTRAST
    box = [0, 0, page.width, page.height]
    for axis, least in ((1, 0.01), (0, 0.5), (1, 0.01)):  # half a column: the next image may touch with a corner
        start, end = longest_run(shown[box[1] : box[3], box[0] : box[2]].mean(axis=axis) > least)
        box[axis], box[axis + 2] = box[axis] + start, box[axis] + end
    left, top, right, bottom = box
    if right - left < MIN_IMAGE * page.width or bottom - top < MIN_IMAGE * page.height:
        return None
    if shown[top:bottom, left:right].mean() < 0.5:
        return None
    tile = Tile((left, top, right - left, bottom - top))
    sheet = Sheet(distance, np.empty(0), 0, MIN_CONTRAST, (top, bottom))
    radius, contrast = corner_radius(sheet, [tile])
    return replace(tile, corner_radius=radius, corners=rounded_corners(sheet, tile, radius, contrast))


def _bar_height(rows: np.ndarray) -> int:
    """Rows of the bars at the start of a page: one color with a few signs on it, then a step; 0 if there are none.

    rows: (rows, samples, 3) int16.
    """
    rim = 2 + len(rows) // 500  # the step, blurred by JPEG
    medians = np.median(rows, axis=1)
    differs = np.abs(medians - medians[0]).max(axis=1) > SAME
    end = int(np.argmax(differs))
    if not differs.any() or not 2 * rim < end < len(rows) / 2:
        return 0
    signs = (np.abs(rows[:end] - medians[0]).max(axis=2) > 3 * MIN_CONTRAST).mean(axis=1)
    is_sharp = np.abs(medians[end + rim] - medians[end - rim]).max() > SAME
    settled = end + int(np.argmin(np.abs(np.diff(medians[end : end + 2 * rim], axis=0)).max(axis=1) > 1))
    return settled if is_sharp and (signs > 0).sum() > rim and signs.max() < 0.5 else 0


def _inside_letterbox(lines: np.ndarray, bar: np.ndarray, max_step: float) -> Span:
    """First and last line (rows or columns) of an image between two flat areas of one color, near that of the bars.

    lines: (lines, samples, 3) int16. Edges at which the whole line changes are believed, unless something is seen more
    than `max_step` lines before. Where the image is as dark as the area around it, it is taken to be centered, and the
    outermost thing that can be seen gives its size.
    """
    rim = 2 + len(lines) // 300  # where the bar blends into the area
    color = np.median(lines[rim], axis=0)
    distance = np.abs(lines - color).max(axis=2)
    empty = (distance <= FAINT).mean(axis=1) > 0.995
    empty[:rim], empty[-rim:] = empty[rim], empty[-rim - 1]
    if not (empty[0] and empty[-1]) or empty.all() or np.abs(color - bar).max() > MAX_THEME_STEP:
        return 0, len(lines)
    shown = np.flatnonzero(~empty)
    margin = int(min(shown[0], len(lines) - 1 - shown[-1]))
    whole = np.flatnonzero(((distance > MIN_CONTRAST).mean(axis=1) > 0.5) & ~empty)
    if len(whole) and abs(whole[0] + whole[-1] + 1 - len(lines)) <= rim and whole[0] - margin <= max_step:
        return int(whole[0]), int(whole[-1]) + 1
    return margin, len(lines) - margin
