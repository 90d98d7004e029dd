"""The server under a prefix such as /shop behind a reverse proxy, which may take the prefix off or leave it on.

The rest of the server knows nothing of it: the outermost middleware takes the prefix off, the innermost puts it back on
together with the `root_path` of ASGI, from which FastAPI and Gradio make addresses.
"""

import re

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import UserError

ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def checked_root_path(text: str) -> str:
    """The prefix without a slash at its end, "" for none. Raises UserError."""
    path = text.strip().rstrip("/")
    if path and (not ROOT_PATH.fullmatch(path) or ".." in path):
        raise UserError(f"--root_path {text!r} is not a prefix; give the path alone, such as /shop")
    return path


class TakePrefixOff:
    """Outermost. A proxy may have taken the prefix off already."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == self.root_path:
            await RedirectResponse(f"{self.root_path}/")(scope, receive, send)  # or relative addresses would be wrong
            return
        if scope["type"] == "http" and scope["path"].startswith(f"{self.root_path}/"):
            raw_path = scope.get("raw_path", b"").removeprefix(self.root_path.encode())
            scope = {**scope, "path": scope["path"][len(self.root_path) :], "raw_path": raw_path, "root_path": ""}
        await self.app(scope, receive, send)


class PutPrefixOn:
    """Innermost."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw_path = self.root_path.encode() + scope.get("raw_path", b"")
            path = self.root_path + scope["path"]
            scope = {**scope, "path": path, "raw_path": raw_path, "root_path": self.root_path}
        await self.app(scope, receive, send)
