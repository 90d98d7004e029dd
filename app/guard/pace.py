"""A request's body, chunk by chunk, from a client that keeps a minimum rate; in a crowd the slowest one has to go."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from .. import limits
from ..limits import BusyError, RequestError

SURE_SECONDS = 1  # a client is called slow after this time at the earliest


class MalformedError(RequestError):
    """A body that is damaged or incomplete."""


class TooSlowError(RequestError):
    """A request that did not arrive in time."""

    def __init__(self) -> None:
        rate = limits.MIN_BYTES_PER_SECOND / 2**10
        super().__init__(f"The request arrived too slowly: it needs {rate:g} KB per second, and an end in a minute.")


class SlowBody:
    """Counts only the time in which the server waits for the client, not that in which it writes or parses."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.waited, self.received = 0.0, 0
        self.ended, self.dismissed = False, False
        self._timeout: asyncio.Timeout | None = None

    async def chunk(self) -> bytes:
        """The next bytes, b"" after the last ones. Raises TooSlowError, MalformedError where the client is gone."""
        while not self.ended:
            left = limits.SLOW_START_SECONDS + self.received / limits.MIN_BYTES_PER_SECOND - self.waited
            if left <= 0 or self.dismissed:
                raise TooSlowError
            start = time.monotonic()
            try:
                async with asyncio.timeout(left) as self._timeout:
                    message = await self.receive()
            except TimeoutError:
                raise TooSlowError from None
            except ClientDisconnect:
                raise MalformedError("The request was cut short.") from None
            finally:
                self._timeout = None
                self.waited += time.monotonic() - start
            if message["type"] == "http.disconnect":
                raise MalformedError("The request was cut short.")
            self.ended = not message.get("more_body", False)
            if body := message.get("body", b""):
                self.received += len(body)
                return body
        return b""

    def rate(self) -> float:
        """Bytes per second of waiting; one that has just begun counts as fast."""
        return self.received / self.waited if self.waited > SURE_SECONDS else float("inf")

    def dismiss(self) -> None:
        self.dismissed = True
        if self._timeout:
            self._timeout.reschedule(asyncio.get_running_loop().time())


class Crowd:
    """The bodies that arrive at this moment. Where there are too many, one below the minimum rate gives way."""

    def __init__(self) -> None:
        self.bodies: set[SlowBody] = set()

    @contextmanager
    def joined(self, body: SlowBody, most: int) -> Iterator[None]:
        """Raises BusyError."""
        if len(self.bodies) >= most and not self._dismiss_one():
            raise BusyError
        self.bodies.add(body)
        try:
            yield
        finally:
            self.bodies.discard(body)

    def _dismiss_one(self) -> bool:
        slowest = min(self.bodies, key=SlowBody.rate, default=None)
        if slowest is None or slowest.rate() >= limits.MIN_BYTES_PER_SECOND:
            return False
        slowest.dismiss()
        self.bodies.discard(slowest)
        return True
