"""How the server holds under load: many clients at once, then many requests while its memory is watched.

    python -m benchmarks.app_load

It starts the server on a free port of 127.0.0.1, sends --requests from --clients at the same time, and reports the
answers by status, the 50th and 95th percentile of the time to an answer, and the server's memory over --memory_requests
further requests. After a 503 with Retry-After a client waits and asks again; any other status than 200 is an error
and makes the exit code 1.

On 2 quiet cores: 200 answers, 46 times 503, no errors, p50 71 ms, p95 757 ms; memory over 2,000 requests 289 292 293
294 294 MiB.
"""

import argparse
import asyncio
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice

import httpx

from app.errors import OneLineParser, UserError, one_line_errors
from benchmarks.processes import ROOT, describe_machine

START_SECONDS = 120
WARM_UP = 200  # requests before memory is watched: threads, buffers and caches come up first
MAX_GROWTH_MIB = 20
STEADY_CLIENTS = 4


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0 no error and no growth, 1 otherwise."""
    parser = build_parser()
    args = parser.parse_args(argv)
    images = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.jpg"))]
    with one_line_errors(parser):
        if args.requests < 2 or args.clients < 1 or args.memory_requests < 0:
            raise UserError("--requests must be at least 2, --clients at least 1 and --memory_requests at least 0")
        with running_server() as address:
            print(f"{describe_machine()}, load {os.getloadavg()[0]:.1f} before the start")
            asyncio.run(send(address, images, 10, 1))
            crowd = asyncio.run(send(address, images, args.requests, args.clients))
            report(crowd, f"{args.requests} requests from {args.clients} clients")
            growth = watch_memory(address, images, args.memory_requests) if args.memory_requests else 0.0
    return 1 if crowd.errors or growth > MAX_GROWTH_MIB else 0


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m benchmarks.app_load", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--clients", type=int, default=50, help="at the same time (default: %(default)s)")
    parser.add_argument("--memory_requests", type=int, default=2000, help="0 leaves this out (default: %(default)s)")
    return parser


class Answers:
    """seconds: of each answered request, from its last try; statuses: of all tries; errors: those but 200 and 503."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: Counter[int | str] = Counter()
        self.started = time.perf_counter()

    @property
    def errors(self) -> dict[int | str, int]:
        return {status: count for status, count in self.statuses.items() if status not in (200, 503)}


async def send(address: str, images: list[bytes], requests: int, clients: int) -> Answers:
    """`clients` share the requests; each sends its next one when the last one is answered."""
    waiting = iter(islice(cycle(images), requests))
    answers = Answers()

    async def one_client() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            for image in waiting:
                while not await answered(client, image, answers):
                    pass

    await asyncio.gather(*[one_client() for _ in range(clients)])
    return answers


async def answered(client: httpx.AsyncClient, image: bytes, answers: Answers) -> bool:
    """One try; False where the server was busy, after the time for which it asked."""
    start = time.perf_counter()
    try:
        response = await client.post("/v1/classify", files={"files": ("photo.jpg", image)})
    except httpx.HTTPError as error:
        answers.statuses[type(error).__name__] += 1
        return True
    answers.statuses[response.status_code] += 1
    if response.status_code == 503:
        await asyncio.sleep(float(response.headers["Retry-After"]))
        return False
    answers.seconds.append(time.perf_counter() - start)
    return True


def report(answers: Answers, title: str) -> None:
    total = time.perf_counter() - answers.started
    cuts = statistics.quantiles(answers.seconds or [0.0, 0.0], n=100, method="inclusive")
    print(
        f"{title}: {answers.statuses[200]} answers, {answers.statuses[503]} times 503, "
        f"errors {answers.errors or 'none'}; p50 {1000 * cuts[49]:.0f} ms, p95 {1000 * cuts[94]:.0f} ms; "
        f"{answers.statuses[200] / total:.0f} answers/s"
    )


def watch_memory(address: str, images: list[bytes], requests: int) -> float:
    """Prints the server's resident memory along the way; returns how many MiB it grew after the warm-up."""
    asyncio.run(send(address, images, min(WARM_UP, requests), STEADY_CLIENTS))
    sizes = [resident_mib(address)]
    for _ in range(4):
        asyncio.run(send(address, images, requests // 4, STEADY_CLIENTS))
        sizes.append(resident_mib(address))
    print(f"memory over {requests} requests: {' '.join(f'{size:.0f}' for size in sizes)} MiB")
    return sizes[-1] - sizes[0]


def resident_mib(address: str) -> float:
    text = httpx.get(f"{address}/metrics").text
    return float(re.search(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)[1]) / 2**20


@contextmanager
def running_server() -> Iterator[str]:
    """The server with the page, in a process of its own: its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "app.server", "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            wait_until_it_answers(process, f"http://127.0.0.1:{port}/healthz")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def wait_until_it_answers(process: subprocess.Popen, address: str) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(address)
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise ChildProcessError("the server did not start; `python -m app.server` shows why")


if __name__ == "__main__":
    sys.exit(main())
