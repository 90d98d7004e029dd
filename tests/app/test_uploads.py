"""Uploads to the REST API: forms, their limits while they arrive, what a busy server answers."""

import asyncio
import io
import socket
import time
import zipfile

import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app import limits
from app.api import uploads
from app.images import load_image
from app.server import create_app
from app.service import Service
from tests.rest_client import image, post, running, send

BUSY_ROW = "left out: many people are using this page right now; please send this image again"


def test_json_instead_of_a_form_is_415(api):
    response = api.post("/v1/classify", json={"image": "aGVsbG8="})
    assert response.status_code == 415
    assert response.json()["code"] == "wrong_type"
    assert "multipart/form-data" in response.json()["message"]


@pytest.mark.parametrize("field", ["file", "image"])
def test_a_file_under_another_name_says_which_name_is_expected(api, field):
    response = api.post("/v1/classify", files={field: ("a.png", image())})
    assert response.status_code == 422
    assert "curl -F files=@photo.jpg" in response.json()["message"]


@pytest.mark.parametrize(
    "body", [b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\nhello\r\n--x--", b"not a form"]
)
def test_a_damaged_form_is_400_or_422(api, body):
    response = api.post("/v1/classify", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert response.status_code in (400, 422)
    assert response.json()["code"] in ("malformed", "no_file")


def test_too_many_files_are_413(api, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BATCH_FILES", 3)
    response = post(api, *[(f"{i}.png", image()) for i in range(4)])
    assert response.status_code == 413
    assert "At most 3 files" in response.json()["message"]


def test_a_file_that_is_too_large_is_rejected_while_it_arrives(tiny_models, monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 10_000)
    status, answer, read = asyncio.run(send(create_app(Service(tiny_models), page=False), [b"0" * 1000] * 1000))
    assert (status, answer["code"]) == (413, "too_large")
    assert read <= 13


def test_a_request_that_is_too_large_is_rejected_while_it_arrives(tiny_models, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BATCH_BYTES", 10_000)
    monkeypatch.setattr(limits, "MAX_BATCH_FILES", 10)
    status, answer, read = asyncio.run(send(create_app(Service(tiny_models), page=False), [b"0" * 1000] * 1000))
    assert (status, answer["code"]) == (413, "too_large")
    assert read <= 25


def test_a_request_that_says_it_is_too_large_is_not_read_at_all(tiny_models):
    length = limits.MAX_BATCH_BYTES * 2
    status, answer, read = asyncio.run(send(create_app(Service(tiny_models), page=False), [b"0"] * 10, length))
    assert (status, answer["code"], read) == (413, "too_large", 0)


def test_a_client_that_still_sends_reads_why_it_is_rejected(tiny_models, monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 2**20)
    with running(create_app(Service(tiny_models), page=False)) as address:
        response = httpx.post(f"{address}/v1/classify", files={"files": bytes(8 * 2**20)})
    assert response.status_code == 413
    assert "1 MB" in response.json()["message"]


def test_a_request_that_arrives_too_slowly_is_408_and_frees_its_place(tiny_models, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_UPLOAD_SECONDS", 0.05)

    def body():
        yield b"--x\r\n"
        time.sleep(0.3)
        yield b"Content-Disposition: form-data\r\n\r\n"

    with running(create_app(Service(tiny_models), page=False)) as address:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        response = httpx.post(f"{address}/v1/classify", content=body(), headers=headers)
        assert response.status_code == 408
        assert httpx.post(f"{address}/v1/classify", files={"files": image()}).status_code == 200


def test_when_it_is_busy_it_says_when_to_come_back_without_reading_the_request(tiny_models, monkeypatch):
    monkeypatch.setattr(limits, "MAX_RUNNING", 1)
    monkeypatch.setattr(limits, "MAX_WAITING", 1)
    service = Service(tiny_models)
    app = create_app(service, page=False)
    with service.turns.request(), service.turns.request():
        status, answer, read = asyncio.run(send(app, [b"0"] * 10))
    assert (status, answer["code"], read) == (503, "busy", 0)


def test_busy_models_are_503_with_retry_after(tiny_models, monkeypatch):
    monkeypatch.setattr(limits, "MAX_RUNNING", 1)
    monkeypatch.setattr(limits, "MAX_WAITING", 1)
    monkeypatch.setattr(limits, "MAX_WAIT_SECONDS", 0.05)
    service = Service(tiny_models)
    with TestClient(create_app(service, page=False)) as api:
        with service.turns.request() as turn, turn():
            response = post(api, ("a.png", image()))
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert response.json()["code"] == "busy"
        assert post(api, ("a.png", image())).status_code == 200


def test_no_file_of_an_upload_stays_on_the_disk(api, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    large = Image.effect_noise((1500, 1500), 80)
    buffer = io.BytesIO()
    large.save(buffer, "PNG")
    assert len(buffer.getvalue()) > 2**20  # so that it does wait on the disk
    assert post(api, ("a.png", buffer.getvalue())).status_code == 200
    assert post(api, ("a.png", buffer.getvalue()[: 2**20 + 1])).status_code == 422
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_an_upload_is_shown_without_its_folders(api):
    response = post(api, ("../../etc/passwd", b"no image"), ("C:\\photos\\a.png", image()))
    assert [row["file"] for row in response.json()["results"]] == ["passwd", "a.png"]


def test_an_upload_that_stops_is_408(tiny_models, monkeypatch):
    monkeypatch.setattr(limits, "SLOW_START_SECONDS", 0.2)
    head = b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n"
    head += b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    with running(create_app(Service(tiny_models), page=False)) as address:
        with socket.create_connection(("127.0.0.1", httpx.URL(address).port), timeout=30) as connection:
            connection.sendall(head)
            start = time.monotonic()
            assert connection.recv(100)[:12] == b"HTTP/1.1 408"
        assert time.monotonic() - start < 4


def test_a_batch_ends_at_its_time_with_a_row_for_each_image(tiny_models, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BATCH_SECONDS", 0.3)
    service, decode = Service(tiny_models), load_image

    def slow(source, target_size=None):
        time.sleep(0.05)
        return decode(source, target_size)

    service.decode = slow
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(60):
            file.writestr(f"{number}.png", image())
    with TestClient(create_app(service, page=False)) as api:
        start = time.monotonic()
        rows = post(api, ("all.zip", archive.getvalue())).json()["results"]
    assert time.monotonic() - start < 2.5
    assert [row["file"] for row in rows] == [f"{number}.png" for number in range(60)]
    assert rows[0]["error"] is None and "the time limit of a batch (0.3 s)" in rows[-1]["error"]


def test_a_batch_under_way_gives_way_in_a_crowd_and_keeps_its_rows(tiny_models, monkeypatch):
    service = Service(tiny_models)
    with service.turns.request() as turn:
        rows = service.classify_stream([image()] * 20)
        first = [next(rows) for _ in range(4)]
        monkeypatch.setattr(service.turns, "seconds", 0.05)
        with turn(), service.turns.request() as other, other():
            rest = list(rows)
    assert {row.status for row in first} == {"review"} and len(rest) == 16
    assert {row.error for row in rest} == {BUSY_ROW}
