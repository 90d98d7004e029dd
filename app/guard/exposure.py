"""Who may reach what: response headers for browsers, the Host and Origin of MCP calls, proxies, /metrics.

A page that somebody opens in a browser of this machine can send requests to 127.0.0.1, and by DNS rebinding even read
the answers; so a call to MCP must name this machine by its address or by a host that is allowed, and come from there.
"""

import ipaddress
import os
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METRICS = ("off", "local", "on")
MCP = "/gradio_api/mcp"
UPLOADED = "/gradio_api/file="
FORWARDED = b"x-forwarded-"
OTHER_FORWARDED = (b"forwarded", b"x-gradio-server", b"x-original-url", b"x-rewrite-url", b"x-real-ip")
WAS_FORWARDED = "snapshelf.forwarded"  # in the scope of a request that came through a proxy
SPACES = ("https://huggingface.co", "https://*.hf.space")
# Gradio's page has inline scripts and styles, evaluates the templates of gr.HTML, and has workers from blobs.
CONTENT = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"  # a file that somebody uploaded runs nothing


@dataclass(frozen=True, slots=True)
class Exposure:
    """metrics: who may read /metrics: nobody, this machine, everybody. frame_ancestors: pages that may embed this one.

    allowed_hosts: names under which MCP may be called, besides localhost and addresses. trusted_proxies: addresses or
    networks whose X-Forwarded headers count. root_path: the prefix of every address, such as /shop.
    """

    metrics: str = "local"
    frame_ancestors: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    root_path: str = ""

    def ancestors(self) -> tuple[str, ...]:
        return self.frame_ancestors or (SPACES if os.environ.get("SPACE_ID") else ())

    def hosts(self) -> tuple[str, ...]:
        space = os.environ.get("SPACE_HOST", "")
        return (*self.allowed_hosts, "localhost", *([space] if space else []))

    def trusts(self, host: str) -> bool:
        if "*" in self.trusted_proxies:
            return True
        try:
            address = ipaddress.ip_address(host)
            return any(address in ipaddress.ip_network(proxy, strict=False) for proxy in self.trusted_proxies)
        except ValueError:
            return host in self.trusted_proxies

    def shows_metrics_to(self, scope: Scope) -> bool:
        """A proxy on this machine makes everybody local, so what came through one is not."""
        return self.metrics == "on" or (self.metrics == "local" and _is_local(scope))


def _is_local(scope: Scope) -> bool:
    host = scope["client"][0] if scope.get("client") else ""
    try:
        return ipaddress.ip_address(host).is_loopback and not scope.get(WAS_FORWARDED)
    except ValueError:  # no network between: a unix socket, a test
        return not scope.get(WAS_FORWARDED)


class Browsers:
    """ASGI middleware: the headers that browsers obey, and the check of who calls MCP."""

    def __init__(self, app: ASGIApp, exposure: Exposure) -> None:
        self.app, self.exposure = app, exposure
        self.content = f"{CONTENT}; frame-ancestors 'self' {' '.join(exposure.ancestors())}".rstrip()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                headers["Content-Security-Policy"] = SANDBOX if UPLOADED in scope["path"] else self.content
                if not self.exposure.ancestors():
                    headers["X-Frame-Options"] = "SAMEORIGIN"
            await send(message)

        if MCP in scope["path"] and (reason := self.reason_against(Headers(scope=scope))):
            answer = JSONResponse({"code": "forbidden", "message": reason, "files": []}, 403)
            await answer(scope, receive, send_with_headers)
            return
        await self.app(as_called_here(scope) if MCP in scope["path"] else scope, receive, send_with_headers)

    def reason_against(self, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if not self._allowed(host):
            return "This name of the server is not allowed for MCP; start it with --allowed_hosts NAME."
        origin = headers.get("origin")
        authority = (origin or "").partition("://")[2]
        if origin is not None and authority != host and _name(authority) not in self.exposure.allowed_hosts:
            return "Pages of other servers may not call MCP here; start it with --allowed_hosts NAME to let one in."
        return None

    def _allowed(self, host: str) -> bool:
        name = _name(host)
        if name in self.exposure.hosts() or "*" in self.exposure.allowed_hosts:
            return True
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return False


def as_called_here(scope: Scope) -> Scope:
    """Gradio's MCP server calls the page under the Host of its first request, which could be any other machine."""
    host, port = scope.get("server") or ("localhost", None)
    host = f"[{host}]" if ":" in host else host
    headers = [item for item in scope["headers"] if item[0] != b"host" and not _is_forwarded(item[0])]
    headers.append((b"host", (f"{host}:{port}" if port else host).encode()))
    return {**scope, "headers": headers, "scheme": "http"}


def _name(authority: str) -> str:
    """The host without its port."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.rpartition(":")[0] if ":" in authority else authority


class DropForwarded:
    """The outermost middleware: X-Forwarded and the like count only from a proxy that is trusted."""

    def __init__(self, app: ASGIApp, exposure: Exposure) -> None:
        self.app, self.exposure = app, exposure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            forwarded = [item for item in scope["headers"] if _is_forwarded(item[0])]
            peer = scope["client"][0] if scope.get("client") else ""
            if forwarded:
                scope = {**scope, WAS_FORWARDED: True}
                if not self.exposure.trusts(peer):
                    scope["headers"] = [item for item in scope["headers"] if not _is_forwarded(item[0])]
        await self.app(scope, receive, send)


def _is_forwarded(name: bytes) -> bool:
    return name.lower().startswith(FORWARDED) or name.lower() in OTHER_FORWARDED
