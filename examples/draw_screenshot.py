"""Draw the screenshot that the page offers as an example: a made-up shop's page with the images of examples/ on it.

    python examples/draw_screenshot.py --output app/examples/screenshot.jpg      # 1 s, 8 products, all found

The shop, its names and prices are invented.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

FOLDER = Path(__file__).resolve().parent
PRODUCTS = (
    ("tshirts.jpg", "Crew neck T-shirt", "$14.90"),
    ("casual_shoes.jpg", "Everyday sneaker", "$49.00"),
    ("dresses.jpg", "Summer dress", "$39.50"),
    ("watches.jpg", "Classic watch", "$85.00"),
    ("backpacks.jpg", "City backpack", "$59.00"),
    ("caps.jpg", "Baseball cap", "$17.00"),
    ("shorts.jpg", "Jogging shorts", "$22.00"),
    ("nail_polish.jpg", "Nail polish", "$7.90"),
)
WIDTH, HEIGHT = 1080, 2400
MARGIN, GUTTER, TOP, TEXT = 36, 30, 300, 132
PAPER, INK, QUIET, ACCENT = (244, 245, 248), (24, 28, 40), (106, 112, 128), (79, 70, 229)
QUALITY = 82


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="draw_screenshot.py", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the JPEG to write")
    args = parser.parse_args(argv)
    if not args.output.parent.is_dir():
        parser.error(f"--output {args.output}: no such folder as {args.output.parent}; make it first")
    draw_page().save(args.output, "JPEG", quality=QUALITY, optimize=True)


def draw_page() -> Image.Image:
    page = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(page)
    draw_header(draw)
    width = (WIDTH - 2 * MARGIN - GUTTER) // 2
    height = (HEIGHT - TOP - 40) // 4 - TEXT
    for number, (name, title, price) in enumerate(PRODUCTS):
        left = MARGIN + number % 2 * (width + GUTTER)
        top = TOP + number // 2 * (height + TEXT)
        page.paste(product(FOLDER / name, (width, height)), (left, top))
        draw.text((left + 4, top + height + 16), title, INK, ImageFont.load_default(34))
        draw.text((left + 4, top + height + 62), price, QUIET, ImageFont.load_default(32))
    return page


def draw_header(draw: ImageDraw.ImageDraw) -> None:
    draw.text((MARGIN, 26), "9:41", INK, ImageFont.load_default(34))
    draw.text((MARGIN, 110), "Corner Shop", INK, ImageFont.load_default(60))
    draw.rounded_rectangle((MARGIN, 202, WIDTH - MARGIN, 270), 34, "white")
    draw.text((MARGIN + 34, 214), "Search", QUIET, ImageFont.load_default(34))
    draw.ellipse((WIDTH - MARGIN - 66, 108, WIDTH - MARGIN, 174), ACCENT)


def product(path: Path, size: tuple[int, int]) -> Image.Image:
    """The whole image, upright, on its own background's color."""
    with Image.open(path) as image:
        drawing = ImageOps.exif_transpose(image).convert("RGB")
    tile = Image.new("RGB", size, drawing.getpixel((3, 3)))
    drawing.thumbnail(size)
    tile.paste(drawing, ((size[0] - drawing.width) // 2, (size[1] - drawing.height) // 2))
    return tile


if __name__ == "__main__":
    main()
