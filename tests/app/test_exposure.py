"""What options open: frames, names under which MCP answers, /metrics, logs in JSON; and the log's bounds."""

import io
import json
import logging

import pytest
from starlette.testclient import TestClient

from app.guard.logs import BURST, FewLines, OneLine, logged_prints
from app.server import build_parser, create_app, read_exposure
from app.service import Service

OPTIONS = ("--frame_ancestors", "https://huggingface.co", "--allowed_hosts", "shop.example", "--metrics", "on")


@pytest.fixture(scope="module")
def opened(tiny_models) -> TestClient:
    exposure = read_exposure(build_parser().parse_args(OPTIONS))
    with TestClient(create_app(Service(tiny_models), exposure=exposure)) as client:
        yield client


def test_a_page_that_is_named_may_embed_this_one(opened):
    page = opened.get("/")
    assert page.headers["Content-Security-Policy"].endswith("frame-ancestors 'self' https://huggingface.co")
    assert "X-Frame-Options" not in page.headers


def test_the_counters_are_for_everybody(opened):
    assert opened.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 200


@pytest.mark.parametrize(("host", "status"), [("shop.example", 200), ("evil.example", 403)])
def test_mcp_answers_under_names_that_are_allowed(opened, host, status):
    headers = {"Accept": "application/json, text/event-stream", "Host": host}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert opened.post("/gradio_api/mcp/", json=ping, headers=headers).status_code == status


def test_a_log_in_json_has_an_object_per_request(opened, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.__stderr__", out)
    with logged_prints("json"):
        opened.get("/metrics?secret")
        logging.getLogger("uvicorn").warning("a\nb")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    request = next(line for line in lines if line["message"] == "request")
    assert (request["path"], request["status"]) == ("/metrics", 200)
    assert "secret" not in out.getvalue()
    assert "a\\nb" in [line["message"] for line in lines]


def test_a_flood_of_lines_becomes_a_few_and_their_number(monkeypatch):
    moment = 0.0
    monkeypatch.setattr("app.guard.logs.time.monotonic", lambda: moment)
    few, line = FewLines(), OneLine()
    records = [
        logging.LogRecord("uvicorn", logging.WARNING, "", 0, "line %d", (number,), None) for number in range(1000)
    ]
    assert sum(map(few.filter, records)) == BURST
    moment = 1.0
    last = logging.LogRecord("uvicorn", logging.WARNING, "", 0, "the last", None, None)
    assert few.filter(last)
    assert "the last (800 lines left out before it)" in line.format(last)
