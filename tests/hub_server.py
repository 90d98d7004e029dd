"""A stand-in for the Hugging Face Hub on 127.0.0.1: it takes a Space and its files, and remembers what it was sent.

Only what creating a repository and uploading a folder ask for, in the words of the Hub's own API; large files go
through Git LFS as they do there. Set HF_ENDPOINT to `hub.url` and HF_HUB_DISABLE_XET=1.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

LFS_SUFFIXES = (".onnx", ".safetensors", ".npy", ".jpg", ".png")  # as in the .gitattributes of a new repository
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """token: the one that may write. created: what each create request asked for. files: path -> content of the Space.

    requests: (method, path) in order. deleted: the paths that commits removed.
    """

    token: str
    url: str = ""
    created: list[dict] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)
    refuse_create: int = 0  # a status to answer with

    def take_commit(self, lines: list[dict]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                self.deleted.append(value["path"])
                self.files.pop(value["path"], None)


class Handler(BaseHTTPRequestHandler):
    """One request of the client library."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub, path = self.record()
        if "/tree/" in path:
            self.answer([{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in hub.files.items()])
        elif "/resolve/" in path:
            self.send_file(hub, path)
        elif path.startswith("/api/models/"):
            self.answer({"id": "me/shirts", "sha": COMMIT, "siblings": [{"rfilename": name} for name in hub.files]})
        elif path.startswith("/api/spaces/") and hub.created:
            self.answer({"id": path.removeprefix("/api/spaces/"), "sha": COMMIT, "siblings": []})
        else:
            self.answer({"error": f"{path} is not part of this stand-in"}, 404)

    do_HEAD = do_GET  # noqa: N815  http.server's own names

    def send_file(self, hub: Hub, path: str) -> None:
        """USER/NAME/resolve/REVISION/FILE, as the Hub sends it."""
        data = hub.files.get(path.split("/", 5)[5])
        if data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def do_POST(self) -> None:
        hub, path = self.record()
        body = self.body()
        if self.headers.get("Authorization") != f"Bearer {hub.token}":
            self.answer({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            self.create(hub, json.loads(body))
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            self.answer({"files": [preupload(file["path"]) for file in json.loads(body)["files"]]})
        elif path.endswith("/info/lfs/objects/batch"):
            self.answer({"transfer": "basic", "objects": [self.upload_action(o) for o in json.loads(body)["objects"]]})
        elif "/commit/" in path:
            hub.take_commit([json.loads(line) for line in body.splitlines()])
            self.answer({"success": True, "commitOid": COMMIT, "commitUrl": f"{hub.url}/spaces/x/y/commit/{COMMIT}"})
        else:
            self.answer({"error": f"{path} is not part of this stand-in"}, 404)

    def do_PUT(self) -> None:
        hub, path = self.record()
        data = self.body()
        hub.large[hashlib.sha256(data).hexdigest()] = data
        self.answer({})

    def create(self, hub: Hub, wanted: dict) -> None:
        if hub.refuse_create:
            self.answer({"error": "You don't have the rights to create a space here"}, hub.refuse_create)
            return
        exists = any(one["name"] == wanted["name"] for one in hub.created)
        hub.created.append(wanted)
        kind = "spaces/" if wanted.get("type") == "space" else ""
        address = f"{hub.url}/{kind}{wanted['organization']}/{wanted['name']}"
        self.answer({"url": address, "error": "already there"}, 409 if exists else 200)

    def upload_action(self, wanted: dict) -> dict:
        return {**wanted, "actions": {"upload": {"href": f"{self.server.hub.url}/large/{wanted['oid']}"}}}

    def record(self) -> tuple[Hub, str]:
        path = urlsplit(self.path).path
        self.server.hub.requests.append((self.command, path))
        return self.server.hub, path

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def answer(self, content: dict | list, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_) -> None:
        """The tests read `requests` instead."""


def preupload(path: str) -> dict:
    return {"path": path, "uploadMode": "lfs" if path.endswith(LFS_SUFFIXES) else "regular", "shouldIgnore": False}


@contextmanager
def running_hub(token: str) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hub = Hub(token, f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
