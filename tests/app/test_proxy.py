"""The server under a prefix and https, behind a real nginx that runs the configuration of docs/app.md."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from app.errors import UserError
from app.guard.prefix import checked_root_path
from app.server import build_parser, create_app, main, read_exposure
from app.service import Service

ROOT = Path(__file__).resolve().parents[2]
BELTS = ROOT / "examples" / "belts.jpg"
CHROMIUM = Path("/usr/bin/chromium")
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
START_SECONDS = 90
needs_nginx = pytest.mark.skipif(
    not (NGINX and shutil.which("openssl")),
    reason="needs nginx and openssl: sudo apt-get install -y nginx-light openssl",
)
needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium: sudo apt-get install -y chromium")
HTTP = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
    types {{ text/html html; }}
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {server}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def documented_server() -> str:
    """The nginx configuration in docs/app.md."""
    return re.search(r"```nginx\n(.*?)```", (ROOT / "docs" / "app.md").read_text(encoding="utf-8"), re.DOTALL)[1]


def configuration(folder: Path, port: int, server_port: int, slash: str) -> str:
    server = documented_server()
    for documented, ours in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("shop.example.com", "localhost"),
        ("/etc/ssl/shop", f"{folder}/shop"),
        ("http://127.0.0.1:7860;", f"http://127.0.0.1:{server_port}{slash};"),
    ):
        assert documented in server
        server = server.replace(documented, ours)
    return HTTP.format(folder=folder, server=server)


@contextmanager
def running(command: list, port: int, log: Path, **environment: str) -> Iterator[None]:
    """A program, once it listens on the port."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output)
    try:
        end = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def server_port(tmp_path_factory) -> Iterator[int]:
    port, folder = free_port(), tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "app.server", "--port", str(port), "--root_path", "/shop/"]
    command += ["--trusted_proxies", "127.0.0.1", "--allowed_hosts", "localhost"]
    with running(command, port, folder / "server.log"):
        yield port


@pytest.fixture(scope="module", params=["", "/"], ids=["prefix left on", "prefix taken off"])
def shop(request, server_port, tmp_path_factory) -> Iterator[str]:
    """The address of the page behind nginx."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    key += ["-keyout", folder / "shop.key", "-out", folder / "shop.pem"]
    subprocess.run(key, check=True, capture_output=True)
    slash = f"{request.param}"
    (folder / "nginx.conf").write_text(configuration(folder, port, server_port, slash))
    with ExitStack() as stack:
        command = [NGINX, "-p", folder, "-c", folder / "nginx.conf"]
        stack.enter_context(running(command, port, folder / "output.log"))
        yield f"https://localhost:{port}/shop"


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(verify=False, timeout=60, trust_env=False) as client:
        yield client


@needs_nginx
def test_the_page_and_everything_it_loads_come_from_below_the_prefix(shop, http):
    page = http.get(f"{shop}/")
    assert page.status_code == 200
    assert json.loads(re.search(r"window.gradio_config = (\{.*?\});</script>", page.text)[1])["root"] == shop
    assert http.get(f"{shop}/config").json()["root"] == shop
    loaded = set(re.findall(r"""(?:src|href)=["']([^"'#]+)["']""", page.text))
    loaded -= {"/manifest.json"}  # Gradio's own template, for installing a page as an app; nothing depends on it
    ours = {str(httpx.URL(f"{shop}/").join(address)) for address in loaded}
    ours = {address for address in ours if httpx.URL(address).host == "localhost"}
    assert len(ours) >= 3 and all(address.startswith(f"{shop}/") for address in ours)
    assert {http.get(address).status_code for address in ours} == {200}


@needs_nginx
def test_the_prefix_without_its_slash_leads_to_the_page(shop, http):
    assert http.get(shop, follow_redirects=True).url == f"{shop}/"


@needs_nginx
def test_a_program_uploads_waits_in_the_queue_and_gets_its_answer(shop):
    from gradio_client import Client, handle_file

    client = Client(f"{shop}/", verbose=False, ssl_verify=False, httpx_kwargs={"trust_env": False})
    answer = client.predict(handle_file(BELTS), api_name="/classify")
    client.close()
    assert answer["label"] == "Belts"


@needs_nginx
def test_the_rest_api_its_description_and_its_documentation_work(shop, http):
    with BELTS.open("rb") as image:
        answer = http.post(f"{shop}/v1/classify", files={"files": image})
    assert answer.json()["results"][0]["label"] == "Belts"
    assert http.get(f"{shop}/healthz").json()["status"] == "ok"
    description = http.get(f"{shop}/openapi.json").json()
    assert description["servers"][0]["url"] == "/shop" and "/v1/classify" in description["paths"]
    page = http.get(f"{shop}/docs").text
    assert "/shop/openapi.json" in page
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert asset.startswith("/shop/") and http.get(httpx.URL(shop).join(asset)).status_code == 200
    assert http.delete(f"{shop}/v1/models").status_code == 405
    assert http.get(f"{shop}/v1/nothing").status_code == 404


@needs_nginx
def test_an_assistant_lists_the_tools(shop, http):
    headers = {"Accept": "application/json, text/event-stream"}
    client = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    start = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}
    address = f"{shop}/gradio_api/mcp/"
    answer = http.post(address, json=start, headers=headers)
    assert answer.status_code == 200, answer.text
    if session := answer.headers.get("mcp-session-id"):
        headers["mcp-session-id"] = session
    tools = http.post(address, json={"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, headers=headers)
    assert "find_products" in tools.text


@needs_nginx
def test_a_visitor_cannot_pretend_to_be_another_host_or_this_machine(shop, http):
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-For": "127.0.0.1", "Forwarded": "host=evil.example"}
    assert "evil.example" not in http.get(f"{shop}/config", headers=forged).text
    assert http.get(f"{shop}/metrics", headers=forged).status_code in (403, 404)


def test_without_a_trusted_proxy_forwarded_headers_do_not_count(tiny_models, monkeypatch):
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/shelf")
    exposure = read_exposure(build_parser().parse_args([]))
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    with TestClient(create_app(Service(tiny_models), exposure=exposure)) as client:
        assert client.get("/config", headers=forged).json()["root"] == "http://testserver/shelf"
        assert client.get("/shelf/healthz").json()["status"] == "ok"


@pytest.fixture
def visitor(shop) -> Iterator[Any]:
    """The page in Chromium, where every request stays below the prefix and is answered."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(ignore_https_errors=True)
        page.set_default_timeout(60_000)
        failed = []
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        page.on("request", lambda asked: failed.append(asked.url) if is_foreign(asked.url, shop) else None)
        page.goto(f"{shop}/", wait_until="networkidle")
        yield page
        browser.close()
    assert not failed


@needs_nginx
@pytest.mark.browser
@needs_chromium
def test_a_person_classifies_a_photo_behind_the_proxy(visitor):
    visitor.locator("input[type=file]").first.set_input_files(BELTS)
    visitor.get_by_text("Belts").first.wait_for()


@needs_nginx
@pytest.mark.browser
@needs_chromium
def test_a_person_sorts_a_zip_behind_the_proxy_and_finds_it_again_after_a_reload(visitor, tmp_path):
    name = "ремни/ремень.jpg"
    (tmp_path / "old.zip").write_bytes(zip_of_an_old_pc(BELTS, name.encode("cp866")))
    visitor.get_by_role("tab", name="Sort").click()
    visitor.set_input_files("#workbench input[multiple]", tmp_path / "old.zip")
    card = visitor.locator("#workbench .wb-card", has_text="Belts")
    card.locator("[data-act=pick]").first.click()
    assert name in card.inner_text() and "Accepted by you" in card.inner_text()
    visitor.evaluate("snapshelf.workbench.store.settled()")
    visitor.reload()
    visitor.get_by_role("tab", name="Sort").click()
    card.get_by_text("Accepted by you").wait_for()


@needs_nginx
@pytest.mark.browser
@needs_chromium
def test_a_person_finds_products_behind_the_proxy(visitor):
    visitor.get_by_role("tab", name="Screenshot").click()
    visitor.get_by_role("button", name="Try an example").click()
    visitor.locator(".shot-row").first.wait_for()


def zip_of_an_old_pc(photo: Path, raw: bytes) -> bytes:
    """A zip whose name does not say its encoding, so that the page asks the server."""
    stream, placeholder = io.BytesIO(), "x" * len(raw)
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(placeholder, photo.read_bytes())
    return stream.getvalue().replace(placeholder.encode(), raw)


def is_foreign(address: str, shop: str) -> bool:
    return address.startswith("http") and not address.startswith(f"{shop}/")


@pytest.mark.parametrize("text", ["shop", "https://example.com/shop", "/shop?x=1", "/../etc", "/a b", "//shop"])
def test_a_prefix_that_is_none_is_refused_with_an_example(text):
    with pytest.raises(UserError, match=r"give the path alone, such as /shop"):
        checked_root_path(text)


@pytest.mark.parametrize(("text", "prefix"), [("", ""), ("/", ""), ("/shop", "/shop"), ("/a/b/", "/a/b")])
def test_a_slash_at_the_end_of_a_prefix_does_not_matter(text, prefix):
    assert checked_root_path(text) == prefix


def test_a_proxy_that_is_not_an_address_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--trusted_proxies", "proxy.example"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'proxy.example' is not an address" in error
