"""The download of the Kaggle data, from a stand-in server: broken off, refused, without a network or credentials."""

import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kaggle_archives import fail, simple_archive

from data_prep import kaggle_fashion
from data_prep.pipeline import kaggle_download


class StandIn(ThreadingHTTPServer):
    """Kaggle on this machine: one dataset, sent in ranges, with faults on demand."""

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), StandInHandler)
        self.content = content
        self.status = 200
        self.cut_after = 0  # bytes after which the next answers break off
        self.ranges: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class StandInHandler(BaseHTTPRequestHandler):
    """The call of the API redirects to the file, as Kaggle's does."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        self.send_response(302)
        self.send_header("Location", f"{self.server.address}/file.zip")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        wanted = self.headers.get("Range", "")
        self.server.ranges.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        body = self.server.content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"version-1"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after or None])

    def log_message(self, *_):
        pass


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """A stand-in for Kaggle, and a user without credentials."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    server = StandIn(simple_archive(tmp_path / "content.zip", 12).read_bytes())
    kaggle_download.signed_in_api()  # imports the package before it is patched
    from kaggle.api import kaggle_api_extended
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server.address)
    monkeypatch.setattr(kaggle_api_extended.time, "sleep", lambda seconds: None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_download_works_without_credentials_and_is_kept(tmp_path, kaggle, capsys):
    kaggle_fashion.main(["--output", str(tmp_path / "data" / "out")])
    archive = tmp_path / "data" / "fashion-product-images-small.zip"
    assert archive.read_bytes() == kaggle.content
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'data' / 'out'}: 12 images")
    kaggle_fashion.main(["--output", str(tmp_path / "data" / "again")])
    assert kaggle.ranges == [""]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["again", archive.name, "out"]


def test_a_broken_download_leaves_no_file_and_goes_on_where_it_stopped(tmp_path, kaggle, capsys):
    with zipfile.ZipFile(tmp_path / "content.zip", "a") as archive:
        archive.writestr("myntradataset/padding.bin", bytes(10_000_000))  # kaggle writes a megabyte at a time
    kaggle.content = (tmp_path / "content.zip").read_bytes()
    kaggle.cut_after = 1_500_000
    message = fail(capsys, "--output", str(tmp_path / "data" / "out"))
    assert "cannot be reached" in message and "goes on where it stopped" in message
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".fashion-product-images-small.zip.partial"]
    kaggle.cut_after, kaggle.ranges[:] = 0, []
    kaggle_fashion.main(["--output", str(tmp_path / "data" / "out")])
    assert int(kaggle.ranges[-1].removeprefix("bytes=").removesuffix("-")) > 5_000_000
    assert (tmp_path / "data" / "fashion-product-images-small.zip").read_bytes() == kaggle.content


@pytest.mark.parametrize(
    ("status", "message"), [(403, "KAGGLE_API_TOKEN"), (404, "HTTP 404"), (503, "try again later")]
)
def test_a_refusal_says_what_to_do(tmp_path, kaggle, capsys, status, message):
    kaggle.status = status
    found = fail(capsys, "--output", str(tmp_path / "data" / "out"))
    assert message in found and "--archive" in found


def test_no_network_says_what_to_do(tmp_path, kaggle, capsys):
    kaggle.shutdown()
    kaggle.server_close()
    found = fail(capsys, "--output", str(tmp_path / "data" / "out"))
    assert "check the network" in found and "--archive" in found


def test_something_else_than_a_zip_is_not_kept(tmp_path, kaggle, capsys):
    kaggle.content = b"<html>please sign in</html>"
    assert "is not a zip file" in fail(capsys, "--output", str(tmp_path / "data" / "out"))
    assert not (tmp_path / "data" / "fashion-product-images-small.zip").exists()
