"""Requests to the REST API: images of the tiny model's colors, forms, a server on a free port."""

import io
import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from PIL import Image

from tests.make_tiny_model import COLOR_FOR_LABEL


def image(label: str = "Tshirts", size: tuple[int, int] = (60, 80)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, COLOR_FOR_LABEL[label]).save(buffer, "PNG")
    return buffer.getvalue()


def post(client: httpx.Client, *files: tuple[str, bytes], **parameters: object) -> httpx.Response:
    return client.post("/v1/classify", files=[("files", file) for file in files], params=parameters)


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The app behind uvicorn on a free port of 127.0.0.1: its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


async def send(app: Any, chunks: Iterable[bytes], length: int | None = None) -> tuple[int, dict, int]:
    """Post a form in chunks straight to the app: status, answer, and how many chunks it read."""
    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    headers += [(b"content-length", str(length).encode())] if length else []
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "headers": headers}
    scope |= {"path": "/v1/classify", "raw_path": b"/v1/classify", "query_string": b"", "root_path": ""}
    scope |= {"scheme": "http", "server": ("test", 80), "client": ("test", 1)}
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    source, sent, read = iter([head, *chunks]), [], 0

    async def receive() -> dict:
        nonlocal read
        chunk = next(source, None)
        read += chunk is not None
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def take(message: dict) -> None:
        sent.append(message)

    await app({**scope}, receive, take)
    return sent[0]["status"], json.loads(sent[1]["body"]), read
