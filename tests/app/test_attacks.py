"""Attacks on a running server, the same as benchmarks/app_attack.py at a smaller size: what one may get and cost."""

import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from benchmarks import attacks
from benchmarks.app_attack import ADDRESSES, FORBIDDEN, MAX_LOG_BYTES, RIGHT
from benchmarks.attacked_server import Probe, attacked_server
from benchmarks.hostile_images import bomb_png, zip_of
from benchmarks.processes import ROOT

MIB = 2**20
BELTS = ROOT / "examples" / "belts.jpg"


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
    attacks.page_answer(server, "classify", [{"path": None, "url": attacks.data_url(attacks.photo())}, "fashion", 1])
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


def test_gradios_other_addresses_do_not_answer_and_odd_ranges_fail_nothing(server):
    statuses = attacks.statuses_of_addresses(server)
    assert {name: status for name, status in statuses.items() if status != 404} == {**ADDRESSES, **FORBIDDEN}


def test_open_streams_give_way_to_requests(server):
    assert attacks.open_streams(server, 260, 10) == {200: 10}


def test_a_connection_that_sends_many_requests_at_once_costs_little_memory(server):
    server.forget_peak()
    before = server.resident_mib()
    assert attacks.pipelined_requests(server, 50, 1000, 5) == {200: 5}
    assert server.peak_mib() < before + 50


def test_many_invalid_requests_leave_few_lines(server):
    before = server.log_bytes()
    attacks.flood_of_invalid_requests(server, 500)
    assert server.log_bytes() < before + 30_000


def test_images_that_take_long_do_not_delay_others(server):
    with ThreadPoolExecutor(8) as threads:
        form = attacks.form(b"bombs.zip", zip_of(bomb_png(), 2))
        hostile = [threads.submit(attacks.post, server, "/v1/classify", form, attacks.BOUNDARY) for _ in range(8)]
        assert attacks.honest_requests(server, 10) == {200: 10}
        assert not all(answer.done() for answer in hostile)
    assert {answer.result() for answer in hostile} <= {200, 503}


def test_an_assistant_sends_several_images(server):
    assert "Belts" in attacks.mcp_call(server, "classify_batch", {"files": [attacks.data_url(BELTS.read_bytes())]})
    for address in ("file:///etc/passwd", "/etc/passwd", "http://127.0.0.1:1/a.jpg"):
        answer = attacks.mcp_call(server, "classify_batch", {"files": [address]})
        assert '"isError":true' in answer and "root:" not in answer


def test_what_a_crash_leaves_behind_goes_at_the_next_start_and_the_rest_at_the_end(server):
    """The last one here: it ends the server."""
    upload = {"files": ("a.jpg", bytes(1000))}
    assert httpx.post(f"{server.address}/gradio_api/upload", files=upload).status_code == 200
    server.stop(signal.SIGKILL)
    assert server.files()
    with attacked_server(server.uploads.parent, "--no_page") as following:
        assert not following.files()
        folders = set(following.uploads.iterdir())
    assert len(folders) == 1 and not set(following.uploads.iterdir())


@pytest.mark.slow
def test_the_attack_benchmark_holds(capsys):
    from benchmarks import app_attack

    assert app_attack.main(["--requests", "200", "--seconds", "5"]) == 0
    assert "FAILS" not in capsys.readouterr().out
