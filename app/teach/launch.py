"""Turns its own process into another command that has less: memory, processor time, bytes per file, and no priority.

    python launch.py MEMORY_BYTES CPU_SECONDS FILE_BYTES COMMAND …

It is started by its path and imports the standard library alone. When the thread that started it ends, so does it.
"""

import ctypes
import os
import platform
import resource
import signal
import sys

NICENESS = 10
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    memory, seconds, file_bytes, *command = argv
    if platform.system() == "Linux":  # elsewhere the server's own clock ends it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        lower(resource.RLIMIT_DATA, int(memory))
    lower(resource.RLIMIT_CPU, int(seconds))
    lower(resource.RLIMIT_FSIZE, int(file_bytes))
    lower(resource.RLIMIT_CORE, 0)
    os.nice(NICENESS)
    os.execv(command[0], command)


def lower(name: int, wanted: int) -> None:
    _, hard = resource.getrlimit(name)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(name, (wanted, wanted))


if __name__ == "__main__":
    main(sys.argv[1:])
