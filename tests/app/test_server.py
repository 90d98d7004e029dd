"""app/server.py as another service meets it: answers, refusals with the right status, limits, counters."""

import asyncio
import html.parser
import io
import json
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import schemathesis
import uvicorn
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

from app import limits, uploads
from app.server import create_app, main
from app.service import Service
from tests.make_tiny_model import COLOR_FOR_LABEL, write_tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("fashion", "other"):
        write_tiny_model(folder / name)
    return folder


@pytest.fixture
def client(models):
    """The API without the page, with limits and counters of its own."""
    with TestClient(create_app(Service(models), page=False), raise_server_exceptions=False) as client:
        yield client


@contextmanager
def running(app) -> Iterator[str]:
    """The app behind uvicorn on a free port of 127.0.0.1: its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def image(label: str = "Tshirts", size: tuple[int, int] = (60, 80)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, COLOR_FOR_LABEL[label]).save(buffer, "PNG")
    return buffer.getvalue()


def post(client, *files: tuple[str, bytes], **parameters) -> httpx.Response:
    return client.post("/v1/classify", files=[("files", file) for file in files], params=parameters)


def test_one_image_gets_a_typed_answer(client):
    response = post(client, ("shirt.png", image("Flats")), top_k=2)
    answer = response.json()
    (result,) = answer["results"]
    assert response.status_code == 200
    assert answer["model"] == "fashion"
    assert answer["milliseconds"] > 0
    assert result["file"] == "shirt.png"
    assert (result["status"], result["label"], result["error"]) == ("ok", "Flats", None)
    assert result["category_path"] == ["Footwear", "Shoes", "Flats"]
    assert len(result["path_confidences"]) == 3
    assert len(result["top_k"]) == 2
    assert result["top_k"][0] == {"label": "Flats", "confidence": result["confidence"]}


def test_many_images_keep_their_order_and_a_bad_one_costs_its_own_row(client):
    files = [(f"{label}.png", image(label)) for label in COLOR_FOR_LABEL]
    response = post(client, *files[:2], ("broken.png", image()[:50]), *files[2:], model="other")
    rows = response.json()["results"]
    assert response.status_code == 200
    assert response.json()["model"] == "other"
    assert [row["label"] for row in rows] == ["Tshirts", "Shirts", None, "Flats", "Scarves"]
    assert rows[2]["status"] == "error"
    assert "image" in rows[2]["error"]


def test_a_truncated_image_is_422_with_the_reason(client):
    buffer = io.BytesIO()
    Image.effect_noise((200, 200), 80).save(buffer, "JPEG")
    response = post(client, ("cut.jpg", buffer.getvalue()[:3000]))
    assert response.status_code == 422
    assert response.json()["code"] == "unreadable_image"
    assert response.json()["files"] == [{"file": "cut.jpg", "reason": "truncated image (the file ends too early)"}]


def test_another_kind_of_file_is_415_whatever_its_name(client):
    response = post(client, ("photo.jpg", b"%PDF-1.7 a document"))
    assert response.status_code == 415
    assert response.json()["code"] == "not_an_image"
    assert "JPEG, PNG" in response.json()["message"]


def test_json_instead_of_a_form_is_415(client):
    response = client.post("/v1/classify", json={"image": "aGVsbG8="})
    assert response.status_code == 415
    assert response.json()["code"] == "wrong_type"
    assert "multipart/form-data" in response.json()["message"]


def test_an_image_of_too_many_pixels_is_413(client):
    buffer = io.BytesIO()
    Image.new("1", (8000, 7000)).save(buffer, "PNG")
    response = post(client, ("bomb.png", buffer.getvalue()))
    assert response.status_code == 413
    assert "megapixels" in response.json()["message"]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"model": "../fashion"}, "model"), ({"top_k": 0}, "top_k"), ({"top_k": 21}, "top_k"), ({"top_k": "x"}, "top_k")],
)
def test_a_wrong_parameter_is_422_and_named(client, parameters, named):
    response = post(client, ("a.png", image()), **parameters)
    assert response.status_code == 422
    assert response.json()["code"] == "invalid"
    assert response.json()["message"].startswith(f"{named}: Input should be")


@pytest.mark.parametrize("field", ["file", "image"])
def test_a_file_under_another_name_says_which_name_is_expected(client, field):
    response = client.post("/v1/classify", files={field: ("a.png", image())})
    assert response.status_code == 422
    assert "curl -F files=@photo.jpg" in response.json()["message"]


@pytest.mark.parametrize(
    "body", [b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\nhello\r\n--x--", b"not a form"]
)
def test_a_damaged_form_is_400_or_422(client, body):
    response = client.post("/v1/classify", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert response.status_code in (400, 422)
    assert response.json()["code"] in ("malformed", "no_file")


def test_too_many_files_are_413(client, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BATCH_FILES", 3)
    response = post(client, *[(f"{i}.png", image()) for i in range(4)])
    assert response.status_code == 413
    assert "At most 3 files" in response.json()["message"]


async def send(app, chunks, length: int | None = None) -> tuple[int, dict, int]:
    """Post a form in chunks straight to the app: status, answer, and how many chunks it read."""
    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    headers += [(b"content-length", str(length).encode())] if length else []
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "headers": headers}
    scope |= {"path": "/v1/classify", "raw_path": b"/v1/classify", "query_string": b"", "root_path": ""}
    scope |= {"scheme": "http", "server": ("test", 80), "client": ("test", 1)}
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    source, sent, read = iter([head, *chunks]), [], 0

    async def receive() -> dict:
        nonlocal read
        chunk = next(source, None)
        read += chunk is not None
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def take(message: dict) -> None:
        sent.append(message)

    await app({**scope}, receive, take)
    return sent[0]["status"], json.loads(sent[1]["body"]), read


def test_a_file_that_is_too_large_is_refused_while_it_arrives(models, monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 10_000)
    status, answer, read = asyncio.run(send(create_app(Service(models), page=False), [b"0" * 1000] * 1000))
    assert (status, answer["code"]) == (413, "too_large")
    assert read <= 13


def test_a_request_that_is_too_large_is_refused_while_it_arrives(models, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BATCH_BYTES", 10_000)
    monkeypatch.setattr(limits, "MAX_BATCH_FILES", 10)
    status, answer, read = asyncio.run(send(create_app(Service(models), page=False), [b"0" * 1000] * 1000))
    assert (status, answer["code"]) == (413, "too_large")
    assert read <= 25


def test_a_request_that_says_it_is_too_large_is_not_read_at_all(models):
    length = limits.MAX_BATCH_BYTES * 2
    status, answer, read = asyncio.run(send(create_app(Service(models), page=False), [b"0"] * 10, length))
    assert (status, answer["code"], read) == (413, "too_large", 0)


def test_a_client_that_still_sends_reads_why_it_is_refused(models, monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 2**20)
    with running(create_app(Service(models), page=False)) as address:
        response = httpx.post(f"{address}/v1/classify", files={"files": bytes(8 * 2**20)})
    assert response.status_code == 413
    assert "1 MB" in response.json()["message"]


def test_a_request_that_arrives_too_slowly_is_408_and_gives_its_place_back(models, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_UPLOAD_SECONDS", 0.05)
    monkeypatch.setattr(uploads, "MAX_UPLOADS", 1)

    def body():
        yield b"--x\r\n"
        time.sleep(0.3)
        yield b"Content-Disposition: form-data\r\n\r\n"

    with running(create_app(Service(models), page=False)) as address:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        response = httpx.post(f"{address}/v1/classify", content=body(), headers=headers)
        assert response.status_code == 408
        assert httpx.post(f"{address}/v1/classify", files={"files": image()}).status_code == 200


def test_when_it_is_busy_it_says_when_to_come_back_without_reading_the_request(models, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_UPLOADS", 0)
    status, answer, read = asyncio.run(send(create_app(Service(models), page=False), [b"0"] * 10))
    assert (status, answer["code"], read) == (503, "busy", 0)


def test_busy_models_are_503_with_retry_after(models, monkeypatch):
    monkeypatch.setattr(limits, "MAX_RUNNING", 1)
    monkeypatch.setattr(limits, "MAX_WAITING", 1)
    monkeypatch.setattr(limits, "MAX_WAIT_SECONDS", 0.05)
    service = Service(models)
    with TestClient(create_app(service, page=False)) as client:
        with service.limiter():
            response = post(client, ("a.png", image()))
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert response.json()["code"] == "busy"
        assert post(client, ("a.png", image())).status_code == 200


def test_no_file_of_an_upload_stays_on_the_disk(client, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    large = Image.effect_noise((1500, 1500), 80)
    buffer = io.BytesIO()
    large.save(buffer, "PNG")
    assert len(buffer.getvalue()) > 2**20  # so that it does wait on the disk
    assert post(client, ("a.png", buffer.getvalue())).status_code == 200
    assert post(client, ("a.png", buffer.getvalue()[: 2**20 + 1])).status_code == 422
    assert list(tmp_path.iterdir()) == []


def test_a_failure_inside_shows_neither_stack_nor_path(models, monkeypatch):
    service = Service(models)
    app = create_app(service, page=False)

    def fail(*_):
        raise RuntimeError(f"secret of {models}")

    monkeypatch.setattr(service, "classify_batch", fail)
    with TestClient(app, raise_server_exceptions=False) as client:
        response = post(client, ("a.png", image()))
    assert response.status_code == 500
    assert response.json()["code"] == "internal"
    assert "secret" not in response.text
    assert "Traceback" not in response.text


def test_the_name_of_an_upload_is_shown_without_its_folders(client):
    response = post(client, ("../../etc/passwd", b"no image"), ("C:\\photos\\a.png", image()))
    assert [row["file"] for row in response.json()["results"]] == ["passwd", "a.png"]


def test_the_models_are_described_the_default_first(client):
    first, second = client.get("/v1/models").json()
    assert (first["name"], first["default"], second["name"], second["default"]) == ("fashion", True, "other", False)
    assert first["labels"] == ["Tshirts", "Shirts", "Flats", "Scarves"]
    assert first["levels"] == ["masterCategory", "subCategory", "articleType"]
    assert first["image_size"] == [32, 32]
    assert first["calibrated"] is False


def test_the_health_check_names_the_models(client):
    assert client.get("/healthz").json() == {"status": "ok", "models": ["fashion", "other"]}


def test_the_counters_count_requests_and_images_and_keep_no_name(client):
    post(client, ("private-name.png", image()), ("b.png", b"none"))
    post(client, ("c.png", b"none"))
    client.get("/v1/secret-path")
    text = client.get("/metrics").text
    assert 'snapshelf_requests_total{method="POST",path="/v1/classify",status="200"} 1.0' in text
    assert 'snapshelf_requests_total{method="POST",path="/v1/classify",status="415"} 1.0' in text
    assert 'snapshelf_images_total{model="fashion",status="ok"} 1.0' in text
    assert 'snapshelf_images_total{model="fashion",status="error"} 2.0' in text
    assert 'snapshelf_request_seconds_count{path="/v1/classify"} 2.0' in text
    assert "secret-path" not in text
    assert "private-name" not in text
    assert re.fullmatch(r"(#.*\n|[a-z_]+(\{[^}]*\})? [0-9.e+-]+\n)+", text)


def test_another_method_is_405_and_an_unknown_address_404_both_as_json(client):
    wrong_method, unknown = client.get("/v1/classify"), client.get("/v1/nothing")
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


def test_the_documentation_page_loads_everything_from_this_server(client):
    page = client.get("/docs")
    addresses = Addresses()
    addresses.feed(page.text)
    assert page.status_code == 200
    assert len(addresses.found) == 3
    for address in addresses.found:
        assert address.startswith("/")
        assert client.get(address).status_code == 200
    assert "http" not in page.text.replace("http-equiv", "")
    assert '"validatorUrl": null' in page.text


def test_the_page_and_the_api_live_on_one_server(models):
    with TestClient(create_app(Service(models))) as client:
        assert "Snapshelf" in client.get("/").text
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/docs").text.count("swagger-ui") > 0
        assert post(client, ("a.png", image("Shirts"))).json()["results"][0]["label"] == "Shirts"
        assert client.get("/v1/classify").json()["code"] == "method_not_allowed"
        assert client.get("/v1/nothing").json()["code"] == "not_found"


def test_the_load_benchmark_counts_answers_and_reads_the_memory(capsys):
    from benchmarks import app_load

    assert app_load.main(["--requests", "6", "--clients", "3", "--memory_requests", "4"]) == 0
    out = capsys.readouterr().out
    assert "6 requests from 3 clients: 6 answers" in out
    assert "errors none" in out
    assert re.search(r"memory over 4 requests: (\d+ ){5}MiB", out)


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_wrong_port_is_named(capsys, port):
    with pytest.raises(SystemExit) as stop:
        main(["--port", port])
    assert stop.value.code == 2
    assert "--port" in capsys.readouterr().err


def test_a_broken_model_stops_the_start_with_one_line(capsys, monkeypatch, tmp_path):
    (write_tiny_model(tmp_path / "tiny") / "config.json").write_text("{}")
    monkeypatch.setattr("app.server.Service", lambda: Service(tmp_path))
    assert main(["--no_page"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("server: error: model tiny: ")
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
