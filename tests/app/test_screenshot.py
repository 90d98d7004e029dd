"""The private function behind the tab Screenshot, and what the page tells the browser about names; no browser here."""

import json
from html.parser import HTMLParser
from pathlib import Path

import httpx
from PIL import Image

from app.pages.names import categories
from app.pages.rendering import render
from app.service import MODELS, Service
from app.tiles import find_products
from tests.app.test_workbench import call, upload
from tests.shop_pages import TILE, photo, png, shop_page, text_page


def find(address: str, path: str | None) -> dict | str:
    file = path and {"path": path, "orig_name": "page.png", "meta": {"_type": "gradio.FileData"}}
    output = call(address, "screenshot_find", file, "fashion")
    return output["data"][0] if "data" in output else output["error"]


def test_a_page_has_its_products_and_its_upload_is_deleted(address):
    path = upload(address, png(shop_page()))[0]
    page = find(address, path)
    assert (page["kind"], page["width"], len(page["products"])) == ("grid", 540, 6)
    assert set(page["products"][0]) >= {
        "box",
        "out_of_stock",
        "status",
        "label",
        "top_k",
        "category_path",
        "published_path",
    }
    assert not Path(path).exists()


def test_what_has_no_products_or_is_no_image_says_so_and_is_deleted_too(address):
    table, broken = upload(address, png(text_page()), b"no image")
    assert find(address, table)["products"] == []
    assert "not an image" in find(address, broken)
    assert "Send a screenshot" in find(address, None)
    assert not Path(table).exists() and not Path(broken).exists()


def test_the_example_is_sent_when_it_is_asked_for(address):
    example = call(address, "screenshot_example")["data"][0]
    assert example["name"] == "screenshot.jpg" and example["url"].startswith("data:image/jpeg;base64,")
    assert example["model"] == "fashion"  # the example is a shop for clothes
    assert "screenshot_find" not in httpx.get(f"{address}/gradio_api/info").text  # it is the page's own


def test_products_are_numbered_row_by_row_although_one_column_begins_higher():
    page = Image.new("RGB", (540, 1100), "white")
    for number in range(6):
        x, y = 20 + number % 2 * (TILE[0] + 20), 40 + number // 2 * 340 + (0 if number % 2 else 12)
        page.paste(photo(number), (x, y))
    tiles = find_products(page).tiles
    columns = [tile.box[0] > 200 for tile in tiles]
    assert columns == [False, True] * 3


class Names(HTMLParser):
    def handle_starttag(self, tag, attributes):
        if dict(attributes).get("id") == "names":
            self.data = {name: json.loads(value) for name, value in attributes if name.startswith("data-")}


def test_the_browser_is_told_every_category_of_every_model_whatever_it_is_called():
    service = Service(MODELS)
    told = {name: categories(service, name) for name in service.names}
    assert len(told["fashion"]["labels"]) == 141 and "Topwear" in told["fashion"]["above"]
    assert told["slash8"]["above"] == []
    odd = {"labels": ["</div><script>alert(1)</script>", "\"quoted\" & 'so'"], "above": []}
    reader = Names()
    reader.feed(render("names", names={"a": "b"}, models={"odd": odd}))
    assert reader.data == {"data-names": {"a": "b"}, "data-models": {"odd": odd}}
