"""train.py as a process of its own: no shell, within limits, killed with everything that it started.

child = Child(train, folder)                   # folder: holds photos.zip; gets model/
while (step := child.step()) is not None:      # a Step, until it has ended
    ...
child.problem()                                # "" where the model is complete
child.kill()
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import limits
from ..errors import EXIT_USAGE
from ..guard.stored import files_in

LAUNCH = Path(__file__).resolve().parent / "launch.py"
PHOTOS, MODEL, PROGRESS = "photos.zip", "model", "progress.jsonl"
STDOUT, STDERR = "stdout.txt", "stderr.txt"
MAX_MESSAGE_BYTES = 2**16  # of what it prints, from the end
# What it may know of this server's environment: where things are, and no key.
PASSED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"),
    *("LD_LIBRARY_PATH", "HF_HOME", "XDG_CACHE_HOME", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"),
)
# For each step of train.py, from where to where it moves the bar, by the time that it takes for some 100 photos.
STEPS = {
    "": (0.0, 0.3),
    "prepare": (0.3, 0.4),
    "features": (0.4, 0.85),
    "fit": (0.85, 0.9),
    "export": (0.9, 0.97),
    "score": (0.97, 1.0),
}
START_SECONDS = 12.0  # until the first step, in which nothing is said
TOO_LONG = "It took longer than is allowed ({seconds:g} s) and was stopped. Try fewer photos."
TOO_LARGE = "It needed more space than is allowed and was stopped. Try fewer or smaller photos."
FAILED = "Teaching did not work with these photos. Try again, or with other photos."


@dataclass(frozen=True, slots=True)
class Step:
    """name: a key of STEPS. share: of the whole, 0 to 1."""

    name: str
    share: float


class Child:
    """One run of train.py. Starts at once."""

    def __init__(self, train: Path, folder: Path) -> None:
        self.folder = folder
        self.started = time.monotonic()
        self._stopped_for = ""
        (folder / "tmp").mkdir(exist_ok=True)
        environment = {name: os.environ[name] for name in PASSED if name in os.environ}
        environment |= {"TMPDIR": str(folder / "tmp"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "tmp")}
        bounds = [limits.MAX_TEACH_MEMORY_BYTES, limits.MAX_TEACH_CPU_SECONDS, limits.MAX_TEACH_DISK_BYTES]
        options = ["--dataset", PHOTOS, "--layout", "classes", "--frozen", "--output_dir", MODEL]
        command = [sys.executable, str(train), *options, "--progress_file", PROGRESS]
        with (folder / STDOUT).open("wb") as out, (folder / STDERR).open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(LAUNCH), *map(str, bounds), *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # its own group, so that one signal ends all that it starts
            )

    def step(self) -> Step | None:
        """Where it is; None when it has ended. Kills it where it takes too much."""
        if self.process.poll() is not None:
            return None
        if time.monotonic() - self.started > limits.MAX_TEACH_SECONDS:
            self.kill(TOO_LONG.format(seconds=limits.MAX_TEACH_SECONDS))
            return None
        if sum(status.st_size for _, status in files_in(self.folder)) > limits.MAX_TEACH_DISK_BYTES:
            self.kill(TOO_LARGE)
            return None
        return self._where()

    def kill(self, reason: str = "") -> None:
        """With all that it has started. reason: what `problem` then says."""
        self._stopped_for = self._stopped_for or reason
        with suppress(ProcessLookupError, PermissionError):  # it may have ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def problem(self) -> str:
        """Why there is no model, "" where it is complete; for a process that has ended."""
        self.kill()  # nothing that it started stays, however it ended
        if self._stopped_for:
            return self._stopped_for
        if self.process.returncode == 0 and (self.folder / MODEL / "model.onnx").is_file():
            return ""
        if self.process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return TOO_LONG.format(seconds=limits.MAX_TEACH_CPU_SECONDS)
        error = last_line(self.folder / STDERR)
        if self.process.returncode == EXIT_USAGE and ": error: " in error:
            return f"{error.partition(': error: ')[2][:300]}."
        return TOO_LARGE if "MemoryError" in error or "alloc" in error or "File too large" in error else FAILED

    def _where(self) -> Step:
        said: dict[str, Any] = {}
        with suppress(ValueError):  # a line that is being written
            said = json.loads(last_line(self.folder / PROGRESS) or "{}")
        name = said.get("step", "")
        if name not in STEPS:
            name = ""
        done, total = said.get("done", 0), said.get("total", 0)
        starting = min(1.0, (time.monotonic() - self.started) / START_SECONDS)
        part = done / total if total else 0.5 if name else starting
        start, end = STEPS[name]
        return Step(name, start + (end - start) * part)


def last_line(path: Path) -> str:
    """Of what was printed, "" for nothing."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_MESSAGE_BYTES))
            lines = file.read(MAX_MESSAGE_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
