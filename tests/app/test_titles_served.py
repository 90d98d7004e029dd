"""Titles through the REST API and the page's functions for programs."""

import pytest
from starlette.testclient import TestClient

from app.limits import RequestError
from app.server import create_app
from app.service import Service
from tests.make_tiny_model import save_image, write_calibration, write_tiny_model
from tests.rest_client import image
from tests.tiny_titles import write_titles

SHIRT_TITLE = "Acme Women Olive Shirt"


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Service:
    models = tmp_path_factory.mktemp("models")
    write_titles(write_calibration(write_tiny_model(models / "fashion")))
    write_calibration(write_tiny_model(models / "plain"))
    return Service(models)


@pytest.fixture(scope="module")
def api(service):
    with TestClient(create_app(service, page=False)) as client:
        yield client


def post(api, files, **fields):
    parameters = {"model": fields.pop("model")} if "model" in fields else {}
    sent = [("files", (name, data)) for name, data in files]
    return api.post("/v1/classify", files=sent or None, data=fields, params=parameters)


def test_a_title_beside_a_file_is_read(api):
    response = post(api, [("a.png", image("Shirts"))], title=SHIRT_TITLE)
    (result,) = response.json()["results"]
    assert (result["label"], result["status"], result["answered_from"]) == ("Shirts", "ok", "both")


def test_titles_belong_to_the_files_in_their_order(api):
    files = [("a.png", image("Shirts")), ("broken.png", b"x"), ("c.png", image("Flats"))]
    response = post(api, files, titles='["Acme Women Olive Shirt", "Zenit Women Blue Scarf", null]')
    assert [row["answered_from"] for row in response.json()["results"]] == ["both", "title", "image"]
    assert response.json()["results"][1]["label"] == "Scarves"
    response = post(api, files[:2], title=["Acme Women Olive Shirt", "Zenit Women Blue Scarf"])
    assert [row["answered_from"] for row in response.json()["results"]] == ["both", "title"]


def test_a_title_may_stand_alone(api):
    response = api.post("/v1/classify", files={"title": (None, "Zenit Women Blue Scarf")})
    (result,) = response.json()["results"]
    assert (result["file"], result["label"], result["answered_from"]) == ("", "Scarves", "title")


def test_an_answer_without_titles_has_no_word_of_them(api):
    for fields in ({}, {"title": ""}):
        (result,) = post(api, [("a.png", image("Shirts"))], **fields).json()["results"]
        assert "answered_from" not in result


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"title": [SHIRT_TITLE, "Scarf"]}, "2 titles for 1 images"),
        ({"titles": '["a", "b", "c"]'}, "3 titles for 1 images"),
        ({"titles": "{}"}, "JSON list"),
        ({"titles": "[1]"}, "JSON list"),
        ({"titles": "[" * 5000}, "JSON list"),
        ({"title": SHIRT_TITLE, "model": "plain"}, "plain does not read titles"),
    ],
)
def test_titles_that_cannot_be_used_are_refused_in_one_line(api, fields, message):
    response = post(api, [("a.png", image("Shirts"))], **fields)
    assert response.status_code == 422 and message in response.json()["message"]


def test_the_list_of_models_says_which_read_titles(api):
    assert {row["name"]: row["reads_titles"] for row in api.get("/v1/models").json()} == {
        "fashion": True,
        "plain": False,
    }


def test_the_service_takes_a_title_without_an_image(service, tmp_path):
    assert service.classify(None, title="Zenit Women Blue Scarf").to_dict()["answered_from"] == "title"
    shirt = save_image(tmp_path / "a.png", "Shirts")
    assert "answered_from" not in service.classify(shirt, title=" ").to_dict()
    with pytest.raises(RequestError, match="Send an image"):
        service.classify(None)


def test_the_page_shows_a_field_for_the_title_where_a_model_reads_titles(service):
    from app.app import build_page

    fields = {block.elem_id: block for block in build_page(service).blocks.values() if getattr(block, "elem_id", None)}
    assert fields["classify-title"].visible
    only_plain = Service(service.folders["plain"].parent)
    only_plain.folders.pop("fashion")
    only_plain.default = "plain"
    fields = {
        block.elem_id: block for block in build_page(only_plain).blocks.values() if getattr(block, "elem_id", None)
    }
    assert not fields["classify-title"].visible


def test_assistants_and_programs_may_give_a_title(service):
    from app.app import build_page

    for function in build_page(service).fns.values():
        if function.api_name == "classify":
            assert [block.label for block in function.inputs] == ["image", "model", "top_k", "title"]
            assert function.fn(None, "fashion", 3, "Zenit Women Blue Scarf")["label"] == "Scarves"


def test_the_card_says_what_an_answer_came_from(service):
    from app.pages.classify import answer_cards

    card = answer_cards(service, None, "fashion", "", "Zenit Women Blue Scarf")
    assert "from the title alone" in card
