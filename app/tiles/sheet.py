"""A page as distances from its own color, its columns, and the tiles that are looked for."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageChops

# Brightness, in levels of 255
MIN_CONTRAST = 14  # between an image and the page, well above the noise of a JPEG around text
FAINT = 2  # a whole row that differs this much on average is not noise: the errors of its pixels cancel out
SAME = 6  # two samples of one flat color in a JPEG

MIN_ASPECT = 0.25  # height / width of a product image; flatter tiles are placeholders of images that did not load
MIN_GAP = 0.02  # empty rows that always lie below an image, as a share of the column's width
STRIP_WIDTH = 48  # pixels to which a column is shrunk to average its details

Span = tuple[int, int]  # first row (or column) and the one after the last
Color = tuple[int, int, int]


@dataclass(frozen=True)
class Tile:
    """One product image. box: x, y, width, height in pixels of the page. visible: share of its height on the page."""

    box: tuple[int, int, int, int]
    out_of_stock: bool = False
    visible: float = 1.0
    corner_radius: int = 0  # pixels
    corners: tuple[bool, bool] = (False, False)  # whether the upper and the lower ones are rounded


@dataclass(frozen=True)
class Page:
    """The products on a screenshot. kind: `grid`, `single`, or `other` (no product image)."""

    kind: str
    tiles: tuple[Tile, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A page as distances from its own color."""

    distance: np.ndarray  # (height, width) uint8, the largest of the three channels
    gray: np.ndarray  # (height, width) uint8
    level: float  # gray level of the page's color
    contrast: int  # a pixel further away than this is not background
    rows: Span  # where the gutter is empty: below the header, above the buttons of the phone


@dataclass
class Column:
    """One column of the grid. The arrays hold one flag per row of the page."""

    left: int
    right: int
    rows: Span  # of the grid
    blank: np.ndarray  # nothing but the page's color
    drawn: np.ndarray  # something, not just noise at the rim of an image
    spans: list[Span] = field(default_factory=list)  # rows of the tiles
    doubtful: list[Span] = field(default_factory=list)  # blocks that do not reach both edges of the column

    @property
    def width(self) -> int:
        return self.right - self.left


def color_distance(page: Image.Image, color: Color) -> np.ndarray:
    """How far each pixel is from a color: (height, width) uint8, the largest difference of the three channels."""
    red, green, blue = ImageChops.difference(page, Image.new("RGB", page.size, color)).split()
    return np.asarray(ImageChops.lighter(ImageChops.lighter(red, green), blue))


def as_color(values: np.ndarray) -> Color:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def runs(flags: np.ndarray) -> list[Span]:
    """Start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.asarray(flags, dtype=np.int8), [0]))))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def longest_run(flags: np.ndarray) -> Span:
    """The first of the longest runs of true values; empty if there are none."""
    return max(runs(flags), key=length, default=(0, 0))


def length(span: Span) -> int:
    return span[1] - span[0]
