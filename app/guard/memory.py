"""Memory that was freed goes back to the system: glibc otherwise keeps what a burst of large requests needed."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE = 2**20  # blocks from this size on are mapped by themselves; setting it stops glibc from raising it
ARENAS = 4


def return_freed_memory() -> None:
    """Before any thread starts; without effect where the C library is another."""
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGE)
        library.mallopt(M_TRIM_THRESHOLD, 2 * LARGE)
        library.mallopt(M_ARENA_MAX, ARENAS)
