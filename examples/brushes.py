"""Light and paint for draw_examples.py: a product is masks painted over each other, each under its own light.

    drawing = Drawing()
    drawing.emboss(fill("M 100 300 Q 240 100 380 300 Q 240 500 100 300"), "seagreen", radius=20)
    drawing.image().save("leaf.png")

A mask says where something is, see shapes.py. Light is a factor on a color, a number or (height, width). Random
textures are seeded: the same calls give the same image.
"""

import numpy as np
from PIL import Image, ImageColor
from scipy.ndimage import uniform_filter1d

from shapes import HEIGHT, WIDTH, X, ellipse, fill

LIGHT = (0.55, 0.85)  # from the left and above


class Drawing:
    """An image that shapes are painted on, in layers."""

    def __init__(self) -> None:
        self.pixels = np.ones((HEIGHT, WIDTH, 3))
        self.alpha = np.zeros((HEIGHT, WIDTH))

    def paint(self, mask: np.ndarray, color: str | np.ndarray, light: np.ndarray | float = 1.0) -> None:
        """mask: (height, width) in [0, 1]. color: its name or (height, width, 3). light: a factor on the color."""
        part = bounds(mask)
        mask, light = mask[part], np.broadcast_to(light, mask.shape)[part]
        color = rgb(color) if isinstance(color, str) else color[part]
        lit = np.clip(color * light[..., None], 0, 1)
        self.pixels[part] += mask[..., None] * (lit - self.pixels[part])
        self.alpha[part] += mask * (1 - self.alpha[part])

    def emboss(
        self,
        mask: np.ndarray,
        color: str | np.ndarray,
        radius: int,
        strength: float = 1.0,
        light: np.ndarray | float = 1.0,
    ) -> None:
        """Paint a shape that bulges; radius and strength: of its relief()."""
        self.paint(mask, color, relief(mask, radius, strength) * light)

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
    """The part of the image outside which mask is 0, where nothing needs to be computed."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0), slice(0)
    return tuple(slice(max(0, hit[0] - margin), hit[-1] + margin + 1) for hit in (rows, columns))


def rgb(color: str) -> np.ndarray:
    """A color by its name or #rrggbb: (3,) in [0, 1]."""
    return np.array(ImageColor.getrgb(color)) / 255


def mixed(color: str, other: str, share: np.ndarray) -> np.ndarray:
    """The colors between two; share: (height, width), 0 for the first color to 1 for the other."""
    return rgb(color) + np.clip(share, 0, 1)[..., None] * (rgb(other) - rgb(color))


def blur(mask: np.ndarray, radius: int) -> np.ndarray:
    """Three box filters, close to a Gaussian of `radius` pixels."""
    part = bounds(mask, margin=3 * radius)
    values = mask[part]
    for axis in (0, 0, 0, 1, 1, 1):
        values = uniform_filter1d(values, 2 * radius + 1, axis, mode="nearest")
    blurred = np.zeros_like(mask)
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
