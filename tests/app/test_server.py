"""The REST API as another service meets it: answers, rejections with the right status, counters, documentation."""

import html.parser
import io
import re
import tempfile
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.testclient import TestClient

from app.guard.exposure import Exposure
from app.server import create_app, main
from app.service import Service
from tests.make_tiny_model import COLOR_FOR_LABEL, write_tiny_model
from tests.rest_client import image, post, running


def test_one_image_gets_a_typed_answer(api):
    response = post(api, ("shirt.png", image("Flats")), top_k=2)
    answer = response.json()
    (result,) = answer["results"]
    assert response.status_code == 200
    assert answer["model"] == "fashion"
    assert answer["milliseconds"] > 0
    assert result["file"] == "shirt.png"
    assert (result["status"], result["label"], result["error"]) == ("review", "Flats", None)  # it has no thresholds
    assert result["category_path"] == ["Footwear", "Shoes", "Flats"]
    assert len(result["path_confidences"]) == 3
    assert len(result["top_k"]) == 2
    assert result["top_k"][0] == {"label": "Flats", "confidence": result["confidence"]}


def test_many_images_keep_their_order_and_a_bad_one_fails_only_its_own_row(api):
    files = [(f"{label}.png", image(label)) for label in COLOR_FOR_LABEL]
    response = post(api, *files[:2], ("broken.png", image()[:50]), *files[2:], model="other")
    rows = response.json()["results"]
    assert response.status_code == 200
    assert response.json()["model"] == "other"
    assert [row["label"] for row in rows] == ["Tshirts", "Shirts", None, "Flats", "Scarves"]
    assert rows[2]["status"] == "error"
    assert "image" in rows[2]["error"]


def test_a_truncated_image_is_422_with_the_reason(api):
    buffer = io.BytesIO()
    Image.effect_noise((200, 200), 80).save(buffer, "JPEG")
    response = post(api, ("cut.jpg", buffer.getvalue()[:3000]))
    assert response.status_code == 422
    assert response.json()["code"] == "unreadable_image"
    assert response.json()["files"] == [{"file": "cut.jpg", "reason": "truncated image (the file ends too early)"}]


def test_another_kind_of_file_is_415_whatever_its_name(api):
    response = post(api, ("photo.jpg", b"%PDF-1.7 a document"))
    assert response.status_code == 415
    assert response.json()["code"] == "not_an_image"
    assert "JPEG, PNG" in response.json()["message"]


def test_an_image_of_too_many_pixels_is_413(api):
    buffer = io.BytesIO()
    Image.new("1", (8000, 7000)).save(buffer, "PNG")
    response = post(api, ("bomb.png", buffer.getvalue()))
    assert response.status_code == 413
    assert "megapixels" in response.json()["message"]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"model": "../fashion"}, "model"), ({"top_k": 0}, "top_k"), ({"top_k": 21}, "top_k"), ({"top_k": "x"}, "top_k")],
)
def test_a_wrong_parameter_is_422_and_named(api, parameters, named):
    response = post(api, ("a.png", image()), **parameters)
    assert response.status_code == 422
    assert response.json()["code"] == "invalid"
    assert response.json()["message"].startswith(f"{named}: Input should be")


def test_a_failure_inside_shows_neither_stack_nor_path(tiny_models, monkeypatch):
    service = Service(tiny_models)
    app = create_app(service, page=False)

    def fail(*_):
        raise RuntimeError(f"secret of {tiny_models}")

    monkeypatch.setattr(service, "classify_stream", fail)
    with TestClient(app, raise_server_exceptions=False) as api:
        response = post(api, ("a.png", image()))
    assert response.status_code == 500
    assert response.json()["code"] == "internal"
    assert "secret" not in response.text
    assert "Traceback" not in response.text


def test_the_models_are_described_the_default_first(api):
    first, second = api.get("/v1/models").json()
    assert (first["name"], first["default"], second["name"], second["default"]) == ("fashion", True, "other", False)
    assert first["labels"] == ["Tshirts", "Shirts", "Flats", "Scarves"]
    assert first["levels"] == ["masterCategory", "subCategory", "articleType"]
    assert first["image_size"] == [32, 32]
    assert first["calibrated"] is False


def test_the_health_check_names_the_models(api):
    assert api.get("/healthz").json() == {"status": "ok", "models": ["fashion", "other"]}


def test_the_counters_count_requests_and_images_and_keep_no_name(api):
    post(api, ("private-name.png", image()), ("b.png", b"none"))
    post(api, ("c.png", b"none"))
    api.get("/v1/secret-path")
    text = api.get("/metrics").text
    assert 'snapshelf_requests_total{method="POST",path="/v1/classify",status="200"} 1.0' in text
    assert 'snapshelf_requests_total{method="POST",path="/v1/classify",status="415"} 1.0' in text
    assert 'snapshelf_images_total{model="fashion",status="review"} 1.0' in text
    assert 'snapshelf_images_total{model="fashion",status="error"} 2.0' in text
    assert 'snapshelf_request_seconds_count{path="/v1/classify"} 2.0' in text
    assert "secret-path" not in text
    assert "private-name" not in text
    assert re.fullmatch(r"(#.*\n|[a-z_]+(\{[^}]*\})? [0-9.e+-]+\n)+", text)


def test_another_method_is_405_and_an_unknown_address_404_both_as_json(api):
    wrong_method, unknown = api.get("/v1/classify"), api.get("/v1/nothing")
    assert (wrong_method.status_code, wrong_method.headers["Allow"]) == (405, "POST")
    assert wrong_method.json()["code"] == "method_not_allowed"
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


class Addresses(html.parser.HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href")]


def test_the_documentation_page_loads_everything_from_this_server(api):
    page = api.get("/docs")
    addresses = Addresses()
    addresses.feed(page.text)
    assert page.status_code == 200
    assert len(addresses.found) == 3
    for address in addresses.found:
        assert address.startswith("/")
        assert api.get(address).status_code == 200
    assert "http" not in page.text.replace("http-equiv", "")
    assert '"validatorUrl": null' in page.text


def test_the_page_and_the_api_live_on_one_server(tiny_models):
    with TestClient(create_app(Service(tiny_models))) as api:
        assert "Snapshelf" in api.get("/").text
        assert api.get("/healthz").json()["status"] == "ok"
        assert api.get("/docs").text.count("swagger-ui") > 0
        assert post(api, ("a.png", image("Shirts"))).json()["results"][0]["label"] == "Shirts"
        assert api.get("/v1/classify").json()["code"] == "method_not_allowed"
        assert api.get("/v1/nothing").json()["code"] == "not_found"


def test_the_load_benchmark_counts_answers_and_reads_the_memory(tiny_models, capsys, monkeypatch):
    from benchmarks import app_load

    app = create_app(Service(tiny_models), page=False, exposure=Exposure("on"))
    monkeypatch.setattr(app_load, "running_server", lambda: running(app))
    assert app_load.main(["--requests", "6", "--clients", "3", "--memory_requests", "4"]) == 0
    out = capsys.readouterr().out
    assert "6 requests from 3 clients: 6 answers" in out
    assert "errors none" in out
    assert re.search(r"memory over 4 requests: (\d+ ){5}MiB", out)


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_an_invalid_port_is_named(capsys, port):
    with pytest.raises(SystemExit) as stop:
        main(["--port", port])
    assert stop.value.code == 2
    assert "--port" in capsys.readouterr().err


def test_a_broken_model_stops_the_start_with_one_line(capsys, monkeypatch, tmp_path):
    (write_tiny_model(tmp_path / "tiny") / "config.json").write_text("{}")
    monkeypatch.setattr("app.server.Service", lambda **_: Service(tmp_path))
    with pytest.raises(SystemExit) as stop:
        main(["--no_page"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m app.server: error: model tiny: ")
    assert error.count("\n") == 1


# schemathesis makes a test of each operation while pytest collects, before any fixture exists.
TINY = tempfile.TemporaryDirectory()
write_tiny_model(Path(TINY.name) / "tiny")
schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(Service(Path(TINY.name)), page=False))


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_one_that_the_documentation_lists(case):
    """schemathesis makes right and wrong requests out of openapi.json."""
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
        negative_data_rejection,
        unsupported_method,
    ]
    case.call_and_validate(checks=checks)
