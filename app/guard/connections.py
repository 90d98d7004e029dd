"""uvicorn's HTTP protocol with what it lacks: limits for connections that send or read nothing.

uvicorn closes a connection that is idle between requests, but one that never sends a request, or sends its head byte by
byte, or does not read its answer, stays and counts against everybody. Here the oldest silent connection gives way.
"""

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .. import limits
from .addresses import is_stream
from .budget import network
from .exposure import Exposure

MAX_HEAD_BYTES = 2**16
MAX_PIPELINED = 2  # requests that a connection sends before it has its answers; browsers and proxies send none
READ_SECONDS = 60  # for which an answer may wait until its client reads on
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    % limits.RETRY_AFTER_SECONDS
)
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connections:
    """Those of one server. silent: the ones that have not sent the head of a request, the oldest first; streams: the
    ones that only tell that a page is still open."""

    def __init__(self, exposure: Exposure) -> None:
        self.exposure = exposure
        self.silent: dict[PatientProtocol, None] = {}
        self.streams: dict[PatientProtocol, None] = {}
        self.per_client: Counter[str] = Counter()

    def protocol(self, *arguments: Any, **options: Any) -> "PatientProtocol":
        """What uvicorn calls for each connection."""
        return PatientProtocol(self, *arguments, **options)

    def has_room(self, client: str) -> bool:
        """Closes one where there are too many, of this client if it has more than its share."""
        most = limits.MAX_CONNECTIONS
        if self.per_client[client] >= limits.CLIENT_SHARE * most and not self.exposure.trusts(client):
            return self._close_one(client)
        return self.per_client.total() < most or self._close_one(None)

    def _close_one(self, client: str | None) -> bool:
        for protocol in (*self.silent, *self.streams):
            if client in (None, protocol.peer):
                protocol.abort()
                return True
        return False


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """One connection."""

    def __init__(self, connections: Connections, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.everyone = connections
        self.peer = ""
        self.counted = False
        self.head_bytes = 0
        self.in_body = False
        self.head_timer: asyncio.TimerHandle | None = None
        self.read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.peer = network((transport.get_extra_info("peername") or ("",))[0])
        if not self.everyone.has_room(self.peer):
            transport.write(BUSY)
            transport.close()
            self.transport = transport
            return
        self.everyone.per_client[self.peer] += 1
        self.counted = True
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.counted:
            return
        self.counted = False
        self.everyone.streams.pop(self, None)
        self.everyone.per_client[self.peer] -= 1
        if not self.everyone.per_client[self.peer]:
            del self.everyone.per_client[self.peer]
        self._head_has_come()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.counted:
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or (self.cycle is not None and not self.cycle.response_complete):
            self._head_has_come()
            if self.cycle is not before and self.cycle is not None and is_stream(self.cycle.scope):
                self.everyone.streams.setdefault(self)
            return
        if not self._in_body():  # the rest of a body whose request is refused is not kept
            self.head_bytes += len(data)
        if self.head_bytes > MAX_HEAD_BYTES:
            self.transport.write(TOO_LARGE)
            self.transport.close()
        self._wait_for_head()

    def _in_body(self) -> bool:
        parser = getattr(self, "conn", None)  # h11's, where httptools is not installed
        return self.in_body if parser is None else str(parser.their_state) == "SEND_BODY"

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise OverflowError  # the parser stops, and uvicorn answers 400
        super().on_headers_complete()
        self.in_body = True

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.in_body = False

    def _wait_for_head(self) -> None:
        self.everyone.silent.setdefault(self)
        if self.head_timer is None:
            self.head_timer = self.loop.call_later(limits.HEADER_SECONDS, self.abort)

    def _head_has_come(self) -> None:
        self.everyone.silent.pop(self, None)
        self.head_bytes = 0
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.everyone.streams.pop(self, None)
        if self.cycle is None or self.cycle.response_complete:
            self.everyone.silent.setdefault(self)  # it may give way; uvicorn's own timer closes it otherwise

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.read_timer is None:
            self.read_timer = self.loop.call_later(READ_SECONDS, self.abort)

    def resume_writing(self) -> None:
        if self.read_timer is not None:
            self.read_timer.cancel()
            self.read_timer = None
        if self.counted:
            super().resume_writing()

    def abort(self) -> None:
        self._head_has_come()
        self.everyone.streams.pop(self, None)
        self.transport.abort()
