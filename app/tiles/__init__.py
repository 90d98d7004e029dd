"""Find the product images on a screenshot of a shopping app: the tiles of a grid page, or the one image of a view.

    screenshot = Image.open("screenshot.jpg")
    page = find_products(screenshot)                     # Page(kind="grid", tiles=[Tile(box=(21, 332, 481, 310), ...
    images = [cut(screenshot, tile) for tile in page.tiles]

Nothing is learned and no size is known in advance. The page's own color is the one that fills the gutter between the
columns; a tile is a block of rows that differ from it up to both edges of the column; the distance from one tile to
the next, which contains title, price and buttons, is the same all over a page. That rhythm finds the tiles that
contrast cannot: white images on a white page, black ones on a black page. Lengths are shares of the page or of the
column. It needs only Pillow and NumPy.
"""

from PIL import Image

from .corners import cut
from .grid import find_grid
from .interface import is_interface
from .sheet import MIN_ASPECT, Page, Tile
from .single import find_single

__all__ = ["MIN_VISIBLE", "Page", "Tile", "cut", "find_products"]

MIN_VISIBLE = 0.6  # of a tile that the edge of the page cuts off
MIN_SIDE = 48  # pixels of a page: less is a line or a thumbnail
BESIDE = 0.25  # of a tile's height: how much lower another one of its row may begin
SURE = 0.95  # share of the text on a tile that is not a product: many products have text on them


def find_products(page: Image.Image, min_visible: float = MIN_VISIBLE) -> Page:
    """The product images on a screenshot in reading order: row by row from the top, each from left to right.

    min_visible: tiles cut off by the edge of the page are left out when less of their height is visible. Their full
    height is unknown; it is estimated from the complete tiles of the page and the usual shapes of images.
    Works on any size and color theme; the image must be upright. Never raises on an RGB image. A page of 12 megapixels
    takes at most 1 s and 200 MB, whatever is on it.
    """
    page = page.convert("RGB")
    if min(page.size) < MIN_SIDE:
        return Page("other")
    tiles = find_grid(page)
    if tiles:
        kept = [tile for tile in tiles if tile.visible >= min_visible and tile.box[3] >= MIN_ASPECT * tile.box[2]]
        if _is_grid_of_text(page, kept):
            return Page("other")
        return Page("grid", tuple(_reading_order(kept)))
    tile = find_single(page)
    return Page("single", (tile,)) if tile and not is_interface(_inside(page, tile)) else Page("other")


def _reading_order(tiles: list[Tile]) -> list[Tile]:
    """Tiles beside each other are one row, although one may begin a little higher than the other."""
    rows: list[list[Tile]] = []
    for tile in sorted(tiles, key=lambda tile: (tile.box[1], tile.box[0])):
        first = rows[-1][0].box if rows else None
        if first and tile.box[1] < first[1] + BESIDE * first[3] and tile.box[0] not in [one.box[0] for one in rows[-1]]:
            rows[-1].append(tile)
        else:
            rows.append([tile])
    return [tile for row in rows for tile in sorted(row, key=lambda tile: tile.box[0])]


def _is_grid_of_text(page: Image.Image, tiles: list[Tile]) -> bool:
    """Whether half of the tiles or more are cards with text, or keys. A page of products may have one such banner."""
    return bool(tiles) and 2 * sum(is_interface(_inside(page, tile), SURE) for tile in tiles) >= len(tiles)


def _inside(page: Image.Image, tile: Tile) -> Image.Image:
    x, y, width, height = tile.box
    return page.crop((x, y, x + width, y + height))
