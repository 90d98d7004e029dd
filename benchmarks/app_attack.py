"""How the server holds under attack: every attack that once took it down, against a server on this machine.

    python -m benchmarks.app_attack             # four to eight minutes; --seconds 60 is how long hostile images arrive

It starts the server on a free port of 127.0.0.1, attacks it, prints a table with what was found before the limits were
there and what happens now, then sends --requests mixed requests and compares the memory with that before the attacks.
The exit code is 1 where anything does not hold.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle, islice
from typing import NamedTuple

import httpx

from app.errors import OneLineParser, one_line_errors
from benchmarks import attacks
from benchmarks.attacked_server import Probe, Server, attacked_server
from benchmarks.hostile_images import hostile_images
from benchmarks.processes import ROOT, describe_machine

MIB = 2**20
MAX_GROWTH_MIB = 50
MAX_LOG_BYTES = 300_000
HEALTH_SECONDS = 1
HONEST_SECONDS = 2
BATCH_LIMIT = 2
BATCH_IMAGES = 40  # that need a third of a second each
RIGHT = {
    "charset in a form": 400,
    "charset in an upload": 400,
    "charset in JSON": 400,
    "MCP from another page": 403,
    "MCP under another name": 403,
    "MCP from here": 200,
    "a component's route": 404,
    "/metrics through a proxy": 404,
    "/metrics from here": 200,
}
ADDRESSES = {"an uploaded file": 200, "an uploaded file, two ranges": 200, "two Hosts": 400, "two lengths": 400}
FORBIDDEN = {"file=/etc/passwd": 403, "file=/proc/self/environ": 403}  # every other address is 404
PROMISED = {200, 413, 415, 422, 503}


class Line(NamedTuple):
    """One line of the table. found: before there were limits (2 cores)."""

    attack: str
    found: str
    now: str
    holds: bool


def main(argv: list[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    with one_line_errors(parser), attacked_server() as server:
        print(describe_machine(), flush=True)
        attacks.honest_requests(server, 50)
        warm_up(server)
        before = server.resident_mib()
        print("\n| attack | found | now | |\n|---|---|---|---|")
        holds = [printed(line) for attack in ATTACKS for line in attack(server)]
        holds += [printed(batch_limit()), printed(hostile_minute(server, args.seconds))]
        holds.append(printed(mixed(server, args.requests, before)))
    return 0 if all(holds) else 1


def warm_up(server: Server) -> None:
    """Gradio imports matplotlib with its first call and takes 50 MiB for good; threads and decoders come up."""
    url = {"path": None, "url": attacks.data_url(attacks.photo())}
    for _ in range(5):
        attacks.page_answer(server, "classify", [url, "fashion", 1])
    attacks.unfetched_answers(server, 20, MIB)
    hostile_seconds(server, 3)


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m benchmarks.app_attack", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000, help="mixed ones afterwards (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=60, help="of hostile images (default: %(default)s)")
    return parser


def watched(server: Server, attack: Callable[[], object]) -> tuple[object, str, bool]:
    """What the attack returns, the memory and /healthz during it as words, and whether /healthz was in time."""
    server.forget_peak()
    before = server.resident_mib()
    with Probe(server) as probe:
        result = attack()
    words = f"{before:.0f} → {server.resident_mib():.0f} MiB, peak {server.peak_mib():.0f}"
    words += f"; /healthz within {probe.slowest:.2f} s"
    return result, words, probe.slowest <= HEALTH_SECONDS and not probe.failures


def long_bodies(server: Server) -> list[Line]:
    cases: list[tuple[str, str, Callable[[], object]]] = [
        (
            "200 MB of JSON, /queue/join",
            "295 → 671 MiB",
            lambda: attacks.long_json(server, attacks.POSTS[0], 200 * MIB),
        ),
        ("200 MB of JSON, /call", "→ 1,495 MiB", lambda: attacks.long_json(server, attacks.POSTS[1], 200 * MIB)),
        ("200 MB of JSON, MCP", "not tried", lambda: attacks.long_json(server, attacks.POSTS[2], 200 * MIB)),
        ("45 MB of [],[],…", "peak 3,041 MiB, 11 s", lambda: attacks.bushy_json(server, 45 * MIB)),
        (
            "300 MB text field, /upload",
            "1,150 MiB, 500",
            lambda: attacks.long_field(server, attacks.POSTS[3], 300 * MIB),
        ),
        ("300 MB text field, REST", "not tried", lambda: attacks.long_field(server, attacks.POSTS[4], 300 * MIB)),
    ]
    lines = []
    for name, found, attack in cases:
        status, words, holds = watched(server, attack)
        lines.append(Line(name, found, f"{status}; {words}", holds and status in (400, 413)))
    return lines


def unfetched(server: Server) -> list[Line]:
    before = server.resident_mib()
    statuses = attacks.unfetched_answers(server, 150, MIB)
    time.sleep(5)
    growth = server.resident_mib() - before
    return [
        Line("150 calls of 1 MB, never fetched", "261 → 479 MiB", f"{dict(statuses)}; {growth:+.0f} MiB", growth < 50)
    ]


def log(server: Server) -> list[Line]:
    attacks.noisy_requests(server, 3 * MIB)
    text = server.log.read_bytes()
    longest = max(map(len, text.splitlines()), default=0)
    clean = b"\x1b" not in text and b"\nINFO forged" not in text and "\u202e".encode() not in text
    return [
        Line(
            "wrong requests of 3 to 9 MB",
            "400 MB of log",
            f"{len(text) / 1000:.0f} kB of log, longest line {longest} bytes",
            clean and len(text) < MAX_LOG_BYTES and longest < 2000,
        )
    ]


def left_files(server: Server) -> list[Line]:
    before = server.files()
    attacks.misnamed_uploads(server, 3 * MIB)
    left = server.files() - before
    return [Line("misnamed and broken uploads", "stay for good", f"{len(left)} files stay", not left)]


def silence(server: Server) -> list[Line]:
    silent = attacks.silent_sockets(server, 505, 20)
    slow = attacks.slow_uploads(server, 18, 55)
    return [
        Line("505 silent sockets", "503 for everybody", f"honest: {dict(silent)}", set(silent) == {200}),
        Line("18 uploads of 1 byte/s", "54 of 55 refused", f"honest: {dict(slow)}", set(slow) == {200}),
    ]


def odd_requests(server: Server) -> list[Line]:
    statuses, names = attacks.statuses_of_odd_requests(server), attacks.file_names(server)
    wrong = {name: status for name, status in statuses.items() if RIGHT[name] != status}
    page = attacks.get(server, "/", {"X-Forwarded-Host": "evil.example"})
    headers = page.headers
    guarded = headers.get("X-Content-Type-Options") == "nosniff" and "frame-ancestors" in str(
        headers.get("Content-Security-Policy")
    )
    return [
        Line("charset, MCP, /metrics", "500, accepted, open", f"{wrong or 'as promised'}", not wrong),
        Line("nosniff, CSP, frames", "none", "sent" if guarded else "missing", guarded),
        Line(
            "X-Forwarded-Host",
            "in the page",
            "ignored" if "evil" not in page.text else "in it",
            "evil" not in page.text,
        ),
        Line(
            "names in RFC 5987 and 2047", "no file; raw", str(set(names.values())), set(names.values()) == {"été.jpg"}
        ),
    ]


def other_addresses(server: Server) -> list[Line]:
    statuses = attacks.statuses_of_addresses(server)
    wrong = {name: status for name, status in statuses.items() if status != {**ADDRESSES, **FORBIDDEN}.get(name, 404)}
    return [
        Line(
            "Gradio's other addresses, ranges, two Hosts",
            "fetches any address; 500",
            f"{wrong or '404, 400'}",
            not wrong,
        )
    ]


def crowds(server: Server) -> list[Line]:
    streams, words, holds = watched(server, lambda: attacks.open_streams(server, 300, 10))
    before = server.resident_mib()
    server.forget_peak()
    pipelined = attacks.pipelined_requests(server, 200, 1000, 10)
    growth = server.peak_mib() - before
    size = server.log_bytes()
    attacks.flood_of_invalid_requests(server, 2000)
    written = (server.log_bytes() - size) / 1000
    return [
        Line(
            "300 open heartbeats",
            "503 for everybody",
            f"honest: {dict(streams)}; {words}",
            holds and set(streams) == {200},
        ),
        Line(
            "200 connections of 1,000 requests each",
            "not bounded",
            f"honest: {dict(pipelined)}; peak {growth:+.0f} MiB",
            set(pipelined) == {200} and growth < MAX_GROWTH_MIB,
        ),
        Line("2,000 invalid requests", "a line each", f"{written:.0f} kB of log", written < 50),
    ]


ATTACKS = (long_bodies, unfetched, log, left_files, silence, odd_requests, other_addresses, crowds)


def batch_limit() -> Line:
    with attacked_server(MAX_BATCH_SECONDS=BATCH_LIMIT) as server:
        seconds, rows, left_out = attacks.batch_seconds(server, BATCH_IMAGES)
    return Line(
        f"Batch at a limit of {BATCH_LIMIT} s",
        "81.8 s at 5",
        f"{seconds:.1f} s, {left_out} of {rows} rows left out",
        rows == BATCH_IMAGES and 0 < left_out < rows and seconds < BATCH_LIMIT + HONEST_SECONDS,
    )


def hostile_minute(server: Server, seconds: int) -> Line:
    """Honest requests while ten hostile images per second arrive."""
    honest, statuses = hostile_seconds(server, seconds)
    slowest = max(honest, default=0.0)
    now = f"honest: {dict(statuses)}, median {statistics.median(honest):.2f} s, slowest {slowest:.2f} s"
    return Line(
        "10 hostile images per second",
        "78 answers, 42 times 503, 8.1 s",
        now,
        slowest <= HONEST_SECONDS and set(statuses) == {200},
    )


def hostile_seconds(server: Server, seconds: int) -> tuple[list[float], Counter[int | str]]:
    """How long honest requests take meanwhile, and what they get."""
    bodies = [attacks.form(name.encode(), image) for name, image in hostile_images().items()]
    photo = attacks.form(b"a.jpg", (ROOT / "examples" / "belts.jpg").read_bytes())
    honest: list[float] = []
    statuses: Counter[int | str] = Counter()

    async def attack() -> None:
        options = {"base_url": server.address, "timeout": attacks.SECONDS, "headers": attacks.BOUNDARY}
        everything = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(**options, limits=everything) as enemy, httpx.AsyncClient(**options) as friend:
            tasks = []
            for number, body in enumerate(islice(cycle(bodies), 10 * seconds)):
                tasks.append(asyncio.create_task(enemy.post("/v1/classify", content=body)))
                if number % 5 == 0:
                    tasks.append(asyncio.create_task(ask(friend)))
                await asyncio.sleep(0.1)
            await asyncio.gather(*tasks, return_exceptions=True)

    async def ask(client: httpx.AsyncClient) -> None:
        start = time.perf_counter()
        try:
            status: int | str = (await client.post("/v1/classify", content=photo)).status_code
        except httpx.HTTPError as error:
            status = type(error).__name__
        honest.append(time.perf_counter() - start)
        statuses[status] += 1

    asyncio.run(attack())
    return honest, statuses


def mixed(server: Server, requests: int, before: float) -> Line:
    """Right and wrong requests of every kind; then the memory against that before all attacks."""
    photos = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.jpg"))]
    bodies = [*photos, b"no image", photos[0][:500], b""]
    statuses: Counter[int] = Counter()
    with httpx.Client(base_url=server.address, timeout=attacks.SECONDS) as client:
        for number, body in enumerate(islice(cycle(bodies), requests)):
            path = "/gradio_api/upload" if number % 7 == 0 else "/v1/classify"
            answer = client.post(path, files={"files": (f"{number}.jpg", body)})
            statuses[answer.status_code] += 1
            if number % 11 == 0:
                statuses[client.get("/healthz").status_code] += 1
    growth = server.resident_mib() - before
    now = f"{dict(statuses)}; {before:.0f} → {before + growth:.0f} MiB"
    return Line(
        f"{requests:,} mixed requests after it", "", now, growth <= MAX_GROWTH_MIB and set(statuses) <= PROMISED
    )


def printed(line: Line) -> bool:
    """Whether it holds, said at once: some attacks take a minute."""
    print(f"| {line.attack} | {line.found} | {line.now} | {'holds' if line.holds else 'FAILS'} |", flush=True)
    return line.holds


if __name__ == "__main__":
    sys.exit(main())
