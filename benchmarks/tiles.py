"""Score the tile finder against hand-cropped boxes, and time it on one core.

    python -m benchmarks.tiles --input SCREENSHOTS --boxes grid_boxes.json [--sheet sheet.jpg]

Recall: the share of the hand-cropped boxes that a found box covers with an intersection over union of at least 0.9.
People cropped only some of the tiles of a page, so precision cannot be computed: look at the sheet, on which every box
found is drawn (red), the hand-cropped ones inside it (green). results/README.md has the figures.
"""

import hashlib
import json
import time
from pathlib import Path

from PIL import Image, ImageDraw

from app.errors import OneLineParser, one_line_errors
from app.images import load_image
from app.tiles import Page, find_products

MIN_OVERLAP = 0.9
PAGES_ON_SHEET = 30
THUMBNAIL = (150, 334)
COLUMNS = 10
Box = tuple[int, int, int, int]


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(prog="python -m benchmarks.tiles", description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, required=True, metavar="DIR", help="a folder of pages per category")
    parser.add_argument("--boxes", type=Path, required=True, metavar="FILE", help="JSON: page -> boxes")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help=f"draw the boxes of {PAGES_ON_SHEET} pages here")
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        boxes = json.loads(args.boxes.read_text(encoding="utf-8"))
        expected = {name: [tuple(entry["box"]) for entry in entries] for name, entries in boxes.items()}
        names = sorted(path.relative_to(args.input).as_posix() for path in args.input.glob("*/*.jpg"))
        pages, seconds = find_all(args.input, names)
        report(expected, pages, len(names) / seconds)
        if args.sheet:
            shown = some_pages(names)
            draw_sheet(args.input, shown, pages, expected).save(args.sheet, quality=55)
            print(f"{sum(len(pages[name].tiles) for name in shown)} tiles on the {len(shown)} pages of {args.sheet}")


def find_all(root: Path, names: list[str]) -> tuple[dict[str, Page], float]:
    """What is on each page, and the processor seconds that decoding and finding took in this process."""
    pages, start = {}, time.process_time()
    for name in names:
        pages[name] = find_products(load_image(root / name))
    return pages, time.process_time() - start


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two (x, y, width, height)."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(0, width) * max(0, height)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def report(expected: dict[str, list[Box]], pages: dict[str, Page], pages_per_second: float) -> None:
    """Recall, the boxes that were missed, and the speed."""
    best = {
        (name, box): max((overlap(box, tile.box) for tile in pages[name].tiles), default=0.0)
        for name, boxes in expected.items()
        for box in boxes
    }
    hits = sum(value >= MIN_OVERLAP for value in best.values())
    print(f"recall {hits / len(best):.4f}: {hits} of {len(best)} boxes on {len(expected)} pages at IoU {MIN_OVERLAP}")
    for (name, box), value in best.items():
        if value < MIN_OVERLAP:
            print(f"  missed: {name} {box}, best overlap {value:.2f}")
    kinds = [page.kind for page in pages.values()]
    print(
        f"{sum(len(page.tiles) for page in pages.values())} tiles on {len(pages)} pages ({kinds.count('grid')} grids)"
    )
    print(f"{pages_per_second:.1f} pages per second of processor time")


def some_pages(names: list[str]) -> list[str]:
    """The pages on the sheet: drawn by the hash of the name, so that nobody chose them."""
    return sorted(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:PAGES_ON_SHEET])


def draw_sheet(root: Path, names: list[str], pages: dict[str, Page], expected: dict[str, list[Box]]) -> Image.Image:
    """Small pages with their boxes."""
    lines = -(-len(names) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * THUMBNAIL[0], lines * THUMBNAIL[1]), "white")
    for index, name in enumerate(names):
        page = load_image(root / name)
        draw = ImageDraw.Draw(page)
        for color, inset, boxes in (
            ("red", 0, [tile.box for tile in pages[name].tiles]),
            ("lime", 14, expected.get(name, [])),
        ):
            for x, y, width, height in boxes:
                corners = (x + inset, y + inset, x + width - inset, y + height - inset)
                draw.rectangle(corners, outline=color, width=page.width // 90)
        page.thumbnail(THUMBNAIL)
        sheet.paste(page, ((index % COLUMNS) * THUMBNAIL[0], index // COLUMNS * THUMBNAIL[1]))
    return sheet


if __name__ == "__main__":
    main()
