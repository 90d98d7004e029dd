"""Decode images in processes that the operating system can end, so that a fault in a decoder costs one image.

    pool = DecodePool(workers=2)
    image = pool.load(data, target_size=224)     # RGB, upright, or ImageError with the reason, as from load_image
    pool.close()

Workers start with the first image and are started anew when they die. Each runs app/decode_worker.py, which imports
nothing but app.images, and may take MAX_MEMORY more than it has when it starts and MAX_SECONDS for one image.

What takes long to decode (decode_cost.py) has a process of its own, which steps back behind all others. `load_quickly`
raises CostlyError for such an image, before it is decoded, so that the caller can let others go first.
"""

import atexit
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from PIL import Image

from .containers.base import ImageError
from .decode_cost import CostlyError
from .decode_worker import COSTLY, ERROR, IMAGE, MAX_CPU_SECONDS, MAX_MEMORY, read_message, write_message
from .images import ImageSource, TargetSize, check_file, check_num_bytes
from .turns import COSTLY_SECONDS

__all__ = ["MAX_CPU_SECONDS", "MAX_MEMORY", "DecodePool"]

MAX_SECONDS = 20  # of the clock, for one image: the machine may be busy; MAX_CPU_SECONDS ends it earlier
START_SECONDS = 30
LOOK_SECONDS = 0.5  # between two looks at who takes too long
NICENESS = 10  # of the process for what takes long
WORKER = Path(__file__).resolve().parent / "decode_worker.py"
KILLED = "too large (its decoder was stopped: it took too long, too much memory, or failed)"


class Watchdog:
    """Ends processes that take too long. One thread for all: a timer for each image would cost more than decoding it,
    because Python's threads hand over to each other at most every 5 ms."""

    def __init__(self) -> None:
        self._due: dict[subprocess.Popen[bytes], float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def ending(self, process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
        """Kill it where the work inside takes longer."""
        with self._lock:
            self._due[process] = time.monotonic() + seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._due.pop(process, None)

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            with self._lock:
                for process, due in self._due.items():
                    if time.monotonic() > due:
                        process.kill()


watchdog = Watchdog()


class Worker:
    """One process and the pipes to it."""

    def __init__(self, niceness: int = 0) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # it only decodes
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([sys.executable, str(WORKER), str(niceness)], env=environment, **pipes)
        self._request({}, b"", START_SECONDS)

    def load(self, source: str | bytes, target_size: TargetSize, most_seconds: float | None = None) -> Image.Image:
        """Raises ImageError, and CostlyError for an image that would take longer than `most_seconds`; EOFError or
        OSError where the process has died, which it has then."""
        header: dict[str, Any] = {"target_size": target_size, "most_seconds": most_seconds}
        header |= {"path": source if isinstance(source, str) else None}
        answer, content = self._request(header, source if isinstance(source, bytes) else b"", MAX_SECONDS)
        if answer["kind"] == COSTLY:
            raise CostlyError(answer["seconds"])
        if answer["kind"] == ERROR:
            raise ImageError(answer["message"], answer["error_kind"])
        if answer["kind"] != IMAGE:
            raise EOFError
        return Image.frombuffer("RGB", (answer["width"], answer["height"]), content, "raw", "RGB", 0, 1)

    def _request(self, header: dict[str, Any], content: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        with watchdog.ending(self.process, seconds):
            write_message(self._pipe(self.process.stdin), header, content)
            return read_message(self._pipe(self.process.stdout))

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe, "made with pipes"
        return pipe

    def end(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                self._pipe(pipe).close()
            except OSError:  # a message was under way
                continue
        self.process.wait()


class Lane:
    """Some workers of one kind. More callers than workers wait."""

    def __init__(self, workers: int, start: Callable[[], Worker]) -> None:
        self._start = start
        self._slots = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self.idle: list[Worker] = []
        self._closed = False

    def load(self, source: str | bytes, target_size: TargetSize, most_seconds: float | None = None) -> Image.Image:
        """Raises ImageError, also for a decoder that takes too long, takes too much memory or crashes."""
        with self._slots:
            worker = self._take()
            try:
                image = worker.load(source, target_size, most_seconds)
            except ImageError:
                self._put_back(worker)
                raise
            except BaseException as error:
                worker.end()
                if isinstance(error, (EOFError, OSError)):
                    raise ImageError(KILLED, "too_large") from None
                raise
            self._put_back(worker)
            return image

    def close(self) -> None:
        with self._lock:
            self._closed, idle, self.idle = True, self.idle, []
        for worker in idle:
            worker.end()

    def _take(self) -> Worker:
        """An idle worker that lives, or a new one. Raises ImageError where none can be started."""
        while True:
            with self._lock:
                worker = self.idle.pop() if self.idle else None
            if worker is None:
                try:
                    return self._start()
                except (EOFError, OSError):
                    raise ImageError("its decoder could not be started on this machine") from None
            if worker.process.poll() is None:
                return worker
            worker.end()

    def _put_back(self, worker: Worker) -> None:
        with self._lock:
            if not self._closed:
                self.idle.append(worker)
                return
        worker.end()


class DecodePool:
    """Its methods may be called from several threads at once. They raise ImageError.

    An open image needs no decoder and is given back as load_image would.
    """

    def __init__(self, workers: int = 2) -> None:
        self.quick = Lane(workers, Worker)
        self.slow = Lane(1, lambda: Worker(NICENESS))
        atexit.register(self.close)

    def load(self, source: ImageSource, target_size: TargetSize = None) -> Image.Image:
        """What load_image gives for a path or the bytes of a file."""
        source = source() if callable(source) else source
        try:
            return self.load_quickly(source, target_size)
        except CostlyError:
            return self.load_slowly(source, target_size)

    def load_quickly(self, source: ImageSource, target_size: TargetSize = None) -> Image.Image:
        """Raises CostlyError, after a moment, for an image that takes longer than COSTLY_SECONDS."""
        return self._load(self.quick, source, target_size, COSTLY_SECONDS)

    def load_slowly(self, source: ImageSource, target_size: TargetSize = None) -> Image.Image:
        """For those images: in the one process that others go before."""
        return self._load(self.slow, source, target_size, None)

    def _load(self, lane: Lane, source: ImageSource, target_size: TargetSize, most: float | None) -> Image.Image:
        if isinstance(source, Image.Image):
            from .images import load_image

            return load_image(source, target_size)
        return lane.load(_checked(source() if callable(source) else source), target_size, most)

    def close(self) -> None:
        """End all workers that have nothing to do; those at work end after their image."""
        atexit.unregister(self.close)
        self.quick.close()
        self.slow.close()


def _checked(source: str | os.PathLike[str] | bytes) -> str | bytes:
    if isinstance(source, bytes):
        check_num_bytes(len(source))
        return source
    check_file(source)
    return os.path.abspath(source)
