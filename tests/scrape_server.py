"""A web server on 127.0.0.1 whose pages a test writes, and which remembers what it was asked for and when."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Page = Callable[[BaseHTTPRequestHandler], None]
PUBLIC = "93.184.215.14"  # the address of a public host, which the tests lead to this server


@dataclass
class Site:
    """`site.pages[path]` answers a request; unknown paths give 404. `visits`: (time.monotonic(), path, headers)."""

    url: str
    server: ThreadingHTTPServer
    pages: dict[str, Page] = field(default_factory=dict)
    visits: list[tuple[float, str, dict[str, str]]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    def asked(self, without_robots: bool = True) -> list[str]:
        """The paths asked for, in order."""
        return [path for _, path, _ in self.visits if not (without_robots and path == "/robots.txt")]

    def put(self, path: str, body: bytes | str = b"", status: int = 200, **headers: str) -> str:
        """Serve fixed content; `Retry_After="1"` becomes the header Retry-After. Returns the address."""
        data = body.encode() if isinstance(body, str) else body

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"Content_Length": str(len(data)), **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(data)

        return self.put_page(path, answer)

    def put_page(self, path: str, answer: Page) -> str:
        """Serve what a function writes. Returns the address."""
        self.pages[path] = answer
        return self.url + path

    def put_in_turn(self, path: str, *statuses: int, then: bytes, **headers: str) -> str:
        """Serve errors first, then an image."""
        left = list(statuses)

        def answer(handler: BaseHTTPRequestHandler) -> None:
            turn = f"{path}#{left.pop(0)}" if left else f"{path}#done"
            self.pages[turn](handler)

        for status in statuses:
            self.put(f"{path}#{status}", b"", status, **headers)
        self.put(f"{path}#done", then)
        return self.put_page(path, answer)


class Handler(BaseHTTPRequestHandler):
    """Looks the page up in the site; a client that hangs up is not an error."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site: Site = self.server.site
        site.visits.append((time.monotonic(), self.path, dict(self.headers)))
        page = site.pages.get(self.path)
        try:
            if page:
                page(self)
            else:
                self.send_error(404)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_) -> None:
        """The tests read `visits` instead."""


def drip(piece: bytes, pause_s: float, start: bytes = b"") -> Page:
    """A page that writes `piece` for ever, straight to the socket (so it can be a header that never ends)."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        while not handler.server.closing.is_set():
            handler.wfile.write(piece)
            time.sleep(pause_s)

    return answer


def hang_up_after(answer: Page) -> Page:
    """The same page on a connection that ends with it."""

    def and_close(handler: BaseHTTPRequestHandler) -> None:
        answer(handler)
        handler.close_connection = True

    return and_close


def start_site() -> Site:
    """A running server; stop it with `stop_site`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.closing = threading.Event()
    server.site = Site(f"http://127.0.0.1:{server.server_address[1]}", server)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server.site


def stop_site(site: Site) -> None:
    """Ends the endless pages and the server."""
    site.server.closing.set()
    site.server.shutdown()
    site.server.server_close()
