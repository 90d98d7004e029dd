"""Outlines and the masks that they fill, for draw_examples.py.

    leaf = fill("M 100 300 Q 240 100 380 300 Q 240 500 100 300")

Coordinates are pixels of a 480x640 image. A mask says where something is, (height, width) in [0, 1].
"""

import math
import re
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 480, 640
SUPERSAMPLING = 4  # shapes are drawn this much larger, then averaged, so that their edges are smooth
LARGE_SIZE = (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)
CURVE_STEPS = 24  # straight pieces a Bézier curve is drawn with
X, Y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)

Points = list[tuple[float, float]]
Shape = Points | str  # as a string: a path, see outline()


def outline(shape: Shape) -> Points:
    """Points as they are, or those of a path in SVG notation: M and L with a point, Q with two, C with three."""
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
    large = Image.new("L", LARGE_SIZE)
    draw = ImageDraw.Draw(large)
    for shape in shapes:
        draw.polygon(enlarged(outline(shape)), fill=255)
    return np.asarray(large.reduce(SUPERSAMPLING)) / 255


def stroke(shape: Shape, width: float, dash: int = 0) -> np.ndarray:
    """A line with round ends along the shape, or every second `dash` pixels of it."""
    points, large_width = outline(shape), width * SUPERSAMPLING
    large = Image.new("L", LARGE_SIZE)
    draw = ImageDraw.Draw(large)
    for piece in dashes(points, dash) if dash else [points]:
        corners = enlarged(piece)
        draw.line(corners, fill=255, width=round(large_width), joint="curve")
        for end in (corners[0], corners[-1]):
            draw.circle(end, large_width / 2, fill=255)
    return np.asarray(large.reduce(SUPERSAMPLING)) / 255


def enlarged(points: Points) -> Points:
    return [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]


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
