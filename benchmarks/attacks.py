"""The attacks of app_attack.py, each against a running server on this machine; tests/app/ runs them at a smaller size.

Every one is bounded and returns what it saw.
"""

import asyncio
import base64
import io
import json
import socket
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import httpx
from PIL import Image

from benchmarks.attacked_server import Server
from benchmarks.hostile_images import flat

PIECE = 2**20
JSON = {"Content-Type": "application/json"}
BOUNDARY = {"Content-Type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n'
SECONDS = 60
POSTS = (
    "/gradio_api/queue/join",
    "/gradio_api/call/classify",
    "/gradio_api/mcp/",
    "/gradio_api/upload",
    "/v1/classify",
)


def photo(side: int = 64, quality: int = 80) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((side, side), 60).convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def form(name: bytes, image: bytes) -> bytes:
    """A whole form with one file; BOUNDARY goes with it."""
    return PART % (b"files", name) + image + b"\r\n--x--\r\n"


def pieces(piece: bytes, total: int) -> Iterator[bytes]:
    for _ in range(total // len(piece)):
        yield piece


def post(server: Server, path: str, body: Iterable[bytes] | bytes, headers: dict[str, str] = JSON) -> int | str:
    """The status, or the kind of failure."""
    try:
        return httpx.post(f"{server.address}{path}", content=body, headers=headers, timeout=SECONDS).status_code
    except httpx.HTTPError as error:
        return type(error).__name__


def long_json(server: Server, path: str, total: int) -> int | str:
    """One text of `total` bytes, without a stated length."""

    def body() -> Iterator[bytes]:
        yield b'{"fn_index":0,"session_hash":"s","data":["'
        yield from pieces(b"A" * PIECE, total)
        yield b'"]}'

    return post(server, path, body())


def bushy_json(server: Server, total: int) -> int | str:
    return post(server, POSTS[0], pieces(b"[]," * (PIECE // 3), total))


def deep_json(server: Server, depth: int) -> int | str:
    return post(server, POSTS[0], b"[" * depth + b"]" * depth)


def long_field(server: Server, path: str, total: int) -> int | str:
    """A form's text field, which is not a file and so escapes the limit on files."""

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n'
        yield from pieces(b"A" * PIECE, total)

    return post(server, path, body(), BOUNDARY)


def unfetched_answers(server: Server, calls: int, data_bytes: int) -> Counter[int | str]:
    """Calls whose answers nobody asks for. The data-URLs hold a small image and comments."""
    image = photo()
    padding = b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    padded = image[:2] + padding * (data_bytes // len(padding)) + image[2:]
    url = {"path": None, "url": data_url(padded)}
    body = json.dumps({"data": [url, "fashion", 5]}).encode()
    return Counter(post(server, POSTS[1], body) for _ in range(calls))


def noisy_requests(server: Server, total: int) -> None:
    """Requests that are wrong in ways that used to be logged with their bodies, with line breaks and escape codes."""
    text = "\x1b[31mred\r\nINFO forged line\u202e " * (total // 30)
    for body in ({"data": text}, {"fn_index": text, "data": []}, {"data": [text, text, text]}, [text]):
        content = json.dumps(body, ensure_ascii=False).encode()
        for path in (POSTS[0], POSTS[1], POSTS[2], "/gradio_api/cancel", f"/gradio_api/call/{'%0a%1b[31m' * 20}"):
            post(server, path, content)
    raw(server, b"GET /\x1b[31m\r\nx\r\n\r\n")


def raw(server: Server, data: bytes, seconds: float = 5) -> bytes:
    """What a socket answers to these bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(data)
        try:
            return connection.recv(PIECE)
        except OSError:
            return b""


def misnamed_uploads(server: Server, size: int) -> None:
    """A file under another field's name, one whose client leaves, one without an end, one in a broken form."""
    start = PART % (b"other", b"a.bin")
    path = "/gradio_api/upload"
    post(server, path, start + bytes(size) + b"\r\n--x--\r\n", BOUNDARY)
    post(server, path, PART % (b"files", b"b.bin") + bytes(size), BOUNDARY)
    post(server, path, PART % (b"files", b"c.bin") + bytes(size) + b"\r\n--x\r\nbroken", BOUNDARY)
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {2 * size}\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as leaving:
        leaving.sendall(head.encode() + PART % (b"files", b"d.bin") + bytes(size))
    time.sleep(1)


def silent_sockets(server: Server, count: int, honest: int) -> Counter[int | str]:
    """What honest requests get while `count` sockets are open that send nothing, or half a head."""
    return honest_beside(
        server, [b"GET / HTTP/1.1\r\nHost: a\r\nX-Half" * (number % 2) for number in range(count)], honest
    )


def slow_uploads(server: Server, count: int, honest: int) -> Counter[int | str]:
    """The same while `count` uploads arrive, one byte a second each."""

    async def drip(path: str) -> None:
        async def body() -> object:
            yield PART % (b"files", b"slow.jpg")
            for _ in range(SECONDS):
                yield b"x"
                await asyncio.sleep(1)

        try:
            async with httpx.AsyncClient(timeout=SECONDS) as client:
                await client.post(f"{server.address}{path}", content=body(), headers=BOUNDARY)
        except httpx.HTTPError:
            return

    async def attack() -> Counter[int | str]:
        drips = [asyncio.create_task(drip(POSTS[3 + number % 2])) for number in range(count)]
        await asyncio.sleep(1)
        answers = await asyncio.to_thread(honest_requests, server, honest)
        for task in drips:
            task.cancel()
        await asyncio.gather(*drips, return_exceptions=True)
        return answers

    return asyncio.run(attack())


def open_streams(server: Server, count: int, honest: int) -> Counter[int | str]:
    """The same while `count` connections stay open that only ask whether the page lives."""
    heads = [f"GET /gradio_api/heartbeat/s{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for number in range(count)]
    return honest_beside(server, heads, honest)


def pipelined_requests(server: Server, connections: int, requests: int, honest: int) -> Counter[int | str]:
    """The same while each of some connections sends many requests and reads no answer."""
    return honest_beside(server, [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * requests] * connections, honest)


def honest_beside(server: Server, sent: list[bytes], honest: int) -> Counter[int | str]:
    """What honest requests get while a connection stays open for each of these."""
    connections = []
    try:
        for data in sent:
            connections.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            with suppress(OSError):  # closed already
                connections[-1].sendall(data)
        return honest_requests(server, honest)
    finally:
        for connection in connections:
            connection.close()


def flood_of_invalid_requests(server: Server, count: int) -> None:
    for _ in range(count):
        with suppress(OSError):
            raw(server, b"none\r\n\r\n")


def honest_requests(server: Server, count: int) -> Counter[int | str]:
    image = photo()
    statuses: Counter[int | str] = Counter()
    for _ in range(count):
        try:
            answer = httpx.post(f"{server.address}/v1/classify", files={"files": ("a.jpg", image)}, timeout=SECONDS)
            statuses[answer.status_code] += 1
        except httpx.HTTPError as error:
            statuses[type(error).__name__] += 1
    return statuses


def batch_seconds(server: Server, images: int) -> tuple[float, int, int]:
    """How long /classify_batch takes for a zip of images that each need a third of a second; its rows, and how many
    of them were left out for the time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        slow = flat("JPEG", (7000, 7000), progressive=True)
        for number in range(images):
            archive.writestr(f"{number}.jpg", slow)
    files = {"files": ("all.zip", buffer.getvalue())}
    (path,) = httpx.post(f"{server.address}/gradio_api/upload", files=files, timeout=SECONDS).json()
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    start = time.perf_counter()
    rows = page_answer(server, "classify_batch", [[file], "fashion", 1])
    left_out = sum("left out" in (row["error"] or "") for row in rows)
    return time.perf_counter() - start, len(rows), left_out


def page_answer(server: Server, name: str, data: list[object]) -> Any:
    """What a function of the page answers, fetched as its own clients do. Raises ValueError for an error."""
    called = httpx.post(f"{server.address}/gradio_api/call/{name}", json={"data": data}, timeout=SECONDS)
    events = httpx.get(f"{server.address}/gradio_api/call/{name}/{called.json()['event_id']}", timeout=3 * SECONDS)
    return json.loads(events.text.rpartition("event: complete\ndata: ")[2])[0]


def statuses_of_odd_requests(server: Server) -> dict[str, int | str]:
    """What each odd request is answered with; app_attack.py knows what is right."""
    whole = form(b"a.jpg", photo())
    odd_form = {"Content-Type": "multipart/form-data; boundary=x; charset=undefined"}
    odd_json = {"Content-Type": "application/json; charset=undefined"}
    ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    accept = {**JSON, "Accept": "application/json, text/event-stream"}
    mcp = "/gradio_api/mcp/"
    return {
        "charset in a form": post(server, POSTS[4], whole, odd_form),
        "charset in an upload": post(server, POSTS[3], whole, odd_form),
        "charset in JSON": post(server, POSTS[0], b"{}", odd_json),
        "MCP from another page": post(server, mcp, ping, {**accept, "Origin": "https://evil.example"}),
        "MCP under another name": post(server, mcp, ping, {**accept, "Host": "evil.example"}),
        "MCP from here": post(server, mcp, ping, accept),
        "a component's route": post(server, "/gradio_api/component_server", b"{}"),
        "/metrics through a proxy": get(server, "/metrics", {"X-Forwarded-For": "203.0.113.9"}).status_code,
        "/metrics from here": get(server, "/metrics").status_code,
    }


def get(server: Server, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(f"{server.address}{path}", headers=headers, timeout=SECONDS)


def mcp_call_elsewhere(server: Server, elsewhere: str) -> str:
    """What an MCP call under the address of another server is answered; nobody may ask that server for anything."""
    return mcp_call(server, "classify", {"image": data_url(photo())}, {"Host": elsewhere})


def data_url(image: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(image).decode()


def mcp_call(server: Server, tool: str, files: dict[str, object], more_headers: dict[str, str] | None = None) -> str:
    """The answer of one of the page's MCP tools."""
    arguments = {**files, "model": "fashion", "top_k": 1}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {**JSON, "Accept": "application/json, text/event-stream", **(more_headers or {})}
    return httpx.post(f"{server.address}/gradio_api/mcp/", json=call, headers=headers, timeout=SECONDS).text


def statuses_of_addresses(server: Server) -> dict[str, int | str]:
    """What requests get that ask Gradio for other servers, other files or what this page does not have."""
    (path,) = httpx.post(f"{server.address}{POSTS[3]}", files={"files": ("a.jpg", photo())}, timeout=SECONDS).json()
    file, ranges = f"/gradio_api/file={path}", {"Range": "bytes=0-1,3-4"}
    return {
        "an uploaded file": get(server, file).status_code,
        "an uploaded file, two ranges": get(server, file, ranges).status_code,
        **{
            address: get(server, f"/gradio_api/{address}").status_code
            for address in (
                "file=https://example.com/a.jpg",
                "file/https://example.com/a.jpg",
                "proxy=https://example.hf.space/",
                "file=/etc/passwd",
                "file=/proc/self/environ",
                "dev/reload",
                "queue/data?session_hash=none",
                "call/classify/none",
            )
        },
        "two Hosts": int(raw(server, b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")[9:12]),
        "two lengths": int(
            raw(server, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nabcde")[9:12]
        ),
    }


def file_names(server: Server) -> dict[str, str]:
    """The name that comes back for each way of writing one in a form."""
    ways = {
        "RFC 5987": b"filename*=UTF-8''%C3%A9t%C3%A9.jpg",
        "RFC 2047": b'filename="=?UTF-8?B?w6l0w6kuanBn?="',
        "plain UTF-8": 'filename="été.jpg"'.encode(),
    }
    names = {}
    for way, parameter in ways.items():
        head = b'--x\r\nContent-Disposition: form-data; name="files"; ' + parameter + b"\r\n\r\n"
        body = head + photo() + b"\r\n--x--\r\n"
        answer = httpx.post(f"{server.address}/v1/classify", content=body, headers=BOUNDARY, timeout=SECONDS)
        names[way] = answer.json()["results"][0]["file"] if answer.status_code == 200 else str(answer.status_code)
    return names
