"""Drawn pages: a shop's, with products in two columns, and others that have none."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

TILE, PITCH, TOP = (240, 240), 330, 120


def shop_page(rows: int = 3, width: int = 540) -> Image.Image:
    """White, with a bar for the phone, two columns of photos and a line of text below each."""
    page = Image.new("RGB", (width, TOP + rows * PITCH + 20), "white")
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, width, 60), fill=(40, 60, 120))
    for number in range(2 * rows):
        x, y = 20 + number % 2 * (TILE[0] + 20), TOP + number // 2 * PITCH
        page.paste(photo(number), (x, y))
        draw.text((x, y + TILE[1] + 12), f"Product {number}", fill="black", font_size=22)
        draw.text((x, y + TILE[1] + 42), f"{number}9.90", fill="black", font_size=18)
    return page


def photo(seed: int) -> Image.Image:
    """Something with texture on a tinted ground."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(60, 200, (24, 24, 3), np.uint8)).resize(TILE, Image.Resampling.BICUBIC)
    grain = random.normal(0, 6, (*reversed(TILE), 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)).filter(ImageFilter.SMOOTH)


def text_page(width: int = 780, height: int = 1688, line: int = 44) -> Image.Image:
    """A table: a bar, then lines of text and numbers with rules between them."""
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    for row, y in enumerate(range(30, height - line, line)):
        draw.text((24, y), f"model number {row}", fill=(30, 30, 40), font_size=line // 2)
        draw.text((width - 220, y), f"{97 - row * 0.7:.1f}%   {row * 3 + 5} ms", fill=(30, 30, 40), font_size=line // 2)
        draw.line((20, y + line - 8, width - 20, y + line - 8), fill=(210, 210, 215))
    return page


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
