"""The page and a REST API in one server, for people and for other services.

    python -m app.server                       # http://127.0.0.1:7860 the page, /docs the API
    curl -F files=@shirt.jpg http://127.0.0.1:7860/v1/classify

Under load on 2 quiet cores (python -m benchmarks.app_load): 200 requests from 50 clients were all answered, 46 got 503
with Retry-After first; p50 71 ms, p95 757 ms.
"""

import argparse
import sys

import uvicorn
from fastapi import FastAPI

from .api.rest import create_api
from .errors import OneLineParser, UserError, one_line_errors
from .service import Service

HOST, PORT = "127.0.0.1", 7860
MAX_CONNECTIONS = 500


def main(argv: list[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        check_port(args.port)
        app = create_app(Service(), page=not args.no_page)
    # No access log: the addresses of a private Space carry a signature.
    uvicorn.run(app, host=args.host, port=args.port, access_log=False, limit_concurrency=MAX_CONNECTIONS)
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m app.server", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default=HOST, help="0.0.0.0 lets other machines in (default: %(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="default: %(default)s")
    parser.add_argument("--no_page", action="store_true", help="the API alone, without the page")
    return parser


def check_port(port: int) -> None:
    if not 0 < port < 65536:
        raise UserError(f"--port {port} is not a port; give a number from 1 to 65535")


def create_app(service: Service, page: bool = True) -> FastAPI:
    """The REST API, and the page at every other address. Raises UserError for a model or dataset that is unusable."""
    app = create_api(service)
    if page:
        from .app import mount_page  # the API alone needs no gradio

        mount_page(app, service)
    return app


if __name__ == "__main__":
    sys.exit(main())
