"""A polite and safe HTTP client for one request at a time.

Polite: robots.txt (RFC 9309) with Crawl-delay, a pause between two requests to a host, Retry-After and growing pauses
before a retry, a User-Agent that says who asks, opt-outs from machine learning honoured.
Safe: http(s) to public addresses only (public_network.py), also after each redirect; proxies and cookies are never
used; bytes, seconds, redirects and unzipped size are bounded while they arrive. httpx parses addresses and headers,
httpcore connects and Protego reads robots.txt; httpx itself unzips without a bound and has no total time.
"""

import math
import random
import re
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpcore
import httpx
from protego import Protego

from data_prep.scraping.public_network import CheckedNetwork, FetchError, UnsafeAddressError

AGENT = "SnapshelfScraper"
VERSION = "1.0"
MAX_ADDRESS_LENGTH = 4_000
MAX_ROBOTS_BYTES = 512 * 1024  # RFC 9309: at least 500 KiB must be read, the rest may be ignored
MAX_WAIT_S = 120.0  # a host that asks for a longer pause is left alone for this run
BACKOFF_S = 1.0  # before the first retry; doubled before each further one
RETRIED = {408, 425, 429, 500, 502, 503, 504}
REDIRECTS = {301, 302, 303, 307, 308}
OPT_OUTS = {"noai", "noimageai"}  # in X-Robots-Tag and <meta name="robots">
HOST = re.compile(rb"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+")  # a name, IDNA-encoded, or an IP address
GIVE_UP_AFTER = 3  # addresses in a row that failed although retried: the host is left alone for this run


@dataclass(frozen=True)
class Limits:
    """Bounds of one request (seconds, bytes) and of repetition. `total_s` counts from connecting to the last byte."""

    connect_s: float = 10.0
    read_s: float = 15.0
    total_s: float = 60.0
    max_bytes: int = 20_000_000
    redirects: int = 5
    retries: int = 3
    delay_s: float = 1.0


@dataclass(frozen=True)
class Answer:
    """One answer of a server; `body` is unzipped, and empty unless the status is 200."""

    url: str
    status: int
    headers: httpx.Headers
    body: bytes


class Fetcher:
    """Fetches one address at a time. `contact` is an e-mail or web address that the User-Agent shows to site owners."""

    def __init__(self, limits: Limits | None = None, contact: str = "", allow_private: bool = False):
        self.limits = limits or Limits()
        self.agent = f"{AGENT}/{VERSION}" + (f" (+{contact})" if contact else "")
        self._network = CheckedNetwork(allow_private)
        self._pool = httpcore.ConnectionPool(network_backend=self._network, keepalive_expiry=30.0)
        self._robots: dict[str, Protego | FetchError] = {}  # by origin
        self._pauses: dict[str, float] = {}  # host -> seconds between requests, where robots.txt asks for more
        self._last: dict[str, float] = {}  # host -> end of the last request
        self._held: dict[str, float] = {}  # host -> not before
        self._failed: dict[str, int] = {}  # host -> addresses in a row

    def get(self, address: str, max_bytes: int | None = None) -> Answer:
        """The answer with status 200 at `address`, after redirects. Raises FetchError with a reason for a person."""
        host = parse_address(address).host
        if self._failed.get(host, 0) >= GIVE_UP_AFTER:
            raise FetchError(f"host left alone after {GIVE_UP_AFTER} failures in a row: {host}", "later")
        try:
            answer = self._retrying(lambda: self._follow(address, max_bytes or self.limits.max_bytes))
        except FetchError as error:
            self._failed[host] = 0 if error.retry == "never" else self._failed.get(host, 0) + 1
            raise
        self._failed[host] = 0
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _retrying(self, attempt: Callable[[], Answer]) -> Answer:
        count = 0
        while True:
            try:
                return attempt()
            except FetchError as error:
                if error.retry == "now" and error.host:
                    backoff = BACKOFF_S * 2**count * random.uniform(1.0, 1.25)
                    self._held[error.host] = time.monotonic() + max(backoff, error.wait_s)
                if error.retry != "now" or count == self.limits.retries:
                    raise
                count += 1

    def _follow(self, address: str, max_bytes: int, for_robots: bool = False) -> Answer:
        url = parse_address(address)
        for _ in range(self.limits.redirects + 1):
            if not for_robots:
                self._ask_robots(url)
            self._wait(url.host)
            answer = self._send(url, max_bytes, cut=for_robots)
            if answer.status == 200:
                return answer if for_robots else respecting_opt_out(answer)
            if answer.status not in REDIRECTS or "location" not in answer.headers:
                raise status_error(answer, url.host)
            url = redirect_target(url, answer.headers["location"])
        raise FetchError(f"more than {self.limits.redirects} redirects: the last to {shorten(str(url))}")

    def _ask_robots(self, url: httpx.URL) -> None:
        origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
        if origin not in self._robots:
            self._robots[origin] = self._read_robots(origin, url.host)
        rules = self._robots[origin]
        if isinstance(rules, FetchError):
            raise rules
        if not rules.can_fetch(str(url), AGENT):
            raise FetchError(f"not allowed by robots.txt: {origin}/robots.txt")

    def _read_robots(self, origin: str, host: str) -> Protego | FetchError:
        address = f"{origin}/robots.txt"
        try:
            answer = self._retrying(lambda: self._follow(address, MAX_ROBOTS_BYTES, for_robots=True))
        except UnsafeAddressError as error:
            return error
        except FetchError as error:
            if 400 <= error.status < 500 and error.status != 429:
                return Protego.parse("")
            if not error.status:
                return FetchError(error.reason, "later")
            return FetchError(f"robots.txt cannot be read, which forbids all: {origin}: {error.reason}", "later")
        rules = Protego.parse(answer.body.decode("utf-8-sig", "replace"))
        rate = rules.request_rate(AGENT)
        pause = max(rules.crawl_delay(AGENT) or 0.0, rate.seconds / rate.requests if rate else 0.0)
        self._pauses[host] = max(self._pauses.get(host, 0.0), pause)
        return rules

    def _wait(self, host: str) -> None:
        interval = max(self.limits.delay_s, self._pauses.get(host, 0.0))
        ready = max(self._last.get(host, -math.inf) + interval, self._held.get(host, -math.inf))
        pause = ready - time.monotonic()
        if pause > MAX_WAIT_S:
            raise FetchError(f"pause asked for is longer than {MAX_WAIT_S:g} s: {pause:,.0f} s by {host}", "later")
        time.sleep(max(0.0, pause))

    def _send(self, url: httpx.URL, max_bytes: int, cut: bool) -> Answer:
        limits = self.limits
        self._network.deadline = time.monotonic() + limits.total_s
        timeout = {"connect": limits.connect_s, "read": limits.read_s, "write": limits.read_s, "pool": limits.read_s}
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [
            (b"Host", url.netloc),
            (b"User-Agent", self.agent.encode("ascii")),
            (b"Accept", b"image/jpeg,image/png,image/webp,text/html;q=0.9,*/*;q=0.5"),
            (b"Accept-Encoding", b"gzip"),
        ]
        try:
            with self._pool.stream("GET", target, headers=headers, extensions={"timeout": timeout}) as response:
                received = httpx.Headers(response.headers)
                body = read_body(response.iter_stream(), received, max_bytes, cut) if response.status == 200 else b""
                return Answer(str(url), response.status, received, body)
        except FetchError as error:
            error.host = url.host
            raise
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise self._connection_error(error, url.host) from error
        finally:
            self._last[url.host] = time.monotonic()

    def _connection_error(self, error: Exception, host: str) -> FetchError:
        if time.monotonic() >= self._network.deadline:
            return FetchError(f"not complete after {self.limits.total_s:g} s", "later", host)
        if any(isinstance(part, ssl.SSLError) for part in (error, *error.args)):
            return FetchError(f"no secure connection: {host}: {error}", "later", host)
        if isinstance(error, httpcore.ConnectTimeout):
            return FetchError(f"no connection within {self.limits.connect_s:g} s: {host}", "now", host)
        if isinstance(error, httpcore.TimeoutException):
            return FetchError(f"nothing was sent for {self.limits.read_s:g} s: by {host}", "now", host)
        return FetchError(f"connection failed: {host}: {error}", "now", host)


# --- addresses, headers, bodies --------------------------------------------------------------------------------------


def parse_address(address: str) -> httpx.URL:
    """An address that may be requested, without its fragment. Raises UnsafeAddressError naming what is wrong."""
    if len(address) > MAX_ADDRESS_LENGTH:
        raise UnsafeAddressError(f"address too long: {len(address):,} characters, at most {MAX_ADDRESS_LENGTH:,}")
    try:
        url = httpx.URL(address.strip()).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise UnsafeAddressError(f"not an address: {error}") from error
    if url.scheme not in ("http", "https"):
        raise UnsafeAddressError(f"not an http(s) address: {url.scheme or 'no scheme'}")
    if url.userinfo:
        raise UnsafeAddressError("address with a user name or password")
    if not url.host:
        raise UnsafeAddressError("address without a host")
    if not HOST.fullmatch(url.raw_host) or not 0 < (80 if url.port is None else url.port) < 65_536:
        raise UnsafeAddressError(f"not a host and port: {shorten(url.netloc.decode('latin-1'))}")
    return url


def redirect_target(url: httpx.URL, location: str) -> httpx.URL:
    """Where a Location header leads; it passes the same checks as every address."""
    try:
        return parse_address(str(url.join(location)))
    except (httpx.InvalidURL, ValueError, UnsafeAddressError) as error:
        raise UnsafeAddressError(f"redirected to a refused address: {shorten(location)}: {error}") from error


def read_body(chunks: Iterable[bytes], headers: Mapping[str, str], max_bytes: int, cut: bool) -> bytes:
    """At most `max_bytes` of a body, unzipped piece by piece. A longer one is cut, or refused with FetchError."""
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes and not cut:
        raise FetchError(f"too large: {int(length):,} bytes announced, at most {max_bytes:,} are taken")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise FetchError(f"content encoding that was not asked for: {encoding[:40]!r}")
    unzip = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    body, received = bytearray(), 0
    for chunk in chunks:
        received += len(chunk)
        body += unpack(unzip, chunk, max_bytes + 1 - len(body)) if unzip else chunk
        if max(len(body), received) > max_bytes:
            if cut:
                return bytes(body[:max_bytes])
            raise FetchError(f"too large: more than {max_bytes:,} bytes")
    if unzip and not unzip.eof:
        raise FetchError("gzip stream ends early", "now")
    return bytes(body)


def unpack(unzip, chunk: bytes, room: int) -> bytes:
    """At most `room` unzipped bytes, so that a gzip bomb never unfolds."""
    try:
        return unzip.decompress(chunk, room)
    except zlib.error as error:
        raise FetchError(f"gzip stream is damaged: {error}") from error


def status_error(answer: Answer, host: str) -> FetchError:
    """The error of an answer that is neither a page nor a redirect."""
    retry = "now" if answer.status in RETRIED else "later" if answer.status >= 500 else "never"
    wait_s = retry_after(answer.headers.get("retry-after", "")) if retry == "now" else 0.0
    return FetchError(f"HTTP {answer.status}", retry, host, wait_s, answer.status)


def retry_after(value: str) -> float:
    """Seconds of a Retry-After header, given as a number or as a date; 0 when it is missing or wrong."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def respecting_opt_out(answer: Answer) -> Answer:
    """The answer, or FetchError where its owner reserves it: X-Robots-Tag noai, or the TDM reservation protocol."""
    if opts_out(answer.headers.get("x-robots-tag", "")):
        raise FetchError("owner does not allow machine learning: X-Robots-Tag")
    if answer.headers.get("tdm-reservation", "").strip() == "1":
        raise FetchError("owner does not allow machine learning: TDM-Reservation")
    return answer


def opts_out(directives: str) -> bool:
    """Whether robots directives ("noindex, noai") reserve the content against use for machine learning."""
    return not OPT_OUTS.isdisjoint(re.findall(r"\w+", directives.lower()))


def shorten(text: str) -> str:
    """What a reason shows of an address from a server."""
    return text if len(text) <= 200 else text[:200] + "…"
