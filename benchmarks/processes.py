"""Run a command in a process of its own and measure it; what this machine is."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from evaluation.provenance import machine

ROOT = Path(__file__).resolve().parents[1]


class Usage(NamedTuple):
    """cpu_seconds: of the command and its workers. peak_mib: the largest resident size of one of these processes."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def run_command(command: Sequence[str], watch: Callable[[int], None] | None = None) -> Usage:
    """watch gets the process's number when it starts. Raises ChildProcessError where the command fails."""
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log)
        if watch:
            watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            log.seek(0)
            last_line = log.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise ChildProcessError(f"this command failed: {' '.join(command)} ({last_line})")
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def describe_machine() -> str:
    """Cores, architecture, Python and, on Linux, the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return ", ".join([machine(), *names[:1]])
