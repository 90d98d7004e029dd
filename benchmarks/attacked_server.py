"""A server to attack on this machine: `python -m app.server` in a process of its own, with its log and its uploads.

with attacked_server(STORED_SECONDS=2) as server:
    httpx.get(f"{server.address}/healthz")
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.processes import ROOT

START_SECONDS = 180
PROBE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Server:
    """uploads: the folder in which it makes its own."""

    port: int
    process: subprocess.Popen
    log: Path
    uploads: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def resident_mib(self) -> float:
        return self._status("VmRSS")

    def peak_mib(self) -> float:
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _status(self, key: str) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{key}:\s+(\d+)", text)[1]) / 1024

    def files(self) -> set[Path]:
        """What lies in its folder, and unfinished uploads beside it."""
        return {path for path in self.uploads.rglob("*") if path.is_file() and path.name != ".lock"}

    def log_bytes(self) -> int:
        return self.log.stat().st_size

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(30)


@contextmanager
def attacked_server(folder: Path | None = None, *options: str, **limits: int) -> Iterator[Server]:
    """folder: for log and uploads, by default a temporary one. limits: of app/limits.py."""
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        uploads, log = place / "uploads", place / "server.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = {**os.environ, "GRADIO_TEMP_DIR": str(uploads), "TMPDIR": str(place), "SNAPSHELF_REVIEW": "0"}
        environment |= {f"SNAPSHELF_{name}": str(value) for name, value in limits.items()}
        command = [sys.executable, "-m", "app.server", "--port", str(port), *options]
        with log.open("wb") as file:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
        server = Server(port, process, log, uploads)
        try:
            wait_until_it_answers(server)
            yield server
        finally:
            if process.poll() is None:
                server.stop()


def wait_until_it_answers(server: Server) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        try:
            httpx.get(f"{server.address}/healthz")
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise ChildProcessError(f"the server did not start: {server.log.read_text()[-500:]}")


class Probe:
    """Asks /healthz all the time. slowest: seconds; failures: how many were not answered with 200."""

    def __init__(self, server: Server) -> None:
        self.server, self.slowest, self.failures, self.asked = server, 0.0, 0, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _ask(self) -> None:
        with httpx.Client(base_url=self.server.address, timeout=20) as client:
            while not (self.asked and self._stop.wait(PROBE_SECONDS)):
                start = time.perf_counter()
                try:
                    self.failures += client.get("/healthz").status_code != 200
                except httpx.HTTPError:
                    self.failures += 1
                self.slowest = max(self.slowest, time.perf_counter() - start)
                self.asked += 1
