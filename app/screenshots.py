"""From a screenshot's file to the images of its products: the one way for predict.py, the page and the API.

    page = read_page("screenshot.jpg")
    for product in page.products: product.box, product.out_of_stock, product.image

Boxes are in pixels of the file's image, upright, however much it was reduced to look for products.
"""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from . import limits
from .images import MAX_FULL_PIXELS, ImageSource, load_image, open_checked
from .tiles import cut, find_products

TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
Box = tuple[int, int, int, int]
Decode = Callable[[ImageSource, int | None], Image.Image]


@dataclass(frozen=True, slots=True)
class FoundProduct:
    """box: x, y, width, height in pixels of the screenshot. image: RGB, cut out."""

    box: Box
    out_of_stock: bool
    image: Image.Image


@dataclass(frozen=True, slots=True)
class Screenshot:
    """kind: "grid", "single" or "other" (no product image). image: RGB and upright, perhaps reduced.

    width, height: of the file's image. products: from top to bottom, at most limits.MAX_TILES.
    """

    kind: str
    width: int
    height: int
    image: Image.Image
    products: list[FoundProduct]


def read_page(source: ImageSource, decode: Decode = load_image) -> Screenshot:
    """Raises ImageError."""
    source = source() if callable(source) else source
    image = shrunk(decode(source, None))
    width, height = full_size(source, image)
    page = find_products(image)
    factor = width / image.width
    products = [
        FoundProduct(scaled(tile.box, factor), tile.out_of_stock, cut(image, tile))
        for tile in page.tiles[: limits.MAX_TILES]
    ]
    return Screenshot(page.kind, width, height, image, products)


def full_size(source: ImageSource, image: Image.Image) -> tuple[int, int]:
    """Width and height before load_image and `shrunk` reduced it, from the header. Raises ImageError."""
    most = min(limits.MAX_PAGE_PIXELS, MAX_FULL_PIXELS // 4)
    if not isinstance(source, Image.Image) and image.width * image.height < most // 2:
        return image.size
    with open_checked(source) as whole:
        width, height = whole.size
        return (height, width) if whole.info.get("orientation") in TURNED else (width, height)


def shrunk(page: Image.Image) -> Image.Image:
    """At most MAX_PAGE_PIXELS of it."""
    factor = (limits.MAX_PAGE_PIXELS / (page.width * page.height)) ** 0.5
    if factor >= 1:
        return page
    return page.resize((max(1, int(page.width * factor)), max(1, int(page.height * factor))))


def scaled(box: Box, factor: float) -> Box:
    x, y, width, height = (round(factor * side) for side in box)
    return x, y, width, height
