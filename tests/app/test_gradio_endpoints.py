"""The page's functions for programs, as gradio's client, raw requests and assistants meet them; what they reject."""

import ast
import asyncio
import base64
import http.server
import threading
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from app import app as app_module
from app import limits
from app.limits import BusyError
from app.service import Service

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "app" / "examples"
SHIRT, SCREENSHOT = EXAMPLES / "tshirts.jpg", EXAMPLES / "screenshot.jpg"


@pytest.fixture(scope="module")
def client(address) -> Client:
    return Client(address, verbose=False)


def test_classify_answers_with_path_confidences_and_verdict(client):
    answer = client.predict(image=handle_file(SHIRT), api_name="/classify")
    assert answer["status"] == "ok" and answer["model"] == "fashion"
    assert answer["category_path"] == ["Apparel", "Topwear", "Tshirts"]
    assert len(answer["path_confidences"]) == 3 and len(answer["top_k"]) == 5
    assert 0 < answer["milliseconds"] < 60_000


def test_classify_batch_keeps_the_order_and_a_bad_image_fails_only_its_own_row(client, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(SHIRT.read_bytes()[:2000])
    files = [handle_file(SHIRT), handle_file(broken), handle_file(EXAMPLES / "watches.jpg")]
    rows = client.predict(files=files, model="plain", top_k=2, api_name="/classify_batch")
    assert [row["file"] for row in rows] == ["tshirts.jpg", "broken.jpg", "watches.jpg"]
    assert [row["status"] for row in rows] == ["review", "error", "review"]  # it has no calibration
    assert "truncated" in rows[1]["error"]
    assert len(rows[0]["top_k"]) == 2


def test_find_products_gives_boxes_in_the_pixels_of_the_screenshot(client):
    page = client.predict(image=handle_file(SCREENSHOT), api_name="/find_products")
    assert (page["kind"], page["width"], page["height"], len(page["products"])) == ("grid", 1080, 2400, 8)
    x, y, width, height = page["products"][0]["box"]
    assert abs(x - 36) < 4 and abs(y - 300) < 4 and abs(width - 489) < 8 and abs(height - 383) < 8


def test_the_names_of_the_api_are_these(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) >= {
        "/classify",
        "/classify_batch",
        "/find_products",
    }


def call_tool(address: str, *images: str) -> tuple[list, list]:
    """The tools that an assistant is offered over MCP, and what `classify` answers about each image."""

    async def ask() -> tuple[list, list]:
        connection = streamable_http_client(f"{address}/gradio_api/mcp/")
        async with connection as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            answers = [await session.call_tool("classify", {"image": image}) for image in images]
            return (await session.list_tools()).tools, answers

    return asyncio.run(ask())


def test_an_assistant_calls_the_same_functions_as_tools(address):
    image = (EXAMPLES / "casual_shoes.jpg").read_bytes()
    tools, (answer, rejection) = call_tool(address, data_url(image)["url"], data_url(b"no image")["url"])
    assert {tool.name for tool in tools} == {"classify", "classify_batch", "find_products"}
    assert all(tool.description for tool in tools)
    assert ast.literal_eval(answer.content[0].text)["label"] == "Casual Shoes"  # Gradio sends Python's spelling
    assert rejection.isError and "Traceback" not in rejection.content[0].text


def test_the_example_for_programs_runs(address, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import use_api

    use_api.main(["--page", address])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok Apparel > Topwear > Tshirts")
    assert len(lines) == 1 + 2 + 8


def call(address: str, name: str, *data) -> str:
    """What the server sends for a raw call, as text."""
    posted = httpx.post(f"{address}/gradio_api/call/{name}", json={"data": data}, timeout=60)
    if posted.status_code != 200:
        return posted.text
    return httpx.get(f"{address}/gradio_api/call/{name}/{posted.json()['event_id']}", timeout=60).text


def as_file(path: str, **options) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **options}


def data_url(content: bytes) -> dict:
    return {"path": None, "url": "data:image/jpeg;base64," + base64.b64encode(content).decode()}


def test_a_data_url_is_classified_and_has_the_same_limits(address, monkeypatch):
    url = data_url(SHIRT.read_bytes())
    assert '"Tshirts"' in call(address, "classify", url, "fashion", 5)
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 1000)
    assert "at most" in call(address, "classify", url, "fashion", 5)


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", "/proc/self/environ", str(SHIRT), "a\0b"])
@pytest.mark.parametrize("name", ["classify", "classify_batch", "find_products"])
def test_no_path_of_the_server_is_read(address, name, path):
    file = [as_file(path)] if name == "classify_batch" else as_file(path)
    answer = call(address, name, file, "fashion", 5)
    assert "event: error" in answer and "Only uploaded files" in answer
    assert "root:" not in answer and "passwd" not in answer


@pytest.fixture
def trap():
    """The address of a server that nobody may ask for anything, and what it was asked for."""
    asked = []

    class Trap(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    server = http.server.HTTPServer(("127.0.0.1", 0), Trap)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/image.jpg", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("position", [0, 1])
def test_no_address_is_fetched_whatever_component_it_is_given_to(address, trap, position):
    url, asked = trap
    data = [data_url(SHIRT.read_bytes()), "fashion", 5]
    data[position] = as_file(url, url=url)
    answer = call(address, "classify", *data)
    assert "Only uploaded files" in answer and not asked


def test_no_address_is_fetched_and_no_path_read_for_an_assistant(address, trap):
    url, asked = trap
    _, answers = call_tool(address, url, "/etc/passwd", str(SHIRT))
    assert all(answer.isError for answer in answers) and not asked
    assert "root:" not in str(answers)


def test_mounted_in_another_application_it_reads_no_path_either(service):
    with TestClient(app_module.mount_page(FastAPI(), service), base_url="http://127.0.0.1") as browser:
        data = {"data": [as_file("/etc/passwd"), "fashion", 5]}
        event = browser.post("/gradio_api/call/classify", json=data).json()["event_id"]
        answer = browser.get(f"/gradio_api/call/classify/{event}").text
    assert "Only uploaded files" in answer and "root:" not in answer


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello, I am a text", "not an image file"),
        (SHIRT.read_bytes()[:900], "truncated"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image file"),
    ],
)
def test_a_bad_image_gives_one_line_without_paths_or_stack_traces(client, tmp_path, content, reason):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(content)
    with pytest.raises(AppError) as error:
        client.predict(image=handle_file(bad), api_name="/classify")
    text = str(error.value)
    assert reason in text and "\n" not in text
    assert "Traceback" not in text and "/tmp" not in text and "bad.jpg" not in text


def test_wrong_parameters_are_named(address):
    url = data_url(SHIRT.read_bytes())
    assert "top_k must be" in call(address, "classify", url, "fashion", 1000)
    assert "Send an image" in call(address, "classify", None, "fashion", 5)


def test_an_unexpected_error_shows_no_details(client, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("/secret/path is broken")

    monkeypatch.setattr(Service, "classify", fail)
    with pytest.raises(AppError, match="our side") as error:
        client.predict(image=handle_file(SHIRT), api_name="/classify")
    assert "secret" not in str(error.value)
    assert "/secret/path is broken" in caplog.text


def test_a_caller_is_told_to_come_back_when_it_is_busy(client, monkeypatch):
    def busy(*_):
        raise BusyError

    monkeypatch.setattr(Service, "classify", busy)
    with pytest.raises(AppError, match="try again in 5 seconds"):
        client.predict(image=handle_file(SHIRT), api_name="/classify")


def test_a_full_queue_answers_with_our_message(address, monkeypatch):
    from gradio.queueing import Queue

    monkeypatch.setattr(Queue, "__len__", lambda self: 10_000)
    answer = call(address, "classify", data_url(SHIRT.read_bytes()), "fashion", 5)
    assert "try again in 5 seconds" in answer and "Max size" not in answer


def test_the_page_counts_nobody_and_keeps_no_history(address):
    config = httpx.get(f"{address}/config").json()
    assert config["analytics_enabled"] is False
    assert not config.get("run_history")
    assert httpx.get(f"{address}/monitoring/summary").status_code in (403, 404)
