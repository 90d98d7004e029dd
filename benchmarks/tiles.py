"""Score the tile finder against hand-cropped boxes, and time it on one core.

    python -m benchmarks.tiles --input SCREENSHOTS --boxes grid_boxes.json [--sheet sheet.jpg]

Recall: the share of the hand-cropped boxes that a found box covers with an intersection over union of at least 0.9.
People cropped only some of the tiles of a page, so precision cannot be computed: look at the sheet, on which every box
found is drawn (red), the hand-cropped ones inside it (green).
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

from PIL import Image, ImageDraw

from app.images import load_image
from app.tiles import Page, find_products

MIN_OVERLAP = 0.9
PAGES_ON_SHEET = 30
THUMBNAIL = (150, 334)
COLUMNS = 10
Box = tuple[int, int, int, int]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, required=True, metavar="DIR", help="one folder of pages a category")
    parser.add_argument("--boxes", type=Path, required=True, metavar="FILE", help="JSON: page -> boxes")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help=f"draw the boxes of {PAGES_ON_SHEET} pages here")
    args = parser.parse_args(argv)
    expected = {name: [tuple(one["box"]) for one in boxes] for name, boxes in read_json(args.boxes).items()}
    names = sorted(path.relative_to(args.input).as_posix() for path in args.input.glob("*/*.jpg"))
    pages, seconds = find_all(args.input, names)
    report(expected, pages, len(names) / seconds)
    if args.sheet:
        shown = some_pages(names)
        draw_sheet(args.input, shown, pages, expected).save(args.sheet, quality=55)
        print(f"{sum(len(pages[name].tiles) for name in shown)} tiles on the {len(shown)} pages of {args.sheet}")


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def find_all(root: Path, names: list[str]) -> tuple[dict[str, Page], float]:
    """What is on each page, and the processor seconds of decoding and finding in this one process."""
    pages, start = {}, time.process_time()
    for name in names:
        pages[name] = find_products(load_image(root / name))
    return pages, time.process_time() - start


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two (x, y, width, height)."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0, width) * max(0, height)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def report(expected: dict[str, list[Box]], pages: dict[str, Page], pages_per_second: float) -> None:
    """Recall, the boxes that were missed, and the speed."""
    best = {
        (name, box): max((overlap(box, tile.box) for tile in pages[name].tiles), default=0.0)
        for name, boxes in expected.items()
        for box in boxes
    }
    found = sum(value >= MIN_OVERLAP for value in best.values())
    print(f"recall {found / len(best):.4f}: {found} of {len(best)} boxes on {len(expected)} pages at IoU {MIN_OVERLAP}")
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
