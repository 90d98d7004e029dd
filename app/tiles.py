"""Find the product images on a screenshot of a shopping app: the tiles of a grid page, or the one image of a view.

    page = Image.open("screenshot.jpg")
    found = find_products(page)                          # Page(kind="grid", tiles=[Tile(box=(21, 332, 481, 310), ...
    images = [cut(page, tile) for tile in found.tiles]

Nothing is learnt and no size is known beforehand. The page's own colour is the one that fills the gutter between the
columns; a tile is a block of rows that differ from it up to both edges of the column; the distance from one tile to
the next, which holds title, price and buttons, is the same all over a page. That rhythm finds the tiles that contrast
cannot: white images on a white page, black ones on a black page. Lengths are shares of the page or of the column.
It needs Pillow and NumPy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from PIL import Image, ImageChops

MIN_VISIBLE = 0.6  # of a tile that the edge of the page cuts off

# Brightness, in levels of 255
MIN_CONTRAST = 14  # between an image and the page, well above the noise of a JPEG around text
FAINT = 2  # a whole row that differs this much on average is no noise: pixels' errors cancel out
JPEG_BLOCK = 16  # pixels that the noise around an edge can reach
MAX_NOISE = 40  # in the gutter of a page
SAME = 6  # two samples of one flat colour in a JPEG
MAX_THEME_STEP = 60  # between the bars of an app and what surrounds its images

# Lengths as shares of the page's width (columns) or of a column's width (everything else)
MIN_COLUMN = 0.15
MIN_GUTTER = 0.008
SIDE_ZONE = 0.03  # where an image must touch the edge of its column
MAX_EMPTY = 0.05  # share of the rows or columns of a letterboxed image that may have the colour of the page
MIN_GRID = 0.4  # height of the grid, as a share of the page's
MIN_IMAGE = 0.1  # sides of the image of a single-product page, as shares of the page's
MIN_SPAN = 0.02  # shorter blocks of rows are lines of text, the strip of a scrolled tile is longer
MIN_GAP = 0.02  # empty rows that always lie below an image
MIN_ASPECT = 0.25  # height of a product image; flatter tiles are place-holders of images that did not load
PITCH_TOLERANCE = 0.05
SNAP = 0.04  # how far a deduced edge may move to a visible one
MAX_RADIUS = 0.17  # of a tile's corners
RIM = 0.006  # blended pixels along a rounded edge
TRIM = 0.004  # blended pixels along a straight edge, a thin dark line that is cut away

TEXT_MATCH = 0.5  # correlation of a region with the page's title, price and buttons
TEMPLATE_WIDTH = 48  # pixels a column is shrunk to for that
COMMON_SHAPES = (0.75, 1.0, 1.25, 4 / 3, 1.5, 16 / 9)  # height / width of photographs and shop images

# The frame of the OUT OF STOCK stamp: its corners in widths of the tile, from the tile's upper left corner
STAMP_CORNERS = ((0.058, 0.196), (0.923, 0.133), (0.954, 0.515), (0.088, 0.581))
STAMP_SPREAD = 45  # levels
STAMP_STEP = 0.012  # half the width of its lines


def _stamp_frame(scale: float) -> np.ndarray:
    """Points along the stamp's frame, blown up or shrunk about its centre: (points, 2) in widths of the tile."""
    corners = np.array(STAMP_CORNERS)
    along = np.linspace(0.04, 0.96, 30)[:, None]
    sides = [a + (b - a) * along for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    return corners.mean(axis=0) + (np.concatenate(sides) - corners.mean(axis=0)) * scale


STAMP_FRAME = _stamp_frame(1.0)
STAMP_SURROUNDINGS = (_stamp_frame(0.88), _stamp_frame(1.1))

Span = tuple[int, int]  # first row (or column) and the one after the last


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
    """What was found on a screenshot. kind: `grid`, `single`, or `other` (no product image)."""

    kind: str
    tiles: tuple[Tile, ...] = ()


@dataclass(frozen=True)
class _Sheet:
    """A page as distances from its own colour."""

    distance: np.ndarray  # (height, width) uint8, the largest of the three channels
    gray: np.ndarray  # (height, width) uint8
    level: float  # grey of the page's colour
    contrast: int  # a pixel further away than this is no background
    rows: Span  # where the gutter is empty: below the header, above the buttons of the phone


@dataclass
class _Column:
    """One column of the grid. The arrays hold one flag a row of the page."""

    left: int
    right: int
    rows: Span  # of the grid
    blank: np.ndarray  # nothing but the page's colour
    drawn: np.ndarray  # something, not just noise at the rim of an image
    solid: np.ndarray  # something over most of the width
    spans: list[Span] = field(default_factory=list)  # rows of the tiles
    doubtful: list[Span] = field(default_factory=list)  # what does not reach both edges of the column

    @property
    def width(self) -> int:
        return self.right - self.left


@dataclass(frozen=True)
class _Rhythm:
    """What repeats from tile to tile, in rows: the pitch is the text with the empty rows above and below it."""

    before: int  # empty rows between the buttons and the next tile
    after: int  # empty rows between a tile and its title
    pitch: int  # from the end of a tile to the start of the next


def find_products(page: Image.Image, min_visible: float = MIN_VISIBLE) -> Page:
    """The product images on a screenshot, from top to bottom and left to right.

    min_visible: tiles cut off by the edge of the page are left out when less of their height is visible. Their full
    height is unknown; it is estimated from the complete tiles of the page and the usual shapes of images.
    Works on any size and colour theme; the image must be upright. Never raises on an RGB image.
    """
    page = page.convert("RGB")
    tiles = _find_grid(page)
    if tiles:
        kept = [tile for tile in tiles if tile.visible >= min_visible and tile.box[3] >= MIN_ASPECT * tile.box[2]]
        return Page("grid", tuple(sorted(kept, key=lambda tile: (tile.box[1], tile.box[0]))))
    tile = _find_single(page)
    return Page("single", (tile,)) if tile else Page("other")


# --- grid pages ------------------------------------------------------------------------------------------------------


def _find_grid(page: Image.Image) -> list[Tile]:
    """All tiles of a page with columns, also those that are hardly visible; empty for another kind of page."""
    pixels = np.asarray(page)
    color = _background_color(pixels)
    distance = _distance(page, color)
    edges = _find_columns(distance)
    if not edges:
        return []
    sheet = _make_sheet(page, distance, color, edges)
    if sheet is None:
        return []
    columns = [_make_column(sheet, *edge) for edge in edges]
    for column in columns:
        _find_spans(sheet, column)
    rhythm = _measure_rhythm(sheet, columns)
    if rhythm:
        for column in columns:
            column.spans = _straighten(column, rhythm)
        if any(_room(column, rhythm) for column in columns):
            template = _text_template(sheet, columns, rhythm)
            for column in columns:
                column.spans = _add_hidden(sheet, column, rhythm, template)
    return _make_tiles(pixels, sheet, columns)


def _background_color(pixels: np.ndarray) -> tuple[int, int, int]:
    """The colour of the calmest columns of pixels: margins and gutter."""
    height, width = pixels.shape[:2]
    rows = pixels[:: max(1, height // 150)].astype(np.int16)
    medians = np.median(rows, axis=0)
    calm = (np.abs(rows - medians).max(axis=2) <= SAME).mean(axis=0)
    calmest = np.argsort(-calm, kind="stable")[: max(3, width * 3 // 100)]
    return tuple(int(value) for value in np.median(medians[calmest], axis=0))


def _distance(page: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    """How far each pixel is from a colour: (height, width) uint8, the largest difference of the three channels."""
    red, green, blue = ImageChops.difference(page, Image.new("RGB", page.size, color)).split()
    return np.asarray(ImageChops.lighter(ImageChops.lighter(red, green), blue))


def _find_columns(distance: np.ndarray) -> list[Span]:
    """Left and right edges of the columns, equally wide; empty if there are none."""
    profile = np.minimum(distance, 3 * MIN_CONTRAST).mean(axis=0)
    calm = np.percentile(profile, 2)
    for share in (0.25, 0.05):  # the second for pages where little more than text stands out
        inside = profile > calm + share * (np.median(profile) - calm)
        columns = _even_columns(inside)
        if columns:
            return columns
    return []


def _even_columns(inside: np.ndarray) -> list[Span]:
    """The wide runs of true values if they are at least two, equally wide and apart."""
    width = len(inside)
    columns = [span for span in _runs(inside) if span[1] - span[0] > MIN_COLUMN * width]
    if len(columns) == 2:
        columns = _mirror(columns, width)
    widths = [right - left for left, right in columns]
    gutters = [b[0] - a[1] for a, b in zip(columns, columns[1:], strict=False)]
    if len(columns) < 2 or min(widths) < 0.95 * max(widths) or min(gutters) < max(4, MIN_GUTTER * width):
        return []
    return columns


def _mirror(columns: list[Span], width: int) -> list[Span]:
    """Two columns where one shows too little to measure it: it mirrors the other."""
    (left, _), (_, right) = columns
    first, second = columns
    if second[1] - second[0] < 0.95 * (first[1] - first[0]):
        return [first, (width - first[1], width - left)]
    if first[1] - first[0] < 0.95 * (second[1] - second[0]):
        return [(width - right, width - second[0]), second]
    return columns


def _make_sheet(page: Image.Image, distance: np.ndarray, color: tuple, columns: list[Span]) -> _Sheet | None:
    """Measure the noise of the page and the rows of the grid in the gutters; None if they are no gutters."""
    gray = np.asarray(page.convert("L"))
    level = float(Image.new("RGB", (1, 1), color).convert("L").getpixel((0, 0)))
    margin = (columns[1][0] - columns[0][1]) // 4
    gutters = [slice(a[1] + margin, b[0] - margin) for a, b in zip(columns, columns[1:], strict=False)]
    # Brightness, as JPEG spreads colour further than light: half the gutter of a small page is tinted by the images.
    shade = np.abs(np.concatenate([gray[:, gutter] for gutter in gutters], axis=1) - level)
    empty = np.median(shade, axis=1) < FAINT
    rows = max(_runs(empty), key=lambda span: span[1] - span[0], default=(0, page.height))
    noise = float(np.percentile(np.concatenate([distance[slice(*rows), gutter] for gutter in gutters], axis=1), 99))
    if rows[1] - rows[0] < MIN_GRID * page.height or noise > MAX_NOISE:
        return None
    return _Sheet(distance, gray, level, max(MIN_CONTRAST, round(2 * noise)), rows)


def _make_column(sheet: _Sheet, left: int, right: int) -> _Column:
    """Measure every row of a column. Outside the grid all flags are false."""
    covered = (sheet.distance[:, left:right] > sheet.contrast).mean(axis=1)
    shade = np.abs(sheet.gray[:, left:right].mean(axis=1) - sheet.level)
    blank = (covered < 0.01) & (shade < FAINT)
    drawn = ~blank & ((covered > 0.05) | (shade >= FAINT))
    solid = (covered > 0.5) | _tinted(sheet, left, right)
    for flags in (blank, drawn, solid):
        flags[: sheet.rows[0]] = flags[sheet.rows[1] :] = False
    return _Column(left, right, sheet.rows, blank, drawn, solid)


def _find_spans(sheet: _Sheet, column: _Column) -> None:
    """Fill `spans` and `doubtful` of a column with what stands out from the page."""
    spans: list[Span] = []
    for start, end in _runs(column.solid):
        if end - start < MIN_SPAN * column.width:
            continue
        if spans and _longest(column.blank[spans[-1][1] : start]) < MIN_GAP * column.width:
            start = spans.pop()[0]
        spans.append((start, end))
    for span in [_extend(span, column.drawn) for span in spans]:
        (column.spans if _touches_sides(sheet, column, span) else column.doubtful).append(span)


def _tinted(sheet: _Sheet, left: int, right: int) -> np.ndarray:
    """Rows of a column that differ from the page over almost all their length, however little.

    Short stretches are averaged first, so that the noise around letters cancels out.
    """
    strip = Image.fromarray(sheet.gray[:, left:right])
    means = np.asarray(strip.resize((TEMPLATE_WIDTH, strip.height), Image.Resampling.BOX), dtype=np.float32)
    return (np.abs(means - sheet.level) >= FAINT).mean(axis=1) > 0.85


def _extend(span: Span, drawn: np.ndarray) -> Span:
    """Grow a span over neighbouring rows that are drawn on, such as those between rounded corners."""
    start, end = span
    while start > 0 and drawn[start - 1]:
        start -= 1
    while end < len(drawn) and drawn[end]:
        end += 1
    return start, end


def _touches_sides(sheet: _Sheet, column: _Column, span: Span) -> bool:
    """Whether the middle of a span reaches both edges of the column, as an image does and a button does not."""
    left, right = column.left, column.right
    zone = max(1, round(SIDE_ZONE * column.width))
    inset = min((span[1] - span[0]) // 3, round(MAX_RADIUS * column.width))
    rows = slice(span[0] + inset, span[1] - inset)
    for side in (slice(left, left + zone), slice(right - zone, right)):
        strong = (sheet.distance[rows, side] > sheet.contrast).any(axis=1)
        faint = np.abs(sheet.gray[rows, side].mean(axis=1) - sheet.level) >= FAINT
        touching = strong | faint
        ends = touching[: inset // 2 + 1], touching[-(inset // 2) - 1 :]
        if min(part.mean() for part in (touching, *ends)) < 0.5:
            return False
    return True


def _measure_rhythm(sheet: _Sheet, columns: Sequence[_Column]) -> _Rhythm | None:
    """The rhythm of the page, from the tiles that are clear; None if they do not tell."""
    before = [_blank_rows(column, span[0], -1) for column in columns for span in column.spans]
    after = [_blank_rows(column, span[1], 1) for column in columns for span in column.spans]
    before, after = [rows for rows in before if rows], [rows for rows in after if rows]
    if not before or not after:
        return None
    usual = int(np.median(before))
    texts = [_text_rows(column, span[1], usual) for column in columns for span in column.spans]
    texts = [rows for rows in texts if rows]
    gaps = np.array([b[0] - a[1] for column in columns for a, b in zip(column.spans, column.spans[1:], strict=False)])
    tolerance = PITCH_TOLERANCE * columns[0].width
    if texts:
        pitch = int(np.median(texts)) + usual
        gaps = gaps[np.abs(gaps - pitch) <= tolerance]
    elif not len(gaps):
        return None
    if len(gaps):
        pitch = _most_common(gaps, tolerance)
    return _Rhythm(usual, int(np.median(after)), pitch)


def _blank_rows(column: _Column, row: int, step: int) -> int:
    """Number of empty rows from an edge of a tile on, up (step -1) or down (1); 0 if they reach the end of the grid."""
    rows = column.drawn[row : column.rows[1]] if step > 0 else column.drawn[column.rows[0] : row][::-1]
    rim = round(MIN_GAP * column.width)  # noise around the image may reach this far
    return rim + int(np.argmax(rows[rim:])) if rows[rim:].any() else 0


def _text_rows(column: _Column, row: int, gap: int) -> int:
    """Number of rows from the end of a tile to the end of its text, which `gap` empty rows follow; 0 if not seen."""
    rows = ~column.drawn[row : column.rows[1]]
    for start, end in _runs(rows):
        if start > MIN_GAP * column.width and end - start >= (0.9 if end < len(rows) else 0.5) * gap:
            return start
    return 0


def _most_common(values: np.ndarray, tolerance: float) -> int:
    """Median of the largest cluster of values; the smaller cluster of two equally large ones."""
    support = (np.abs(values[:, None] - values) <= tolerance).sum(axis=1)
    best = values[support == support.max()].min()
    return int(np.median(values[np.abs(values - best) <= tolerance]))


def _straighten(column: _Column, rhythm: _Rhythm) -> list[Span]:
    """The clear spans, with edges moved to where the text around them says they are if more is empty there than usual.

    Doubtful spans are accepted where the text agrees with both of their edges.
    """
    tolerance = PITCH_TOLERANCE * column.width
    result = []
    for span in column.spans + column.doubtful:
        top, bottom = span
        above = _blank_rows(column, top, -1) - rhythm.before
        below = _blank_rows(column, bottom, 1) - rhythm.after
        if span in column.spans:
            result.append((top - above if above > tolerance else top, bottom + below if below > tolerance else bottom))
        elif max(abs(above), abs(below)) <= tolerance:
            result.append(span)
    return sorted(result)


# --- tiles that contrast does not show -------------------------------------------------------------------------------


def _text_template(sheet: _Sheet, columns: Sequence[_Column], rhythm: _Rhythm) -> np.ndarray:
    """What lies between two tiles of this page on average: title, avatar, price and buttons, TEMPLATE_WIDTH wide."""
    height = max(4, round(rhythm.pitch * TEMPLATE_WIDTH / columns[0].width))
    found = []
    for column in columns:
        strip = _shrink(sheet, column)
        scale = TEMPLATE_WIDTH / column.width
        for top, bottom in column.spans:
            for row in (bottom, top - rhythm.pitch):
                start = round(row * scale)
                if row >= sheet.rows[0] and row + rhythm.pitch <= sheet.rows[1] and start + height <= len(strip):
                    found.append(strip[start : start + height])
    return np.mean(found, axis=0) if found else np.zeros((height, TEMPLATE_WIDTH))


def _shrink(sheet: _Sheet, column: _Column) -> np.ndarray:
    """A column of the page, TEMPLATE_WIDTH pixels wide, as float distances from the page's colour."""
    height = max(1, round(len(sheet.distance) * TEMPLATE_WIDTH / column.width))
    strip = Image.fromarray(np.minimum(sheet.distance[:, column.left : column.right], 128))
    return np.asarray(strip.resize((TEMPLATE_WIDTH, height), Image.Resampling.BOX)).astype(np.float32)


def _room(column: _Column, rhythm: _Rhythm) -> list[Span]:
    """Where a column has room for tiles that were not found: between two tiles or before, after all of them."""
    starts = [column.rows[0], *(span[1] + rhythm.pitch for span in column.spans)]
    ends = [*(span[0] - rhythm.pitch for span in column.spans), column.rows[1]]
    return [(a, b) for a, b in zip(starts, ends, strict=True) if b - a >= MIN_ASPECT * column.width]


def _add_hidden(sheet: _Sheet, column: _Column, rhythm: _Rhythm, template: np.ndarray) -> list[Span]:
    """Complete a column: a hidden tile is what lies between two regions of text, those that look like `template`."""
    texts = _find_texts(sheet, column, template)
    result = list(column.spans)
    for top, bottom in _room(column, rhythm):
        inner = [row for row in texts if row > top and row + rhythm.pitch / 2 < bottom]
        for start, end in zip([top, *(row + rhythm.pitch for row in inner)], [*inner, bottom], strict=True):
            if start == column.rows[0] and end > start:
                start = _guess_top(column, start, end, rhythm.before)
            if end - start >= MIN_ASPECT * column.width and _has_content(sheet, column, (start, end)):
                result.append(_snap(sheet, column, (start, end)))
    return sorted(result)


def _guess_top(column: _Column, first: int, end: int, before: int) -> int:
    """Where the first tile of a column begins if its edge cannot be seen: below a text that is cut off, or unknown.

    An unknown one is guessed from what can be seen of the image, which is mostly centred.
    """
    blank = column.blank[first:end][::-1]
    margin = int(np.argmin(blank))  # from the end of the tile up to what can be seen of it
    gaps = [run for run in _runs(blank[margin:]) if run[1] - run[0] >= before]
    if not gaps:
        return first
    low, high = (end - margin - row for row in gaps[0])
    return high + before if high > first else max(first, low - margin)


def _find_texts(sheet: _Sheet, column: _Column, template: np.ndarray) -> list[int]:
    """First rows of the regions that correlate with the template; one may be cut off by the end of the page."""
    scale = TEMPLATE_WIDTH / column.width
    strip = _shrink(sheet, column)[: round(sheet.rows[1] * scale)]
    found: list[tuple[float, int]] = []
    for start in range(round(sheet.rows[0] * scale), len(strip) - len(template) // 3):
        window = strip[start : start + len(template)]
        score = _correlation(window, template[: len(window)])
        if score > TEXT_MATCH:
            found.append((score, start))
    chosen: list[int] = []
    for _, start in sorted(found, reverse=True):
        if all(abs(start - other) > len(template) for other in chosen):
            chosen.append(start)
    return [round(start / scale) for start in sorted(chosen)]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of two arrays; 0 if one is flat."""
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / norm if norm > 0 else 0.0


def _has_content(sheet: _Sheet, column: _Column, span: Span) -> bool:
    """Whether anything is drawn in the middle of a span."""
    inset = column.width // 8
    inside = sheet.distance[span[0] : span[1], column.left + inset : column.right - inset]
    return bool((inside > sheet.contrast).mean() > 0.02)


def _snap(sheet: _Sheet, column: _Column, span: Span) -> Span:
    """Move deduced edges to the sharpest change of brightness nearby, if there is one."""
    inset, reach = column.width // 5, round(SNAP * column.width)
    means = sheet.gray[:, column.left + inset : column.right - inset].mean(axis=1)
    edges = []
    for edge in span:
        low = max(1, edge - reach)
        steps = np.abs(np.diff(means[low - 1 : edge + reach]))
        sharp = len(steps) and steps.max() >= FAINT and steps.max() > 8 * np.median(steps)
        edges.append(low + int(np.argmax(steps)) if sharp else edge)
    return edges[0], edges[1]


# --- what a tile is like ---------------------------------------------------------------------------------------------


def _make_tiles(pixels: np.ndarray, sheet: _Sheet, columns: Sequence[_Column]) -> list[Tile]:
    """Tiles of all columns with their corners, visible share and stamps."""
    tiles = []
    for column in columns:
        tiles += [Tile((column.left, top, column.width, bottom - top)) for top, bottom in column.spans]
    radius, contrast = _corner_radius(sheet, tiles)
    tiles = [replace(tile, corner_radius=radius, corners=_rounded(sheet, tile, radius, contrast)) for tile in tiles]
    ends = (sheet.rows[0] - 1, sheet.rows[1] + 1)
    if radius:
        ends = (
            min((tile.box[1] for tile in tiles if not tile.corners[0]), default=ends[0]),
            max((tile.box[1] + tile.box[3] for tile in tiles if not tile.corners[1]), default=ends[1]),
        )
    tiles = [_see_cuts(tile, *ends) for tile in tiles]
    heights = [tile.box[3] / tile.box[2] for tile in tiles if tile.visible == 1]
    return [
        replace(tile, visible=_visible_share(tile, heights), out_of_stock=_is_stamped(pixels, tile)) for tile in tiles
    ]


def _corner_offsets(sheet: _Sheet, tile: Tile, upper: bool, contrast: int) -> np.ndarray:
    """Background pixels before the image begins, from the given edge inwards: (rows, 2), left and right side."""
    left, top, width, height = tile.box
    size = max(2, min(width // 4, height // 2))
    rows = slice(top, top + size) if upper else slice(top + height - size, top + height)
    drawn = sheet.distance[rows, left : left + width] > contrast
    drawn = drawn if upper else drawn[::-1]
    sides = np.stack([drawn[:, :size], drawn[:, : -size - 1 : -1]])
    first = np.where(sides.any(axis=2), sides.argmax(axis=2), size)
    return np.minimum.accumulate(first, axis=1).T


def _corner_radius(sheet: _Sheet, tiles: Sequence[Tile]) -> tuple[int, int]:
    """Radius of the tiles' corners on this page in pixels, 0 for square ones, and the contrast at which they show.

    A quarter circle of radius r leaves (1 - pi / 4) r^2 pixels of its square empty. Corners where dark parts of the
    image add to that are told by the first row, which must be about r short as well.
    """
    for contrast in (sheet.contrast, sheet.contrast // 2):
        radii = []
        for tile, upper in product(tiles, (True, False)):
            if tile.box[3] < MIN_ASPECT * tile.box[2]:
                continue
            offsets = _corner_offsets(sheet, tile, upper, contrast)
            guesses = np.sqrt(offsets.sum(axis=0) / (1 - np.pi / 4))
            good = (0.6 * guesses <= offsets[0]) & (offsets[0] <= 1.2 * guesses) & (offsets[-1] == 0) & (guesses >= 2)
            radii += list(guesses[good])
        if radii:
            return round(float(np.median(radii))), contrast
    return 0, sheet.contrast


def _rounded(sheet: _Sheet, tile: Tile, radius: int, contrast: int) -> tuple[bool, bool]:
    """Whether the upper and the lower corners are empty as rounded ones are (or as those of invisible edges)."""
    ends = [_corner_offsets(sheet, tile, upper, contrast)[: max(2, radius)] for upper in (True, False)]
    empty = [offsets.sum(axis=0).max() / ((1 - np.pi / 4) * len(offsets) ** 2) for offsets in ends]
    return bool(radius and empty[0] > 0.3), bool(radius and empty[1] > 0.3)


def _see_cuts(tile: Tile, highest: int, lowest: int) -> Tile:
    """Mark a tile as cut (`visible` 0) where it ends flat or at the edge where other tiles do."""
    _, top, width, height = tile.box
    near = 0.01 * width
    cut_above = top <= highest + near or (tile.corner_radius and not tile.corners[0])
    cut_below = top + height >= lowest - near or (tile.corner_radius and not tile.corners[1])
    corners = (tile.corners[0] and not cut_above, tile.corners[1] and not cut_below)
    return replace(tile, corners=corners, visible=0.0 if cut_above or cut_below else 1.0)


def _visible_share(tile: Tile, heights: Sequence[float]) -> float:
    """How much of a cut tile is on the page: an estimate from the heights that complete tiles have, here and elsewhere.

    The lower quartile of the possible heights is taken, so that in doubt a tile is kept: of tiles cut at random places
    93% of those that show 60% and 15% of the others are kept at 0.6.
    """
    if tile.visible == 1:
        return 1.0
    shown = tile.box[3] / tile.box[2]
    possible = [height for height in (*heights, *COMMON_SHAPES) if height >= shown]
    return shown / float(np.quantile(possible, 0.25)) if possible else 1.0


def _is_stamped(pixels: np.ndarray, tile: Tile) -> bool:
    """Whether the OUT OF STOCK stamp lies on a tile, in its place or, if the top is cut off, anywhere above it."""
    x, y, width, height = tile.box
    image = pixels[y : y + height, x : x + width]
    highest = -2 * STAMP_STEP if tile.corners[0] or tile.visible == 1 else -STAMP_CORNERS[0][1]
    for down in np.arange(highest, 2.5 * STAMP_STEP, STAMP_STEP):
        for aside in (0, -STAMP_STEP, STAMP_STEP):
            if _shows_stamp(image, np.array((aside, down))):
                return True
    return False


def _shows_stamp(image: np.ndarray, shift: np.ndarray) -> bool:
    """Whether the stamp's frame is here: four lines of one strong colour with other colours at both sides of them."""
    on = _sample(image, STAMP_FRAME + shift)
    if len(on) < 0.3 * len(STAMP_FRAME):
        return False
    color = np.median(on, axis=0)
    if np.ptp(color) < 2 * STAMP_SPREAD or (np.abs(on - color).max(axis=1) <= STAMP_SPREAD).mean() < 0.85:
        return False
    around = np.concatenate([_sample(image, frame + shift) for frame in STAMP_SURROUNDINGS])
    return bool((np.abs(around - color).max(axis=1) > STAMP_SPREAD).mean() >= 0.4)


def _sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours, (n, 3) int16, at those (x, y) points that lie in the image; they count in its widths."""
    x, y = np.round(points * image.shape[1]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
    return image[y[inside], x[inside]].astype(np.int16)


# --- single-product pages --------------------------------------------------------------------------------------------


def _find_single(page: Image.Image) -> Tile | None:
    """The one large image of a page, between the bars of the phone and the app; None if there is none.

    It is letterboxed in a colour of its own, or lies on the page among texts and buttons. A page without bars is taken
    for an image that somebody has cut out already, unless it is of one flat colour.
    """
    pixels = np.asarray(page)
    thin = pixels[:, :: max(1, page.width // 180)].astype(np.int16)
    top = _bar_height(thin)
    bottom = page.height - _bar_height(thin[::-1])
    if not top:
        flat = thin.std(axis=(0, 1)).max() < FAINT
        return None if flat else Tile((0, 0, page.width, page.height))
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
    """The largest block on a page of one colour that empty rows and columns separate from all others, if it is full."""
    shown = _distance(page, tuple(int(value) for value in color)) > MIN_CONTRAST
    box = [0, 0, page.width, page.height]
    for axis, least in ((1, 0.01), (0, 0.5), (1, 0.01)):  # half a column: the next image may touch with a corner
        part = shown[box[1] : box[3], box[0] : box[2]].mean(axis=axis) > least
        start, end = max(_runs(part), key=lambda span: span[1] - span[0], default=(0, 0))
        box[axis], box[axis + 2] = box[axis] + start, box[axis] + end
    left, top, right, bottom = box
    if right - left < MIN_IMAGE * page.width or bottom - top < MIN_IMAGE * page.height:
        return None
    if shown[top:bottom, left:right].mean() < 0.5:
        return None
    tile = Tile((left, top, right - left, bottom - top))
    sheet = _Sheet(_distance(page, tuple(int(value) for value in color)), np.empty(0), 0, MIN_CONTRAST, (top, bottom))
    radius, contrast = _corner_radius(sheet, [tile])
    return replace(tile, corner_radius=radius, corners=_rounded(sheet, tile, radius, contrast))


def _bar_height(rows: np.ndarray) -> int:
    """Rows of the bars at the start of a page: one colour with a few signs on it, then a step; 0 if there are none.

    rows: (rows, samples, 3) int16.
    """
    rim = 2 + len(rows) // 500  # the step, blurred by JPEG
    medians = np.median(rows, axis=1)
    differs = np.abs(medians - medians[0]).max(axis=1) > SAME
    end = int(np.argmax(differs))
    if not differs.any() or not 2 * rim < end < len(rows) / 2:
        return 0
    signs = (np.abs(rows[:end] - medians[0]).max(axis=2) > 3 * MIN_CONTRAST).mean(axis=1)
    sharp = np.abs(medians[end + rim] - medians[end - rim]).max() > SAME
    settled = end + int(np.argmin(np.abs(np.diff(medians[end : end + 2 * rim], axis=0)).max(axis=1) > 1))
    return settled if sharp and (signs > 0).sum() > rim and signs.max() < 0.5 else 0


def _inside_letterbox(lines: np.ndarray, bar: np.ndarray, max_step: float) -> Span:
    """First and last line (rows or columns) of an image between two flat areas of one colour, near that of the bars.

    lines: (lines, samples, 3) int16. Edges at which the whole line changes are believed, unless something is seen more
    than `max_step` lines before. Where the image is as dark as the area around it, it is taken to be centred, and the
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


# --- cutting ---------------------------------------------------------------------------------------------------------


def cut(page: Image.Image, tile: Tile) -> Image.Image:
    """The image of a tile, RGB. What the rounded corners hide is filled with the image mirrored at the corner.

    Black wedges would tell a classifier which app an image is from; cropping them away would cost a strip on each
    side, and often a part of the product.
    """
    x, y, width, height = tile.box
    pixels = np.array(page.convert("RGB").crop((x, y, x + width, y + height)))
    for upper in (True, False):
        if tile.corner_radius and tile.corners[0 if upper else 1]:
            for left in (True, False):
                _fill_corner(pixels[:: 1 if upper else -1, :: 1 if left else -1], tile.corner_radius)
    trim = 0 if (width, height) == page.size else max(1, round(TRIM * width))
    return Image.fromarray(pixels[trim : height - trim, trim : width - trim])


def _fill_corner(pixels: np.ndarray, radius: int) -> None:
    """Mirror the image, in place, at a quarter circle in its upper left corner."""
    radius = min(radius, (len(pixels) - 1) // 2, (pixels.shape[1] - 1) // 2)
    rows, columns = np.mgrid[:radius, :radius] + 0.5 - radius
    reach = np.hypot(rows, columns)
    edge = radius - max(1.0, RIM * pixels.shape[1])
    outside = reach > edge
    factor = (2 * edge - reach[outside]) / reach[outside]
    sources = [np.floor(axis[outside] * factor + radius).astype(int) for axis in (rows, columns)]
    pixels[:radius, :radius][outside] = pixels[sources[0], sources[1]]


def _runs(flags: np.ndarray) -> list[Span]:
    """Start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.asarray(flags, dtype=np.int8), [0]))))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _longest(flags: np.ndarray) -> int:
    """Length of the longest run of true values."""
    return max((end - start for start, end in _runs(flags)), default=0)
