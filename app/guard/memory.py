"""Memory that was freed goes back to the system: glibc otherwise keeps what a burst of large requests needed."""

import ctypes
import gc
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE = 4 * 2**20  # blocks from this size on are mapped by themselves; setting it stops glibc from raising it
ARENAS = 4
TRIM_SECONDS = 10  # glibc itself gives back only what is free at the end of an arena


@contextmanager
def returning_freed_memory() -> Iterator[None]:
    """Begin before any other thread starts; without effect where the C library is another."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library, stop = ctypes.CDLL(None), threading.Event()
    library.mallopt(M_MMAP_THRESHOLD, LARGE)
    library.mallopt(M_TRIM_THRESHOLD, 4 * LARGE)
    library.mallopt(M_ARENA_MAX, ARENAS)

    def trim_until_stopped() -> None:
        while not stop.wait(TRIM_SECONDS):
            library.malloc_trim(0)

    threading.Thread(target=trim_until_stopped, daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def keep_for_good() -> None:
    """What exists now is not looked at again when garbage is collected: that gets quick, and garbage goes sooner."""
    gc.collect()
    gc.freeze()
