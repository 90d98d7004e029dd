"""Colors of 16 bits: of PNG and TIFF, Pillow keeps the upper byte of each sample, so 10 to 14 bits come out dark.

    tiles = lower_tiles(image)      # before it is decoded; empty for an image of 8 bits
    image.load()
    scale_deep(image, tiles, reopen)

An image whose upper bytes are small is decoded once more for the lower ones, and scaled by the range that gray would be
scaled by. One above MAX_FULL_PIXELS has no memory for that: its upper bytes alone are scaled, and it is reduced after.
"""

import sys
from collections.abc import Callable, Sequence

from PIL import Image, ImageChops, ImageFile

from .colors import MAX_FULL_PIXELS, bands, white_level

ORDERS = {";16L": ";16B", ";16B": ";16L", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
# The raw mode of an image, and the one with which its decoder gives the lower bytes.
LOWER = {mode + order: mode + other for mode in ("RGB", "RGBA", "RGBX") for order, other in ORDERS.items()}
GRAY_ALPHA = "RGBA"  # gray with alpha is decoded as that; read as such, it is both bytes of gray and both of alpha
LOWER["LA;16B"] = GRAY_ALPHA
FULL = 65_535

Tiles = list[ImageFile._Tile]


def lower_tiles(image: ImageFile.ImageFile) -> Tiles:
    """The tiles of an opened image with raw modes for the lower bytes; empty where it has none."""
    tiles: Tiles = []
    for tile in image.tile:
        raw, *others = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        lower = LOWER.get(str(raw))
        if lower is None:
            return []
        tiles.append(tile._replace(args=(lower, *others) if isinstance(tile.args, tuple) else lower))
    return tiles


def scale_deep(image: Image.Image, tiles: Tiles, reopen: Callable[[], ImageFile.ImageFile]) -> None:
    """Scale the colors of a decoded image to 8 bits by the range that they use. reopen: opens its file again."""
    uppers = [int(high) for _, high in image.getextrema()]  # type: ignore[misc]  # a pair for each channel
    top = white_level(256 * max(uppers[:3]) + 255, image.info.get("bits", 0))
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple):
        image.info["transparency"] = tuple(min(255, value * 255 // int(top)) for value in transparent)
    if top == FULL:
        return
    tops = [top] * 3
    if len(uppers) == 4:
        tops.append(top if 256 * uppers[3] + 255 <= top else FULL)
    lower = _lower(tiles, reopen) if image.width * image.height <= MAX_FULL_PIXELS else None
    for start, band in bands(image):
        if lower:
            box = (0, start, band.width, start + band.height)
            scaled = ImageChops.add(
                band.point(_levels([256 / top for top in tops])),
                lower.crop(box).point(_levels([1 / top for top in tops])),
            )
        else:
            scaled = band.point(_levels([1 / max(1, top // 256) for top in tops]))
        image.paste(scaled, (0, start))


def _lower(tiles: Tiles, reopen: Callable[[], ImageFile.ImageFile]) -> Image.Image:
    """The image of the lower bytes."""
    image = reopen()
    image.tile = tiles
    image.load()
    if tiles[0].args != GRAY_ALPHA:
        return image
    _, gray, _, alpha = image.split()
    return Image.merge("RGBA", (gray, gray, gray, alpha))


def _levels(shares: Sequence[float]) -> list[int]:
    """What the 256 values of a byte are in 8 bits, channel by channel. shares: of white that one step is."""
    return [min(255, int(value * share * 255 + 0.5)) for share in shares for value in range(256)]
