"""One process of app/decode_pool.py: decodes what comes in on its standard input, within limits of memory and time.

It is started by its path, so that it needs neither the main module of the server nor a folder on the module path.
"""

import json
import os
import struct
import sys
from pathlib import Path
from typing import IO, Any

MAX_MEMORY = 400 * 2**20  # bytes above what the process has when it starts; the bound of app/images.py and some room
MAX_CPU_SECONDS = 6  # for one image, three times the bound of app/images.py, for slow machines
READY, IMAGE, ERROR, COSTLY = "ready", "image", "error", "costly"
LENGTHS = struct.Struct(">IQ")  # of a message: its header (JSON) and its content


def main(niceness: int = 0) -> int:
    """niceness: how far this process steps back behind others."""
    _make_importable()
    from app.decode_cost import CostlyError, at_most
    from app.images import ImageError, load_image

    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints must not look like an answer
    limits = Limits()
    while True:
        try:
            header, content = read_message(requests)
        except EOFError:  # the server is gone
            return 0
        if not header:
            write_message(answers, {"kind": READY}, b"")
            continue
        limits.allow_one_image()
        try:
            check = at_most(header["most_seconds"]) if header["most_seconds"] else None
            image = load_image(header["path"] or content, header["target_size"], check)
            answer = {"kind": IMAGE, "width": image.width, "height": image.height}
            content = image.tobytes()
        except CostlyError as error:
            answer, content = {"kind": COSTLY, "seconds": error.seconds}, b""
        except ImageError as error:
            answer, content = {"kind": ERROR, "message": str(error), "error_kind": error.kind}, b""
        except MemoryError:
            answer = {"kind": ERROR, "message": "too large for this machine's memory", "error_kind": "too_large"}
            content = b""
        write_message(answers, answer, content)
        del content


def _make_importable() -> None:
    """This folder, whatever it is called, is the package `app`, as in app.py of a Space."""
    if "app" in sys.modules:
        return
    from importlib.util import module_from_spec, spec_from_file_location

    folder = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if path and Path(path).resolve() != folder]  # its modules are app.NAME
    spec = spec_from_file_location("app", folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec and spec.loader
    sys.modules["app"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["app"])


class Limits:
    """What the operating system holds this process to. Windows has no such limits; the pool's clock is there."""

    def __init__(self) -> None:
        try:
            import resource
        except ImportError:
            self._resource: Any = None
            return
        self._resource = resource
        used = _data_bytes()
        if used:
            _lower(resource, resource.RLIMIT_DATA, used + MAX_MEMORY)
        _lower(resource, resource.RLIMIT_CORE, 0)

    def allow_one_image(self) -> None:
        if self._resource is None:
            return
        usage = self._resource.getrusage(self._resource.RUSAGE_SELF)
        until = int(usage.ru_utime + usage.ru_stime) + 1 + MAX_CPU_SECONDS
        _, hard = self._resource.getrlimit(self._resource.RLIMIT_CPU)
        soft = until if hard == self._resource.RLIM_INFINITY else min(until, hard)
        self._resource.setrlimit(self._resource.RLIMIT_CPU, (soft, hard))


def _lower(resource: Any, name: int, wanted: int) -> None:
    _, hard = resource.getrlimit(name)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(name, (wanted, hard))


def _data_bytes() -> int:
    """What counts for RLIMIT_DATA: memory of this process alone. 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def write_message(stream: IO[bytes], header: dict[str, Any], content: bytes) -> None:
    encoded = json.dumps(header).encode()
    stream.write(LENGTHS.pack(len(encoded), len(content)) + encoded)
    stream.write(content)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Raises EOFError where the other side is gone."""
    header_bytes, content_bytes = LENGTHS.unpack(_read(stream, LENGTHS.size))
    return json.loads(_read(stream, header_bytes)), _read(stream, content_bytes)


def _read(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
