"""What app/push_to_space.py uploads makes a page that starts alone, as on Hugging Face Spaces."""

import os
import re
import socket
import subprocess
import sys
import time
import venv
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app import push_to_space

ROOT = Path(__file__).resolve().parents[2]
MAX_SPACE_SECONDS = 90  # install and start, with the cores to itself
GUARD = """
import socket

connect = socket.socket.connect


def guarded(self, address):
    if self.family != socket.AF_UNIX and str(address[0]) not in ("127.0.0.1", "::1", "localhost"):
        with open({log!r}, "a") as log:
            print(address, file=log)
        raise OSError(f"no network: {{address}}")
    return connect(self, address)


def resolve(host, *arguments, resolve=socket.getaddrinfo, **options):
    if host not in (None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0"):
        with open({log!r}, "a") as log:
            print(host, file=log)
        raise socket.gaierror(f"no network: {{host}}")
    return resolve(host, *arguments, **options)


socket.socket.connect, socket.getaddrinfo = guarded, resolve
"""


def share_of_others() -> float:
    """How many times slower a machine is that others use at the same time."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def environment_of(folder: Path, log: Path) -> Path:
    """A fresh virtual environment with what a Space installs, whose Python reaches this machine only: its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    sdk = push_to_space.front_matter(ROOT / "app")["sdk_version"]
    requirements = folder.parent / "space" / "requirements.txt"
    quiet = ("--quiet", "--disable-pip-version-check")
    command = [python, "-m", "pip", "install", *quiet, "-r", requirements, f"gradio[oauth,mcp]=={sdk}"]
    installed = subprocess.run(command, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    found = subprocess.run([python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True)
    Path(found.stdout.decode().strip(), "sitecustomize.py").write_text(GUARD.format(log=str(log)))
    return python


@contextmanager
def running_space(python: Path, folder: Path):
    """`python app.py` as a Space starts it: the address, once it answers."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), "GRADIO_SERVER_PORT": str(port)}
    with open(folder.parent / "output.txt", "wb") as output:
        process = subprocess.Popen([python, "app.py"], cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        end = time.monotonic() + MAX_SPACE_SECONDS * share_of_others()
        while process.poll() is None and time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        assert process.poll() is None, (folder.parent / "output.txt").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def test_exactly_the_uploaded_files_make_a_page_in_a_folder_of_any_name(tmp_path):
    from gradio_client import Client, handle_file

    space = tmp_path / "home_of-user"
    push_to_space.copy_files(push_to_space.space_files(ROOT), space)
    assert not list(space.rglob("server.py")) + list(space.rglob("push_to_space.py")) + list(space.rglob("rest.py"))
    with running_space(Path(sys.executable), space) as address:
        client = Client(address, verbose=False)
        answer = client.predict(handle_file(ROOT / "examples" / "belts.jpg"), api_name="/classify")
        client.close()
    assert answer["label"] == "Belts"


@pytest.mark.slow
def test_exactly_the_uploaded_files_make_a_page_that_starts_alone_and_classifies(tmp_path):
    from gradio_client import Client, handle_file

    space, log, slowdown = tmp_path / "space", tmp_path / "network.txt", share_of_others()
    push_to_space.copy_files(push_to_space.space_files(ROOT), space)
    start = time.monotonic()
    python = environment_of(tmp_path / "venv", log)
    installed = time.monotonic()
    with running_space(python, space) as address:
        client = Client(address, verbose=False)
        started = time.monotonic()
        answer = client.predict(handle_file(ROOT / "examples" / "belts.jpg"), api_name="/classify")
        client.close()
    print(f"install {installed - start:.0f} s, start {started - installed:.0f} s")
    assert answer["label"] == "Belts"
    assert started - start < MAX_SPACE_SECONDS * max(slowdown, share_of_others())
    assert not log.exists(), log.read_text()
    packages = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True).stdout
    assert not re.search(r"(?m)^(torch|transformers|datasets) ", packages)


def test_the_space_stays_below_30_mb_with_one_graph_per_model():
    files = push_to_space.space_files(ROOT)
    assert sum(path.stat().st_size for path in files.values()) < 30e6
    assert {name for name in files if name.endswith("onnx")} == {
        "models/fashion/model.onnx",
        "models/fashion/titles.onnx",
        "models/slash8/model.onnx",
    }
