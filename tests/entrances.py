"""Hand files to every entrance of the product and measure what each takes: a table in Markdown.

    python -m tests.entrances FILE_OR_FOLDER [...]

Entrances: predict.py, data_prep.image_folder, the page's /classify_batch through gradio_client, and POST /v1/classify,
the last two against `python -m app.server`. CPU seconds are those of the process and its children; memory is the peak
of all of them together above what they had before (for a command: above the same command with a tiny image).
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from gradio_client import Client, handle_file

from tests.drawings import drawing

ROOT = Path(__file__).resolve().parents[1]
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
SECONDS = 120  # after which a command is called endless
TEXT = 90  # characters of an outcome
CONTAINERS = (".zip", ".tar", ".gz", ".tgz", ".parquet", ".csv", ".xlsx", ".jsonl")  # which data_prep takes as they are


@dataclass
class Measured:
    outcome: str
    seconds: float
    megabytes: float


class Watch:
    """CPU seconds and peak memory of a process with its children, sampled every 20 ms."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak, self.cpu = pid, 0, 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._seen: dict[int, float] = {}
        self.base = self._now()
        self._before = sum(self._seen.values())
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        self._now()
        self.cpu = sum(self._seen.values()) - self._before

    def _sample(self) -> None:
        while not self._ended.wait(0.02):
            self._now()

    def _now(self) -> int:
        memory = 0
        for pid in family(self.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                memory += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
            except (OSError, IndexError):
                continue
            self._seen[pid] = (int(fields[11]) + int(fields[12])) / TICKS
        self.peak = max(self.peak, memory)
        return memory


def family(pid: int) -> list[int]:
    """A process and its children."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(member for child in children for member in family(child))]


def run_command(command: list[str]) -> Measured:
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch = Watch(process.pid)
    try:
        out, err = process.communicate(timeout=SECONDS)
        outcome = f"{process.returncode}: {summary(out, err)}"
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        outcome = f"ENDLESS: more than {SECONDS} s"
    watch.stop()
    return Measured(outcome, watch.cpu, watch.peak / 2**20)


def summary(out: str, err: str) -> str:
    if "Traceback" in err:
        return "TRACEBACK " + err.strip().splitlines()[-1]
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if not lines:
        return (err.strip().splitlines() or out.strip().splitlines() or ["nothing"])[-1]
    return rows_in_words([json.loads(line) for line in lines])


def rows_in_words(rows: list[dict]) -> str:
    errors = [str(row["error"]) for row in rows if row.get("error")]
    return f"{len(rows)} rows, {len(errors)} errors" + (f": {errors[0]}" if errors else f" {rows[0].get('label')}")


def predict(path: Path) -> Measured:
    return run_command([sys.executable, "predict.py", "--image_path", str(path), "--format", "jsonl"])


def prepare(path: Path) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        given = path
        if path.is_file() and path.suffix not in CONTAINERS:
            given = Path(folder) / "input"
            for label in ("one", "two"):
                (given / label).mkdir(parents=True)
                for number in range(4):
                    (given / label / f"{number}.jpg").write_bytes(drawing(number + 10 * (label == "two")))
            shutil.copy(path, given / "one")
        output = Path(folder) / "output"
        command = [sys.executable, "-m", "data_prep.image_folder", "--input", str(given), "--output", str(output)]
        measured = run_command(command)
        rejected = output / "rejected.csv"
        if rejected.exists():
            reasons = rejected.read_text(encoding="utf-8").splitlines()[1:]
            measured.outcome += f"; {len(reasons)} rejected{': ' + reasons[0] if reasons else ''}"
        return measured


@contextmanager
def server() -> Iterator[tuple[int, str]]:
    """Its process and address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "app.server", "--port", str(port)], cwd=ROOT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                httpx.get(f"{address}/healthz", timeout=SECONDS)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield process.pid, address
    finally:
        process.terminate()
        process.wait(30)


def watched(pid: int, call: Callable[[], str]) -> Measured:
    watch = Watch(pid)
    try:
        outcome = call()
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    watch.stop()
    return Measured(outcome, watch.cpu, (watch.peak - watch.base) / 2**20)


def batch(client: Client, path: Path) -> str:
    return rows_in_words(client.predict(files=[handle_file(path)], api_name="/classify_batch"))


def rest(address: str, path: Path) -> str:
    with open(path, "rb") as file:
        response = httpx.post(f"{address}/v1/classify", files=[("files", (path.name, file))], timeout=SECONDS)
    content = response.json()
    return f"{response.status_code} " + (
        rows_in_words(content["results"]) if "results" in content else content["message"]
    )


def main(arguments: list[str]) -> None:
    paths = [
        path for name in arguments for path in ([Path(name)] if Path(name).is_file() else sorted(Path(name).iterdir()))
    ]
    print("| case | entrance | outcome | CPU s | peak MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny.jpg"
        tiny.write_bytes(drawing(1))
        bases = {function: function(tiny).megabytes for function in (predict, prepare)}
        with server() as (pid, address):
            client = Client(address, verbose=False)
            for _ in range(2):  # the first ones load models and start workers
                batch(client, tiny), rest(address, tiny)
            for path in paths:
                for function in (predict, prepare):
                    measured = function(path)
                    measured.megabytes -= bases[function]
                    show(path, function.__name__, measured)
                if path.is_file():
                    show(path, "batch", watched(pid, lambda path=path: batch(client, path)))
                    show(path, "rest", watched(pid, lambda path=path: rest(address, path)))


def show(path: Path, entrance: str, measured: Measured) -> None:
    outcome = " ".join(measured.outcome.split())[:TEXT].replace("|", "/")
    print(f"| {path.name} | {entrance} | {outcome} | {measured.seconds:.1f} | {measured.megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
