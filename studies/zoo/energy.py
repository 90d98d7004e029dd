"""The energy of a piece of work, where the machine tells.

    with EnergyMeter() as meter:
        work()
    meter.joules            # None: not measured

On a CPU the counters of RAPL, which count all that the processor packages do; on a GPU its power draw, sampled by
nvidia-smi.
"""

import shutil
import subprocess
import threading
import time
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
SAMPLES_PER_SECOND = 2


class EnergyMeter:
    """joules: of the block, of the GPU where one is used, else of the processor packages; None: not measured."""

    def __init__(self, powercap: Path = POWERCAP, gpu: bool | None = None):
        self.powercap = powercap
        self.gpu = torch.cuda.is_available() if gpu is None else gpu
        self.joules: float | None = None

    def __enter__(self) -> "EnergyMeter":
        self.started = time.monotonic()
        self.watts: list[float] = []
        self.before = {} if self.gpu else package_counters(self.powercap)
        self.sampler = start_sampling(self.watts) if self.gpu else None
        return self

    def __exit__(self, *exception) -> None:
        if self.sampler is not None:
            self.sampler.terminate()
            self.sampler.wait()
        if self.gpu:
            seconds = time.monotonic() - self.started
            self.joules = seconds * sum(self.watts) / len(self.watts) if self.watts else None
            return
        after = package_counters(self.powercap)
        if self.before and after.keys() == self.before.keys():
            self.joules = sum(difference(package, self.before[package], after[package]) for package in after)


def package_counters(powercap: Path) -> dict[Path, int]:
    """Microjoules of each processor package; empty where they cannot be read, such as without the right to."""
    counters = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):  # AMD's processors are listed under this name too
        try:
            if (zone / "name").read_text().startswith("package"):
                counters[zone] = int((zone / "energy_uj").read_text())
        except (OSError, ValueError):
            return {}
    return counters


def difference(zone: Path, before: int, after: int) -> float:
    """Joules between two readings of a counter that begins anew at its range, in about an hour."""
    if after < before:
        after += int((zone / "max_energy_range_uj").read_text())
    return (after - before) / 1e6


def start_sampling(watts: list[float]) -> subprocess.Popen | None:
    """Add the GPU's power draw to the list again and again; None without nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "-i", "0", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
    interval = ["-lms", str(1000 // SAMPLES_PER_SECOND)]
    sampler = subprocess.Popen([*query, *interval], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def read() -> None:
        for line in sampler.stdout:
            if line.strip().replace(".", "", 1).isdigit():  # some GPUs answer [N/A]
                watts.append(float(line))

    threading.Thread(target=read, daemon=True).start()
    return sampler
