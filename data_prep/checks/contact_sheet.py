"""Contact sheets: small images with captions on one PNG, for a person to judge at a glance.

    draw_sheet(Path("sheet.png"), "Near-duplicates", [Band("2 copies of an image", [Tile(image, ("1163", "Tshirts"))])])

The sheet is as wide as a page on GitHub shows it, so that captions stay readable there. Captions are wrapped here
because Pillow's ImageText.wrap refuses a word that is wider than its line, such as a long id.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from app.images import ImageError, load_image
from data_prep.pipeline.images import ImageReference

WIDTH = 900
MARGIN = 12
GAP = 8
IMAGE_SIDE = 139  # six in a row
TITLE_SIZE, HEADING_SIZE, CAPTION_SIZE = 22, 15, 12
LINE_HEIGHT, HEADING_HEIGHT = 15, 30
LAST_LINES = 2  # of a caption: titles are long, and differ at their end
PAPER, INK, PALE, EDGE, ALARM = "#ffffff", "#222222", "#6b6b6b", "#d8d8d8", "#c62828"
MAX_TILES = 240  # what a person looks through, and 20 MB of pixels


@dataclass(slots=True)
class Tile:
    """One image.

    caption: lines below it; the last one may wrap, all are cut where too long. alarm: draw it in a red frame.
    """

    image: ImageReference
    caption: Sequence[str] = ()
    alarm: bool = False


@dataclass(slots=True)
class Band:
    """Images that belong together, below a heading; an empty heading takes no room."""

    heading: str = ""
    tiles: list[Tile] = field(default_factory=list)


def draw_sheet(path: Path, title: str, bands: Sequence[Band], side: int = IMAGE_SIDE) -> int:
    """Draw the bands, side by side where they fit; returns the number of images drawn, at most MAX_TILES.

    side: of the square in pixels that each image is fitted into.
    """
    placed = place_bands(first_tiles(bands), side)
    lines = max((wrapped_lines(tile, side) for _, _, band in placed for tile in band.tiles), default=0)
    step = side + lines * LINE_HEIGHT + 2 * GAP + (HEADING_HEIGHT if any(band.heading for _, _, band in placed) else 0)
    rows = 1 + max((row for row, _, _ in placed), default=0)
    sheet = Image.new("RGB", (WIDTH, 3 * MARGIN + TITLE_SIZE + rows * step), PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, (MARGIN, MARGIN), title, TITLE_SIZE, INK, WIDTH - 2 * MARGIN)
    for row, column, band in placed:
        place = (MARGIN + column * (side + GAP), 2 * MARGIN + TITLE_SIZE + row * step)
        draw_band(sheet, draw, band, place, side)
    sheet.save(path)
    return sum(len(band.tiles) for _, _, band in placed)


def first_tiles(bands: Sequence[Band]) -> list[Band]:
    """The bands up to MAX_TILES images."""
    kept, room = [], MAX_TILES
    for band in bands:
        if room > 0 and band.tiles:
            kept.append(Band(band.heading, band.tiles[:room]))
            room -= len(band.tiles)
    return kept


def place_bands(bands: Sequence[Band], side: int) -> list[tuple[int, int, Band]]:
    """(row, column, band) of each piece; a band that is longer than the sheet is cut into rows."""
    columns = (WIDTH - 2 * MARGIN + GAP) // (side + GAP)
    placed, row, column = [], 0, 0
    for band in bands:
        for start in range(0, len(band.tiles), columns):
            piece = Band("" if start else band.heading, band.tiles[start : start + columns])
            if column + len(piece.tiles) > columns:
                row, column = row + 1, 0
            placed.append((row, column, piece))
            column += len(piece.tiles)
        if len(band.tiles) > columns:  # what follows belongs to another band
            column = columns
    return placed


def draw_band(sheet: Image.Image, draw: ImageDraw.ImageDraw, band: Band, place: tuple[int, int], side: int) -> None:
    """One row of images, with its heading above it."""
    left, top = place
    if band.heading:
        width = len(band.tiles) * (side + GAP) - GAP
        draw.line((left, top, left + width - 1, top), fill=EDGE, width=2)
        write(draw, (left, top + GAP // 2), band.heading, HEADING_SIZE, INK, width)
        top += HEADING_HEIGHT
    for number, tile in enumerate(band.tiles):
        draw_tile(sheet, draw, tile, left + number * (side + GAP), top, side)


def draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int, side: int) -> None:
    """One image, fitted and centred, with its frame and caption."""
    opened = open_image(tile.image, side)
    if opened is None:
        write(draw, (left + GAP, top + side // 2), "cannot be shown", CAPTION_SIZE, ALARM, side - 2 * GAP)
    else:
        sheet.paste(opened, (left + (side - opened.width) // 2, top + (side - opened.height) // 2))
    box = (left, top, left + side - 1, top + side - 1)
    draw.rectangle(box, outline=ALARM if tile.alarm else EDGE, width=3 if tile.alarm else 1)
    top += side + 2
    for number, text in enumerate(tile.caption):
        for line in wrap(text, CAPTION_SIZE, side, LAST_LINES if number == len(tile.caption) - 1 else 1):
            write(draw, (left, top), line, CAPTION_SIZE, PALE if number else INK, side)
            top += LINE_HEIGHT


def open_image(image: ImageReference, side: int) -> Image.Image | None:
    """The image, as large as fits into the square, or None where it cannot be decoded."""
    try:
        opened = load_image(image.read(), target_size=side)
    except (ImageError, ValueError, OSError):
        return None
    scale = side / max(opened.size)
    return opened.resize([max(1, round(length * scale)) for length in opened.size], Image.Resampling.LANCZOS)


def write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, color: str, width: int) -> None:
    """Text on one line, cut where it is wider than `width` pixels."""
    draw.text(place, wrap(text, size, width, 1)[0], fill=color, font=font(size))


def wrapped_lines(tile: Tile, side: int) -> int:
    """Lines that the caption of a tile takes."""
    last = len(wrap(tile.caption[-1], CAPTION_SIZE, side, LAST_LINES)) if tile.caption else 0
    return len(tile.caption) - 1 + last if tile.caption else 0


@lru_cache(maxsize=4 * MAX_TILES)
def wrap(text: str, size: int, width: int, lines: int) -> tuple[str, ...]:
    """The text on at most `lines` lines of `width` pixels, cut with an ellipsis where it does not fit."""
    face, words, wrapped = font(size), text.split(), []
    while words and len(wrapped) < lines - 1:
        count = 1
        while count < len(words) and face.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        wrapped.append(" ".join(words[:count]))
        words = words[count:]
    if words or not wrapped:
        wrapped.append(" ".join(words))
    return tuple(shorten(line, face, width) for line in wrapped)


def shorten(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, cut with an ellipsis where it is wider than `width` pixels."""
    if face.getlength(text) <= width:
        return text
    room = width - face.getlength("…")
    return text[: bisect_right(range(len(text)), room, key=lambda end: face.getlength(text[:end])) - 1] + "…"


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, so that no machine needs one."""
    return ImageFont.load_default(size)
