"""The tab Screenshot in Chromium: pages beside the lists of their products, decided by hand, kept, and downloaded."""

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from app.service import MODELS
from tests.app.visit import EXAMPLES, Visit, browser_tests
from tests.page_server import serving
from tests.shop_pages import png, shop_page, text_page

pytestmark = browser_tests

SHOWN = EXAMPLES / "screenshot.jpg"
PRODUCTS = 8  # on it


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(MODELS) as address:
        yield address


def give(visit: Visit, *files: Path) -> None:
    visit.page.set_input_files(".shot-choose input", [str(file) for file in files])


def show(visit: Visit, *files: Path) -> None:
    """Open the tab, and wait for the products of the last file."""
    visit.open("Screenshot")
    visit.see(".shot-drop")
    give(visit, *files)
    visit.page.wait_for_selector(f".shot-page >> nth={len(files) - 1} >> .shot-row")


def row(visit: Visit, number: int):
    return visit.page.locator(f'.shot-row[data-number="{number}"]')


def box(visit: Visit, number: int):
    return visit.page.locator(f'.shot-box[data-number="{number}"]')


def open_row(visit: Visit) -> int:
    """The number of a product that a person is asked about."""
    return int(visit.page.locator(".shot-row:not(.shot-sure)").first.get_attribute("data-number"))


def downloaded(visit: Visit, button: str) -> bytes:
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_bytes()


def table(visit: Visit) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(downloaded(visit, "Download CSV").decode("utf-8-sig"))))


def test_boxes_and_rows_say_in_words_what_each_product_is(visit):
    visit.open("Screenshot")
    visit.see(".shot-drop")
    visit.look("screenshot_empty")
    visit.axe()
    visit.page.get_by_role("button", name="Try an example").click()
    visit.see(".shot-row")
    assert visit.page.locator(".shot-model option:checked").inner_text() == "Clothing, 141 types"  # which it shows
    visit.page.locator(".shot-model select").select_option(label="Shopping app, 8 departments")
    visit.page.wait_for_function("document.querySelector('.shot-row')?.innerText.includes('Fashion')")
    assert visit.page.locator(".shot-row").count() == visit.page.locator(".shot-box").count() == PRODUCTS
    assert row(visit, 1).inner_text().split()[:3] == ["Product", "1", "Fashion"]
    assert box(visit, 1).text_content() == "Product 1 Fashion, Ready to publish"
    number = open_row(visit)
    assert box(visit, number).inner_text().split(", ")[-1] in ("Please check", "Not sure what this is")
    places = [box(visit, n).bounding_box() for n in (1, 2, 3)]
    assert places[0]["x"] < places[1]["x"] and places[2]["y"] > places[1]["y"]
    visit.look("screenshot")
    visit.axe()


def test_a_row_and_its_box_are_linked(visit):
    show(visit, SHOWN)
    box(visit, 3).focus()
    assert "shot-linked" in row(visit, 3).get_attribute("class")
    row(visit, 5).get_by_role("button").first.focus()
    assert "shot-linked" in box(visit, 5).get_attribute("class")
    if visit.screen != "phone":
        row(visit, 2).hover()
        assert "shot-linked" in box(visit, 2).get_attribute("class")


def test_what_a_person_decides_is_kept_undone_and_downloaded(visit):
    show(visit, SHOWN)
    number = open_row(visit)
    box(visit, number).click()
    visit.see(".shot-picker[open]")
    visit.axe()
    visit.page.get_by_label("Search all categories").fill("nutri")
    visit.page.get_by_label("Search all categories").press("Enter")
    assert "Nutrition" in row(visit, number).inner_text() and "Changed by you" in row(visit, number).inner_text()
    assert "✓ Nutrition" in box(visit, number).inner_text()
    box(visit, 1).click()
    visit.page.get_by_role("dialog").get_by_role("button", name="Not usable").click()
    visit.look("screenshot_decided")
    visit.axe()
    rows = table(visit)
    assert [rows[number - 1][name] for name in ("final_category", "decided_by", "decision")] == [
        "Nutrition",
        "person",
        "changed",
    ]
    assert [rows[0][name] for name in ("final_category", "decided_by", "decision")] == ["", "person", "not usable"]
    assert {line["decided_by"] for line in rows} == {"person", "model", ""}

    visit.page.get_by_role("button", name="Undo").click()
    assert table(visit)[0]["decided_by"] == "model"
    visit.page.reload()
    visit.page.wait_for_selector("#classify-answer .message")
    visit.open("Screenshot")
    visit.see(".shot-row")
    assert "Changed by you" in row(visit, number).inner_text()
    visit.page.get_by_role("button", name="Accept all").click()
    assert {line["decided_by"] for line in table(visit)} == {"person", "model"}
    assert "all checked" in visit.page.inner_text(".shot-bar")


def test_several_pages_at_once_are_told_apart_and_their_products_cut_out(visit, tmp_path):
    (tmp_path / "shop.png").write_bytes(png(shop_page()))
    show(visit, SHOWN, tmp_path / "shop.png")
    assert f"{PRODUCTS + 6} products on 2 pages" in visit.page.inner_text(".shot-bar")
    rows = table(visit)
    assert len(rows) == PRODUCTS + 6 and len({line["page"] for line in rows}) == 2
    with zipfile.ZipFile(io.BytesIO(downloaded(visit, "Download crops"))) as archive:
        names = archive.namelist()
        image = Image.open(io.BytesIO(archive.read(next(name for name in names if "shop" in name and "_1." in name))))
    assert len(names) == PRODUCTS + 6 and any(name.startswith("Fashion/screenshot_") for name in names)
    assert abs(image.width - 240) <= 4 and abs(image.height - 240) <= 4
    give(visit, SHOWN)  # the same page again
    visit.page.wait_for_timeout(300)
    assert visit.page.locator(".shot-page").count() == 2
    visit.page.get_by_role("button", name="Remove shop").click()
    assert f"{PRODUCTS} products on 1 page" in visit.page.inner_text(".shot-bar")


def test_a_page_without_products_and_a_bad_file_say_so(visit, tmp_path):
    (tmp_path / "table.png").write_bytes(png(text_page()))
    (tmp_path / "broken.png").write_bytes(png(shop_page())[:3000])
    visit.open("Screenshot")
    visit.see(".shot-drop")
    give(visit, tmp_path / "table.png", tmp_path / "broken.png")
    assert "No products found" in visit.see(".shot-page .message.empty")
    assert "We couldn't read this file. Use a JPG, PNG, WebP or HEIC." in visit.see(".shot-page .message.error")
    assert "/tmp" not in visit.page.inner_text("body")
    visit.look("screenshot_nothing")
    visit.axe()
    visit.page.get_by_role("button", name="Classify it as one photo").click()
    visit.see("#classify-answer .answer")
    visit.errors.clear()  # Chromium's word about the image that it cannot show


def test_another_model_answers_for_the_same_pages(visit):
    show(visit, SHOWN)
    visit.page.get_by_label("Model").last.select_option(label="Clothing, 141 types")
    visit.page.wait_for_function(
        "[...document.querySelectorAll('.shot-row')].some((row) => /T-shirts/.test(row.innerText))"
    )
    assert visit.page.locator(".shot-row").count() == PRODUCTS
