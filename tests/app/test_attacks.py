"""Attacks on a running server, the same as benchmarks/app_attack.py at a smaller size: what one may get and cost."""

import signal
import socket
import time

import httpx
import pytest

from benchmarks import attacks
from benchmarks.app_attack import MAX_LOG_BYTES, RIGHT
from benchmarks.attacked_server import Probe, Server, attacked_server

MIB = 2**20


@pytest.fixture(scope="module")
def server():
    with attacked_server() as server:
        attacks.honest_requests(server, 5)
        yield server


@pytest.mark.parametrize("path", attacks.POSTS[:3])
def test_a_long_json_body_is_413_on_every_route_and_costs_little_memory(server, path):
    server.forget_peak()
    before = server.resident_mib()
    with Probe(server) as probe:
        assert attacks.long_json(server, path, 60 * MIB) == 413
    assert server.peak_mib() < before + 150
    assert probe.slowest < 1 and probe.asked and not probe.failures


def test_a_bushy_json_body_is_413_before_it_is_parsed(server):
    server.forget_peak()
    before = server.resident_mib()
    assert attacks.bushy_json(server, 20 * MIB) == 413
    assert server.peak_mib() < before + 60


@pytest.mark.parametrize("depth", [100, 30_000])
def test_a_deep_json_body_is_413(server, depth):
    assert attacks.deep_json(server, depth) == 413


@pytest.mark.parametrize("path", attacks.POSTS[3:])
def test_a_long_text_field_ends_the_upload_early(server, path):
    server.forget_peak()
    before = server.resident_mib()
    assert attacks.long_field(server, path, 60 * MIB) in (400, 413)
    assert server.peak_mib() < before + 40


def test_answers_that_nobody_fetches_are_released(server):
    attacks.unfetched_answers(server, 10, MIB)
    before = server.resident_mib()
    attacks.unfetched_answers(server, 40, MIB)
    time.sleep(1)
    assert server.resident_mib() < before + 30


def test_the_log_has_one_bounded_escaped_line_per_event(server):
    attacks.noisy_requests(server, MIB)
    text = server.log.read_bytes()
    assert len(text) < MAX_LOG_BYTES
    assert max(map(len, text.splitlines())) < 2000
    assert b"\x1b" not in text and b"\nINFO forged" not in text and "\u202e".encode() not in text


def test_no_file_of_a_misnamed_or_broken_upload_stays(server):
    before = server.files()
    attacks.misnamed_uploads(server, 2 * MIB)
    assert server.files() == before


def test_silent_sockets_give_way_to_requests(server):
    assert attacks.silent_sockets(server, 505, 10) == {200: 10}


def test_slow_uploads_take_no_place_from_requests(server):
    assert attacks.slow_uploads(server, 18, 20) == {200: 20}


def test_odd_requests_get_the_promised_statuses(server):
    assert attacks.statuses_of_odd_requests(server) == RIGHT


def test_an_assistant_cannot_send_the_server_to_another_one(server):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.5)
        answer = attacks.mcp_call_elsewhere(server, f"127.0.0.1:{trap.getsockname()[1]}")
        with pytest.raises(TimeoutError):
            trap.accept()
    assert "category_path" in answer


def test_a_file_has_its_name_however_the_form_spells_it(server):
    assert set(attacks.file_names(server).values()) == {"été.jpg"}


def test_browsers_are_told_what_the_page_may_do(server):
    page = attacks.get(server, "/")
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"


def test_a_host_that_a_client_invents_is_not_in_the_page(server):
    headers = dict.fromkeys(("X-Forwarded-Host", "X-Gradio-Server", "X-Forwarded-Server"), "evil.example")
    for path in ("/", "/config"):
        assert "evil.example" not in attacks.get(server, path, headers).text


def test_a_document_named_like_an_image_runs_nothing(server):
    page = b"<script>alert(1)</script>"
    (path,) = httpx.post(f"{server.address}/gradio_api/upload", files={"files": ("a.jpg", page)}).json()
    answer = attacks.get(server, f"/gradio_api/file={path}")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_a_request_head_without_an_end_is_closed(server):
    assert attacks.raw(server, b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000, seconds=20)[:12] == b"HTTP/1.1 431"


def test_a_batch_ends_at_its_time_with_a_row_for_each_image():
    with attacked_server(MAX_BATCH_SECONDS=1) as server:
        seconds, left_out = attacks.batch_seconds(server, 60, 2000)
    assert seconds < 6
    assert left_out > 5


def upload(server: Server, size: int = 1000) -> httpx.Response:
    return httpx.post(f"{server.address}/gradio_api/upload", files={"files": ("a.jpg", bytes(size))})


def test_uploads_go_after_their_time_at_the_end_and_after_a_crash_at_the_next_start(tmp_path):
    with attacked_server(tmp_path, STORED_SECONDS=2) as server:
        examples = server.files()
        assert upload(server).status_code == 200 and len(server.files()) == len(examples) + 1
        end = time.monotonic() + 20
        while server.files() != examples and time.monotonic() < end:
            time.sleep(0.2)
        assert server.files() == examples
        upload(server)
        server.stop(signal.SIGKILL)
        assert server.files()
    with attacked_server(tmp_path) as server:
        assert len(server.files()) == len(examples)
        upload(server)
    assert not server.files()


def test_stored_uploads_have_a_limit_in_all():
    with attacked_server(MAX_STORED_BYTES=3 * MIB) as server:
        statuses = [upload(server, MIB).status_code for _ in range(5)]
        stored = sum(path.stat().st_size for path in server.files())
    assert statuses[0] == 200 and statuses[-1] == 503
    assert stored <= 3 * MIB


def test_an_upload_that_arrives_slowly_is_408(tmp_path):
    head = b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n"
    head += b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + attacks.PART % (b"files", b"a.jpg")
    with attacked_server(tmp_path, "--no_page", SLOW_START_SECONDS=1) as server:
        start = time.monotonic()
        assert attacks.raw(server, head, seconds=30)[:12] == b"HTTP/1.1 408"
        assert time.monotonic() - start < 10


def test_options_open_the_page_to_frames_names_and_scrapers(tmp_path):
    options = ("--frame_ancestors", "https://huggingface.co", "--allowed_hosts", "shop.example", "--metrics", "on")
    with attacked_server(tmp_path, *options, "--log_format", "json") as server:
        page = attacks.get(server, "/")
        assert page.headers["Content-Security-Policy"].endswith("frame-ancestors 'self' https://huggingface.co")
        assert "X-Frame-Options" not in page.headers
        assert attacks.get(server, "/metrics", {"X-Forwarded-For": "203.0.113.9"}).status_code == 200
        headers = {"Accept": "application/json, text/event-stream", "Host": "shop.example"}
        answer = httpx.post(
            f"{server.address}/gradio_api/mcp/", json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=headers
        )
        assert answer.status_code == 200
        lines = server.log.read_text().splitlines()
    assert all(line.startswith("{") and line.endswith("}") for line in lines)
    assert any('"path": "/metrics"' in line and '"status": 200' in line for line in lines)


@pytest.mark.slow
def test_the_attack_benchmark_holds(capsys):
    from benchmarks import app_attack

    assert app_attack.main(["--requests", "200", "--seconds", "5"]) == 0
    assert "FAILS" not in capsys.readouterr().out
