"""Where a recorded figure comes from: the command that made it, the commit of the code, the machine."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def command_line(program: str, argv: Sequence[str] | None = None) -> str:
    """What to type to run this again. program: `train.py` or `-m evaluation.automation`; argv: None for sys.argv's."""
    return f"python {program} {shlex.join(sys.argv[1:] if argv is None else argv)}".rstrip()


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def commit() -> str | None:
    """The checkout's commit, with + for uncommitted changes; None outside a checkout."""
    describe = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(describe, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
