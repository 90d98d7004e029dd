"""The page and a REST API in one server, for people and for other services.

    python -m app.server                       # http://127.0.0.1:7860 the page, /docs the API
    curl -F files=@shirt.jpg http://127.0.0.1:7860/v1/classify

Under load on 2 quiet cores (python -m benchmarks.app_load): 200 requests from 50 clients were all answered, 46 got 503
with Retry-After first; p50 71 ms, p95 757 ms. What happens under attack: python -m benchmarks.app_attack.
"""

import argparse
import ipaddress
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO

import uvicorn
from fastapi import FastAPI
from PIL import Image
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from . import limits
from .api.rest import create_api
from .decode_pool import DecodePool
from .errors import OneLineParser, UserError, one_line_errors
from .guard.bodies import LimitBodies
from .guard.connections import Connections
from .guard.exposure import METRICS, Browsers, DropForwarded, Exposure
from .guard.logs import FORMATS, configuration, logged_prints
from .guard.memory import keep_for_good, returning_freed_memory
from .guard.prefix import TakePrefixOff, checked_root_path
from .guard.stored import emptied, upload_folder
from .service import Service
from .teach.teacher import Teacher, teaching

HOST, PORT = "127.0.0.1", 7860
STOP_SECONDS = 5  # for the requests under way when the server is stopped
EXIT_STOPPED = 143


def main(argv: list[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    with one_line_errors(parser), stopping_cleanly(), upload_folder() as folder, returning_freed_memory():
        check_port(args.port)
        exposure = read_exposure(args)
        with logged_prints(args.log_format), teaching(args.teach and not args.no_page) as teacher:
            app = create_app(Service(pool=started_decoders()), not args.no_page, exposure, teacher)
            keep_for_good()
            with emptied(folder):
                serve(app, args, exposure)
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m app.server", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default=HOST, help="0.0.0.0 lets other machines in (default: %(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="default: %(default)s")
    parser.add_argument("--no_page", action="store_true", help="the API alone, without the page")
    parser.add_argument("--teach", action="store_true", help="the page's tab Teach, in which visitors train models")
    parser.add_argument("--metrics", choices=METRICS, default="local", help="who may read /metrics (default: local)")
    parser.add_argument("--log_format", choices=FORMATS, default="text", help="default: text, one line per event")
    parser.add_argument(
        "--frame_ancestors", nargs="+", default=[], metavar="ORIGIN", help="pages that may embed this one in a frame"
    )
    parser.add_argument("--allowed_hosts", nargs="+", default=[], metavar="NAME", help="names under which MCP answers")
    parser.add_argument(
        "--root_path",
        default=os.environ.get("GRADIO_ROOT_PATH", ""),
        metavar="PATH",
        help="the prefix of every address behind a reverse proxy, such as /shop (default: GRADIO_ROOT_PATH)",
    )
    parser.add_argument(
        "--trusted_proxies", nargs="+", default=[], metavar="ADDRESS", help="proxies whose X-Forwarded headers count"
    )
    return parser


def started_decoders() -> DecodePool:
    """With its processes running, so that the first images need not wait for them."""
    pool, count = DecodePool(limits.MAX_RUNNING), limits.MAX_RUNNING
    sample = BytesIO()
    Image.new("RGB", (8, 8)).save(sample, "PNG")
    with ThreadPoolExecutor(count) as threads:
        list(threads.map(pool.load, [sample.getvalue()] * count))
    return pool


def check_port(port: int) -> None:
    if not 0 < port < 65536:
        raise UserError(f"--port {port} is not a port; give a number from 1 to 65535")


def read_exposure(args: argparse.Namespace) -> Exposure:
    """Raises UserError."""
    for origin in args.frame_ancestors:
        if not origin.startswith(("https://", "http://")) or any(character in origin for character in "; ,'\"\r\n"):
            raise UserError(
                f"--frame_ancestors {origin!r} is not an origin; give https://HOST, such as https://shop.com"
            )
    for proxy in args.trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise UserError(
                f"--trusted_proxies {proxy!r} is not an address; give addresses or networks, such as 10.0.0.0/8"
            ) from None
    return Exposure(
        metrics=args.metrics,
        frame_ancestors=tuple(args.frame_ancestors),
        allowed_hosts=tuple(args.allowed_hosts),
        trusted_proxies=tuple(args.trusted_proxies),
        root_path=checked_root_path(args.root_path),
    )


def create_app(
    service: Service, page: bool = True, exposure: Exposure | None = None, teacher: Teacher | None = None
) -> FastAPI:
    """The REST API, and the page at every other address. Raises UserError for a model or dataset that is unusable.

    teacher: for the page's tab Teach, None for none.
    """
    exposure = exposure or Exposure()
    app = create_api(service, exposure)
    if page:
        from .app import mount_page  # the API alone needs no gradio

        mount_page(app, service, root_path=exposure.root_path, teacher=teacher)
    app.add_middleware(LimitBodies)
    app.add_middleware(Browsers, exposure=exposure)
    if exposure.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(exposure.trusted_proxies))
    app.add_middleware(DropForwarded, exposure=exposure)
    if exposure.root_path:
        app.add_middleware(TakePrefixOff, root_path=exposure.root_path)
    return app


def serve(app: FastAPI, args: argparse.Namespace, exposure: Exposure) -> None:
    """Until it is stopped."""
    uvicorn.run(
        app,
        host=args.host,
        port=args.port,
        http=Connections(exposure).protocol,  # type: ignore[arg-type]
        ws="none",
        access_log=False,  # the addresses of a private Space carry a signature
        log_config=configuration(args.log_format),
        limit_concurrency=limits.MAX_CONNECTIONS + 1,
        timeout_graceful_shutdown=STOP_SECONDS,
        proxy_headers=False,
        server_header=False,
    )


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """SIGTERM ends the server as an exception does, so that the uploads are deleted."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_STOPPED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
