"""POST /v1/products and the service behind it: the products on screenshots of shops."""

import io
import shutil
import zipfile

from PIL import Image
from starlette.testclient import TestClient

from app import limits
from app.server import create_app
from app.service import MODELS, Service
from tests.rest_client import image, post
from tests.shop_pages import TILE, TOP, png, shop_page, text_page


def post_pages(api: TestClient, *files: tuple[str, bytes], **parameters: object):
    return api.post("/v1/products", files=[("files", file) for file in files], params=parameters)


def test_each_page_has_its_products_with_boxes_and_one_without_has_none(api):
    response = post_pages(api, ("shop.png", png(shop_page())), ("table.png", png(text_page())), top_k=2)
    shop, table = response.json()["results"]
    assert response.status_code == 200
    assert (shop["kind"], shop["width"], len(shop["products"])) == ("grid", 540, 6)
    first = shop["products"][0]
    assert all(abs(a - b) <= 4 for a, b in zip(first["box"], (20, TOP, *TILE), strict=True))
    assert first["out_of_stock"] is False and first["label"] and len(first["top_k"]) == 2
    assert (table["kind"], table["products"], table["error"]) == ("other", [], None)


def test_a_bad_page_among_others_is_a_row_and_alone_it_fails_the_request(api):
    response = post_pages(api, ("bad.png", png(shop_page())[:3000]), ("shop.png", png(shop_page(1))))
    assert [bool(page["error"]) for page in response.json()["results"]] == [True, False]
    response = post_pages(api, ("notes.png", b"no image"))
    assert (response.status_code, response.json()["code"]) == (415, "not_an_image")


def test_screenshots_are_for_the_model_that_knows_shop_pages(tmp_path):
    for name in ("fashion", "slash8"):
        shutil.copytree(MODELS / name, tmp_path / name)
    with TestClient(create_app(Service(tmp_path), page=False)) as api:
        assert post_pages(api, ("shop.png", png(shop_page(1)))).json()["model"] == "slash8"
        parameters = api.get("/openapi.json").json()["paths"]["/v1/products"]["post"]["parameters"]
    assert {item["name"]: item["schema"]["default"] for item in parameters}["model"] == "slash8"


def test_boxes_are_in_pixels_of_the_file_even_where_it_is_turned_and_too_large_to_be_searched(service, monkeypatch):
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    shop_page().transpose(Image.Transpose.ROTATE_90).save(stream, "JPEG", quality=95, exif=exif)
    monkeypatch.setattr(limits, "MAX_PAGE_PIXELS", 300_000)
    page = service.find_products(stream.getvalue()).to_dict()
    assert (page["width"], page["height"]) == shop_page().size
    assert all(abs(a - b) <= 6 for a, b in zip(page["products"][0]["box"], (20, TOP, *TILE), strict=True))


def test_a_zip_is_a_row_for_each_image_in_it(api):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("photos/1.png", "photos/2.png", "__MACOSX/._1.png"):
            archive.writestr(name, image())
    rows = post(api, ("a.png", image()), ("shop.bin", stream.getvalue()), ("b.png", image())).json()["results"]
    assert [row["file"] for row in rows] == ["a.png", "photos/1.png", "photos/2.png", "b.png"]
    assert all(row["label"] == "Tshirts" for row in rows)
