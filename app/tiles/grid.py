"""The tiles of a page with columns: blocks of rows that differ from the page up to both edges of a column."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from .corners import corner_radius, rounded_corners
from .rhythm import complete_columns
from .sheet import (
    FAINT,
    MIN_CONTRAST,
    MIN_GAP,
    SAME,
    STRIP_WIDTH,
    Color,
    Column,
    Sheet,
    Span,
    Tile,
    as_color,
    color_distance,
    length,
    longest_run,
    runs,
)
from .stamp import is_stamped

MAX_NOISE = 40  # levels of 255, in the gutter of a page
COMMON_SHAPES = (0.75, 1.0, 1.25, 4 / 3, 1.5, 16 / 9)  # height / width of photographs and shop images

# Lengths as shares of the page's width (MIN_COLUMN, MIN_GUTTER), the page's height (MIN_GRID) or a column's width
MIN_COLUMN = 0.15
MIN_GUTTER = 0.008
MIN_GRID = 0.4
MIN_SPAN = 0.02  # shorter blocks of rows are lines of text, the strip of a scrolled tile is longer
SIDE_ZONE = 0.03  # where an image must touch the edge of its column
MAX_RADIUS = 0.17  # of a tile's corners
MAX_COLUMN_ASPECT = 150  # height / width: 60 screens of a phone, one below the other

MIN_COLUMN_PIXELS = 40  # narrower images show nothing
MAX_BLOCKS = 400  # of a page; more are a pattern and not products


def find_grid(page: Image.Image) -> list[Tile]:
    """All tiles of a page with columns, including those that are hardly visible; empty for another kind of page."""
    pixels = np.asarray(page)
    color = _background_color(pixels)
    distance = color_distance(page, color)
    edges = [] if page.width < 2 * MIN_COLUMN_PIXELS else _find_columns(distance)
    if edges and not _is_sane(edges[0], page.height):
        return []
    sheet = _make_sheet(page, distance, color, edges) if edges else None
    if sheet is None:
        return []
    columns = [_make_column(sheet, left, right) for left, right in edges]
    if sum(len(column.spans) + len(column.doubtful) for column in columns) > MAX_BLOCKS:
        return []
    complete_columns(sheet, columns)
    return _make_tiles(pixels, sheet, columns)


def _background_color(pixels: np.ndarray) -> Color:
    """The color of the calmest columns of pixels: margins and gutter."""
    height, width = pixels.shape[:2]
    rows = pixels[:: max(1, height // 150)].astype(np.int16)
    medians = np.median(rows, axis=0)
    calm = (np.abs(rows - medians).max(axis=2) <= SAME).mean(axis=0)
    calmest = np.argsort(-calm, kind="stable")[: max(3, width * 3 // 100)]
    return as_color(np.median(medians[calmest], axis=0))


def _find_columns(distance: np.ndarray) -> list[Span]:
    """Left and right edges of the columns, equally wide; empty if there are none."""
    profile = np.minimum(distance, 3 * MIN_CONTRAST).mean(axis=0)
    calm = np.percentile(profile, 2)
    for share in (0.25, 0.05):  # the second for pages where little more than text stands out
        columns = _even_columns(profile > calm + share * (np.median(profile) - calm))
        if columns:
            return columns
    return []


def _is_sane(column: Span, height: int) -> bool:
    """Whether images can be told apart in it, and in a time that does not grow without end."""
    return length(column) >= max(MIN_COLUMN_PIXELS, height / MAX_COLUMN_ASPECT)


def _even_columns(inside: np.ndarray) -> list[Span]:
    """The wide runs of true values if they are at least two, equally wide and apart."""
    width = len(inside)
    columns = [span for span in runs(inside) if length(span) > MIN_COLUMN * width]
    if len(columns) == 2:
        columns = _mirror(columns, width)
    widths = [length(span) for span in columns]
    gutters = [b[0] - a[1] for a, b in zip(columns, columns[1:], strict=False)]
    if len(columns) < 2 or min(widths) < 0.95 * max(widths) or min(gutters) < max(4, MIN_GUTTER * width):
        return []
    return columns


def _mirror(columns: list[Span], width: int) -> list[Span]:
    """Two columns, of which one may show too little to measure it: it mirrors the other."""
    first, second = columns
    if length(second) < 0.95 * length(first):
        return [first, (width - first[1], width - first[0])]
    if length(first) < 0.95 * length(second):
        return [(width - second[1], width - second[0]), second]
    return columns


def _make_sheet(page: Image.Image, distance: np.ndarray, color: Color, columns: list[Span]) -> Sheet | None:
    """Measure the noise of the page and the rows of the grid in the gutters; None if they are not gutters."""
    gray = np.asarray(page.convert("L"))
    level = float(np.asarray(Image.new("RGB", (1, 1), color).convert("L"))[0, 0])
    margin = (columns[1][0] - columns[0][1]) // 4
    gutters = [slice(a[1] + margin, b[0] - margin) for a, b in zip(columns, columns[1:], strict=False)]
    # Brightness, as JPEG spreads color further than light: half the gutter of a small page is tinted by the images.
    shade = np.abs(np.concatenate([gray[:, gutter] for gutter in gutters], axis=1) - level)
    is_empty = np.median(shade, axis=1) < FAINT
    rows = longest_run(is_empty) if is_empty.any() else (0, page.height)
    noise = float(np.percentile(np.concatenate([distance[slice(*rows), gutter] for gutter in gutters], axis=1), 99))
    if length(rows) < MIN_GRID * page.height or noise > MAX_NOISE:
        return None
    return Sheet(distance, gray, level, max(MIN_CONTRAST, round(2 * noise)), rows)


def _make_column(sheet: Sheet, left: int, right: int) -> Column:
    """Measure every row of a column and find the blocks that stand out. Outside the grid all flags are false."""
    covered = (sheet.distance[:, left:right] > sheet.contrast).mean(axis=1)
    shade = np.abs(sheet.gray[:, left:right].mean(axis=1) - sheet.level)
    blank = (covered < 0.01) & (shade < FAINT)
    drawn = ~blank & ((covered > 0.05) | (shade >= FAINT))
    solid = (covered > 0.5) | _tinted(sheet, left, right)
    for flags in (blank, drawn, solid):
        flags[: sheet.rows[0]] = flags[sheet.rows[1] :] = False
    column = Column(left, right, sheet.rows, blank, drawn)
    for span in _join_blocks(column, solid):
        span = _extend(span, drawn)
        (column.spans if _touches_sides(sheet, column, span) else column.doubtful).append(span)
    return column


def _join_blocks(column: Column, solid: np.ndarray) -> list[Span]:
    """Runs of solid rows, without lines of text; those that no blank rows separate are one."""
    spans: list[Span] = []
    for start, end in runs(solid):
        if end - start < MIN_SPAN * column.width:
            continue
        if spans and length(longest_run(column.blank[spans[-1][1] : start])) < MIN_GAP * column.width:
            start = spans.pop()[0]
        spans.append((start, end))
    return spans


def _tinted(sheet: Sheet, left: int, right: int) -> np.ndarray:
    """Rows of a column that differ from the page over almost all their length, however little.

    Short stretches are averaged first, so that the noise around letters cancels out.
    """
    strip = Image.fromarray(sheet.gray[:, left:right])
    means = np.asarray(strip.resize((STRIP_WIDTH, strip.height), Image.Resampling.BOX), dtype=np.float32)
    return (np.abs(means - sheet.level) >= FAINT).mean(axis=1) > 0.85


def _extend(span: Span, drawn: np.ndarray) -> Span:
    """Grow a span over neighboring rows that are drawn on, such as those between rounded corners."""
    start, end = span
    while start > 0 and drawn[start - 1]:
        start -= 1
    while end < len(drawn) and drawn[end]:
        end += 1
    return start, end


def _touches_sides(sheet: Sheet, column: Column, span: Span) -> bool:
    """Whether the middle of a span reaches both edges of the column, as an image does and a button does not."""
    left, right = column.left, column.right
    zone = max(1, round(SIDE_ZONE * column.width))
    inset = min(length(span) // 3, round(MAX_RADIUS * column.width))
    rows = slice(span[0] + inset, span[1] - inset)
    for side in (slice(left, left + zone), slice(right - zone, right)):
        strong = (sheet.distance[rows, side] > sheet.contrast).any(axis=1)
        faint = np.abs(sheet.gray[rows, side].mean(axis=1) - sheet.level) >= FAINT
        touching = strong | faint
        ends = touching[: inset // 2 + 1], touching[-(inset // 2) - 1 :]
        if min(part.mean() for part in (touching, *ends)) < 0.5:
            return False
    return True


def _make_tiles(pixels: np.ndarray, sheet: Sheet, columns: Sequence[Column]) -> list[Tile]:
    """Tiles of all columns with their corners, visible share and stamps."""
    tiles = [Tile((column.left, top, column.width, bottom - top)) for column in columns for top, bottom in column.spans]
    radius, contrast = corner_radius(sheet, tiles)
    tiles = [
        replace(tile, corner_radius=radius, corners=rounded_corners(sheet, tile, radius, contrast)) for tile in tiles
    ]
    highest, lowest = sheet.rows[0] - 1, sheet.rows[1] + 1
    if radius:
        highest = min((tile.box[1] for tile in tiles if not tile.corners[0]), default=highest)
        lowest = max((tile.box[1] + tile.box[3] for tile in tiles if not tile.corners[1]), default=lowest)
    tiles = [_mark_cut(tile, highest, lowest) for tile in tiles]
    heights = [tile.box[3] / tile.box[2] for tile in tiles if tile.visible == 1]
    return [
        replace(tile, visible=_visible_share(tile, heights), out_of_stock=is_stamped(pixels, tile)) for tile in tiles
    ]


def _mark_cut(tile: Tile, highest: int, lowest: int) -> Tile:
    """Mark a tile as cut off (`visible` 0) if it ends flat or at the edge where other tiles do."""
    _, top, width, height = tile.box
    near = 0.01 * width
    cut_above = top <= highest + near or (tile.corner_radius and not tile.corners[0])
    cut_below = top + height >= lowest - near or (tile.corner_radius and not tile.corners[1])
    corners = (tile.corners[0] and not cut_above, tile.corners[1] and not cut_below)
    return replace(tile, corners=corners, visible=0.0 if cut_above or cut_below else 1.0)


def _visible_share(tile: Tile, heights: Sequence[float]) -> float:
    """How much of a cut tile is on the page: an estimate from the heights of complete tiles, here and elsewhere.

    The lower quartile of the possible heights is taken, so that in doubt a tile is kept: of tiles cut at random places
    93% of those that show 60% and 15% of the others are kept at 0.6.
    """
    if tile.visible == 1:
        return 1.0
    shown = tile.box[3] / tile.box[2]
    possible = [height for height in (*heights, *COMMON_SHAPES) if height >= shown]
    return shown / float(np.quantile(possible, 0.25)) if possible else 1.0
