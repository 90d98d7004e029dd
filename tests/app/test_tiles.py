"""Pages without products, and pages of extreme shapes: an answer within seconds and bounded memory."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from app.tiles import find_products
from tests.shop_pages import shop_page, text_page


@pytest.mark.parametrize("size", [(780, 1688), (1280, 900), (1280, 2877)])
def test_a_table_of_figures_has_no_products(size):
    assert find_products(text_page(*size)).kind == "other"


@pytest.mark.parametrize("scale", [1, 1.5, 0.5])
@pytest.mark.parametrize("quality", [None, 60])
@pytest.mark.parametrize("line", [18, 30])
def test_small_print_and_dense_tables_have_none_however_they_were_saved(line, quality, scale):
    page = text_page(900, 700, line)
    page = page.resize((round(page.width * scale), round(page.height * scale)), Image.Resampling.LANCZOS)
    if quality:
        stream = io.BytesIO()
        page.save(stream, "JPEG", quality=quality)
        page = Image.open(stream)
    assert find_products(page).kind == "other"
    middle = page.crop((page.width // 8, page.height // 6, page.width * 7 // 8, page.height * 5 // 6))
    assert find_products(middle).kind == "other"


def test_a_grid_of_cards_with_text_has_no_products():
    page = Image.new("RGB", (800, 1600), (238, 240, 243))
    for number in range(6):
        card = text_page(370, 450, 36)
        page.paste(card, (20 + number % 2 * 390, 40 + number // 2 * 500))
    assert find_products(page).tiles == ()


def test_a_photo_alone_is_one_product():
    page = shop_page().crop((20, 120, 260, 360))
    assert [tile.box for tile in find_products(page).tiles] == [(0, 0, 240, 240)]


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def stripes(width: int, height: int, period: int) -> Image.Image:
    """Two columns of blocks, thousands of them."""
    page = np.full((height, width, 3), 255, np.uint8)
    dark = np.arange(height) % period < period // 2
    page[dark, 4 : width // 2 - 4] = page[dark, width // 2 + 4 : width - 4] = 30
    return Image.fromarray(page)


def seconds(page: Image.Image) -> float:
    """Of processor time to find the products."""
    start = time.process_time()
    find_products(page)
    return time.process_time() - start


@pytest.mark.parametrize(
    "page",
    [
        noise(20, 10_000),
        noise(1_000, 10_000),
        stripes(60, 200_000, 10),
        stripes(400, 30_000, 60),
        stripes(1_080, 10_000, 12),
        Image.new("RGB", (3_000, 4_000), "white"),
        Image.new("RGB", (1, 1)),
    ],
    ids=lambda page: "x".join(map(str, page.size)),
)
def test_extreme_pages_take_less_than_two_seconds(page):
    assert any(seconds(page) < 2 for _ in range(3))  # beside other work a single try may take twice as long


def test_a_page_of_ten_thousand_pixels_gives_all_its_products():
    page = shop_page(rows=30)
    assert page.height > 10_000 - 100
    assert len(find_products(page).tiles) == 60
    assert any(seconds(page) < 2 for _ in range(3))
