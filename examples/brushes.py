"""Shapes, light and paint for draw_examples.py: a product is masks painted over each other, each under its own light.

    image = Image()
    leaf = fill("M 100 300 Q 240 100 380 300 Q 240 500 100 300")
    image.paint(leaf, "seagreen", relief(leaf, 20))
    image.image().save("leaf.png")

Coordinates are pixels of a 480x640 image. A mask says where something is, (height, width) in [0, 1]; light is a
factor on a colour, a number or (height, width). Random textures are seeded: the same calls give the same image.
"""

import math
import re
from itertools import pairwise

import numpy as np
from PIL import Image, ImageColor, ImageDraw

WIDTH, HEIGHT = 480, 640
SUPERSAMPLING = 4  # shapes are drawn this much larger, then averaged, so that their edges are smooth
CURVE_STEPS = 24  # straight pieces a Bézier curve is drawn with
LIGHT = (0.55, 0.85)  # from the left and above
X, Y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)

Points = list[tuple[float, float]]
Shape = Points | str  # as a string: a path, see outline()


class Drawing:
    """An image that shapes are painted on, in layers."""

    def __init__(self) -> None:
        self.pixels = np.ones((HEIGHT, WIDTH, 3))
        self.alpha = np.zeros((HEIGHT, WIDTH))

    def paint(self, mask: np.ndarray, color: str | np.ndarray, light: np.ndarray | float = 1.0) -> None:
        """mask: (height, width) in [0, 1]. colour: its name or (height, width, 3). light: a factor on the colour."""
        part = bounds(mask)
        mask, light = mask[part], np.broadcast_to(light, mask.shape)[part]
        color = rgb(color) if isinstance(color, str) else color[part]
        lit = np.clip(color * light[..., None], 0, 1)
        self.pixels[part] += mask[..., None] * (lit - self.pixels[part])
        self.alpha[part] += mask * (1 - self.alpha[part])

    def shade(self, mask: np.ndarray, dark: float) -> None:
        """Darken where mask is; dark in [0, 1]."""
        self.paint(mask * dark, "#000008")

    def shine(self, mask: np.ndarray, bright: float) -> None:
        """Lighten where mask is; bright in [0, 1]."""
        self.paint(mask * bright, "white")

    def shadow(self, x: float, y: float, radius_x: float, radius_y: float, dark: float = 0.35) -> None:
        """A soft shadow on the ground, for a product that stands there."""
        self.paint(blur(fill(ellipse(x, y, radius_x, radius_y)), 7) * dark, "#3c3c44")

    def image(self) -> Image.Image:
        """RGB, on white."""
        return Image.fromarray((self.pixels * 255 + 0.5).astype(np.uint8))

    def transparent_image(self) -> Image.Image:
        """RGBA, without the white."""
        alpha = self.alpha[..., None]
        color = np.clip((self.pixels - (1 - alpha)) / np.maximum(alpha, 1 / 255), 0, 1)
        return Image.fromarray((np.concatenate([color, alpha], axis=2) * 255 + 0.5).astype(np.uint8))


def bounds(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """The part of the image outside which mask is 0, so that nothing need be computed there."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0), slice(0)
    return tuple(slice(max(0, hit[0] - margin), hit[-1] + margin + 1) for hit in (rows, columns))


def rgb(color: str) -> np.ndarray:
    """A colour by its name or #rrggbb: (3,) in [0, 1]."""
    return np.array(ImageColor.getrgb(color)) / 255


def mixed(color: str, other: str, share: np.ndarray) -> np.ndarray:
    """The colours between two; share: (height, width), 0 for the first colour to 1 for the other."""
    return rgb(color) + np.clip(share, 0, 1)[..., None] * (rgb(other) - rgb(color))


def outline(shape: Shape) -> Points:
    """Points as they are, or those of a path in SVG's words: M and L with a point, Q with two, C with three."""
    if not isinstance(shape, str):
        return shape
    points: Points = []
    for command in re.findall("[MLQC][^MLQC]*", shape):
        numbers = [float(word) for word in command.split()[1:]]
        corners = list(zip(numbers[::2], numbers[1::2], strict=True))
        points += bezier([*points[-1:], *corners]) if len(corners) > 1 else corners
    return points


def bezier(controls: Points) -> Points:
    """Points on the curve of two or three controls after the first, where the curve starts."""
    points = []
    for step in range(1, CURVE_STEPS + 1):
        t, line = step / CURVE_STEPS, controls
        while len(line) > 1:  # de Casteljau's algorithm
            line = [(a + (c - a) * t, b + (d - b) * t) for (a, b), (c, d) in pairwise(line)]
        points += line
    return points


def mirrored(shape: Shape) -> Points:
    """A closed shape from its right half, top to bottom."""
    half = outline(shape)
    return half + [(WIDTH - x, y) for x, y in reversed(half)]


def on_side(shape: Shape, side: int) -> Points:
    """The shape as it is (side 1) or mirrored to the other half of the image (side -1)."""
    return [(WIDTH / 2 + side * (x - WIDTH / 2), y) for x, y in outline(shape)]


def ellipse(x: float, y: float, radius_x: float, radius_y: float | None = None, span: tuple = (0, 360)) -> Points:
    """Points of an ellipse, clockwise from the right; span in degrees."""
    steps = [math.radians(span[0] + (span[1] - span[0]) * i / 90) for i in range(91)]
    return [(x + radius_x * math.cos(a), y + (radius_y or radius_x) * math.sin(a)) for a in steps]


def box(left: float, top: float, right: float, bottom: float, radius: float = 0) -> Points:
    """A rectangle, with round corners where a radius is given."""
    if not radius:
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    left, top, right, bottom = left + radius, top + radius, right - radius, bottom - radius
    corners = [(right, bottom), (left, bottom), (left, top), (right, top)]
    arcs = [ellipse(x, y, radius, span=(90 * i, 90 * i + 90)) for i, (x, y) in enumerate(corners)]
    return [point for arc in arcs for point in arc]


def moved(shape: Shape, x: float = 0, y: float = 0, angle: float = 0, scale: tuple = (1, 1)) -> Points:
    """Points scaled, then turned clockwise by `angle` degrees, then shifted."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    scaled = [(a * scale[0], b * scale[1]) for a, b in outline(shape)]
    return [(a * cos - b * sin + x, a * sin + b * cos + y) for a, b in scaled]


def fill(*shapes: Shape) -> np.ndarray:
    """Where the shapes are: (height, width) in [0, 1]."""
    large = Image.new("L", (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING))
    draw = ImageDraw.Draw(large)
    for shape in shapes:
        draw.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in outline(shape)], fill=255)
    return np.asarray(large.reduce(SUPERSAMPLING)) / 255


def stroke(shape: Shape, width: float, dash: int = 0) -> np.ndarray:
    """A line with round ends along the shape, or every second `dash` pixels of it."""
    points = outline(shape)
    pieces = dashes(points, dash) if dash else [points]
    large = Image.new("L", (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING))
    draw = ImageDraw.Draw(large)
    for piece in pieces:
        corners = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in piece]
        draw.line(corners, fill=255, width=round(width * SUPERSAMPLING), joint="curve")
        for x, y in (corners[0], corners[-1]):
            draw.circle((x, y), width * SUPERSAMPLING / 2, fill=255)
    return np.asarray(large.reduce(SUPERSAMPLING)) / 255


def dashes(points: Points, length: int) -> list[Points]:
    """Cut a line into pieces of `length` pixels and keep every second one."""
    dense = []
    for (a, b), (c, d) in pairwise(points):
        steps = max(1, round(math.hypot(c - a, d - b)))
        dense += [(a + (c - a) * i / steps, b + (d - b) * i / steps) for i in range(steps)]
    return [dense[start : start + length] for start in range(0, len(dense) - length, 2 * length)]


def without(mask: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """What is left of a mask where another one is cut out."""
    return np.clip(mask - hole, 0, 1)


def blur(mask: np.ndarray, radius: int) -> np.ndarray:
    """Three box filters, close to a Gaussian of `radius` pixels."""
    size = 2 * radius + 1
    blurred = np.zeros_like(mask)
    part = bounds(mask, margin=3 * radius)
    values = mask[part]
    for axis in (0, 1):
        for _ in range(3):
            values = values.swapaxes(0, axis)
            sums = np.pad(values, [(radius + 1, radius), (0, 0)], mode="edge").cumsum(axis=0)
            values = ((sums[size:] - sums[:-size]) / size).swapaxes(0, axis)
    blurred[part] = values
    return blurred


def relief(mask: np.ndarray, radius: int, strength: float = 1.0) -> np.ndarray:
    """The light on a shape that bulges: about 1, more on the edges that face the light, less on the others."""
    slope_y, slope_x = np.gradient(blur(mask, radius))
    return 1 + strength * radius * (LIGHT[0] * slope_x + LIGHT[1] * slope_y)


def noise(columns: int, rows: int, seed: int) -> np.ndarray:
    """Smooth random values in about [-1, 1] that vary over columns × rows cells."""
    values = np.random.default_rng(seed).random((rows, columns), dtype=np.float32) * 2 - 1
    return np.asarray(Image.fromarray(values).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.float64)


def across(stops: dict[float, float], of: np.ndarray = X) -> np.ndarray:
    """Light that changes with x (or with `of`) through the given stops."""
    places, lights = zip(*sorted(stops.items()), strict=True)
    return np.interp(of, places, lights)


def tube(left: float, right: float, gloss: float = 0.6) -> np.ndarray:
    """The light on an upright cylinder."""
    stops = {0: 0.55, 0.1: 0.8, 0.22: 1 + gloss, 0.34: 1.05, 0.6: 0.9, 0.85: 0.62, 0.94: 0.75, 1: 0.6}
    return across({left + (right - left) * at: light for at, light in stops.items()})


def cloth(mask: np.ndarray, folds: float, seed: int) -> np.ndarray:
    """The light on a garment: rounded, with soft folds, and a fine weave."""
    light = relief(mask, 14, 0.5) * relief(mask, 4, 0.25)
    light *= 1 + folds * noise(9, 5, seed) + 0.6 * folds * noise(20, 8, seed + 1)
    return light * (1 + 0.03 * noise(WIDTH, HEIGHT, seed + 2))
