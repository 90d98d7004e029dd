"""Which requests get to Gradio: those that the page and its clients make.

Gradio has more addresses: /gradio_api/file=https://… and proxy=… fetch from other servers for anybody, others belong to
development or to components that this page does not have, and some keep a connection open for a session that does
not exist.
"""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs
from weakref import WeakSet

from starlette.types import Scope

from ..limits import RequestError
from .pace import MalformedError

GRADIO = "/gradio_api/"
GETS = (
    *("info", "openapi.json", "app_id", "startup-events", "theme.css", "user", "login_check", "file=", "mcp"),
    *("queue/data", "queue/status", "call/", "heartbeat/", "upload_progress"),
)
POSTS = ("queue/join", "call/", "cancel", "reset", "upload", "mcp", "run/", "api/")
OTHER_SERVER = re.compile(r"file=\s*[A-Za-z][A-Za-z0-9+.-]+:")  # a drive of Windows has one letter
ANSWERS = ("queue/data", "call/")
STREAMS = ("heartbeat/", "upload_progress")  # connections that stay open as long as their client likes
RANGE = re.compile(rb"bytes=\d*-\d*")

queues: WeakSet[Any] = WeakSet()  # of the pages in this process: each `knows` its sessions and events


class NoSuchAddressError(RequestError):
    """A route that this server does not have."""

    def __init__(self) -> None:
        super().__init__("There is no such address.")


def check_address(scope: Scope) -> None:
    """Raises NoSuchAddressError."""
    _, found, name = scope["path"].partition(GRADIO)
    if not found:
        return
    reads = scope["method"] in ("GET", "HEAD")
    if not name.startswith(GETS if reads else POSTS) and scope["method"] != "OPTIONS":
        raise NoSuchAddressError
    if reads and OTHER_SERVER.match(name):
        raise NoSuchAddressError
    if (
        reads
        and name.startswith(ANSWERS)
        and queues
        and not any(queue.knows(asked_for(scope, name)) for queue in queues)
    ):
        raise NoSuchAddressError


def asked_for(scope: Scope, name: str) -> str:
    """The session or the event whose answers are to be told."""
    if name.startswith("call/"):
        return name.rstrip("/").rpartition("/")[2]
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", [""])[-1]


def is_stream(scope: Scope) -> bool:
    _, found, name = scope["path"].partition(GRADIO)
    return bool(found) and name.startswith(STREAMS)


def check_host(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises MalformedError for a request that names two servers: a proxy may look at the other one."""
    if sum(name == b"host" for name, _ in headers) > 1:
        raise MalformedError("This request has more than one Host.")


def without_odd_range(scope: Scope) -> Scope:
    """Gradio fails on a Range of several parts; without one it sends the whole file."""
    headers = scope["headers"]
    if all(name != b"range" or RANGE.fullmatch(value) for name, value in headers):
        return scope
    return {**scope, "headers": [item for item in headers if item[0] != b"range"]}
