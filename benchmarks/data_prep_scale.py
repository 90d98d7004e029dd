"""Memory and speed of data_prep on 4,000 and on 40,000 images: memory must not grow with their number.

    python -m benchmarks.data_prep_scale
    python -m benchmarks.data_prep_scale --archive fashion-product-images-small.zip

Without --archive it draws its own images. Each run is the whole command in a process of its own. Memory is the
largest sum over all its processes, shared pages divided among them (PSS, Linux only), sampled while it runs.

The first command on 2 cores, shared with a training run (images/s contain 1 to 3 s of imports):

| command | images | seconds | images/s | peak memory |
|---|---|---|---|---|
| kaggle_fashion | 4,000 | 4 | 948 | 168 MB |
| kaggle_fashion | 40,000 | 18 | 2,267 | 307 MB |
| doctor | 4,000 | 5 | 739 | 396 MB |
| doctor | 40,000 | 19 | 2,108 | 540 MB |
| balance | 4,000 | 2 | 1,872 | 157 MB |
| balance | 40,000 | 6 | 6,388 | 270 MB |
"""

import argparse
import csv
import io
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from app.errors import OneLineParser, UserError, one_line_errors
from benchmarks.processes import Usage, run_command
from data_prep.pipeline.card import table

SAMPLE_SECONDS = 0.3
MEGABYTE = 1e6
TYPES = ("Tshirts", "Shirts", "Watches", "Sports Shoes", "Handbags")
COLUMNS = ("id", "gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "year", "usage")
TITLE = "productDisplayName"


@dataclass(frozen=True)
class Measurement:
    """One run of one command. memory: bytes, the largest sum over its processes."""

    command: str
    images: int
    usage: Usage
    memory: int
    processes: int


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        if min(args.images) < 1:
            raise UserError(f"--images {min(args.images)} must be at least 1")
        if args.archive and not args.archive.is_file():
            raise UserError(f"--archive {args.archive} does not exist")
        with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
            runs = [
                run
                for count in args.images
                for run in measure_all(count, args.archive, ["--num_proc", str(args.num_proc)], Path(folder))
            ]
    report(runs)


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m benchmarks.data_prep_scale", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[4000, 40000], help="sizes (default: 4000 40000)")
    parser.add_argument("--archive", type=Path, help="zip in Kaggle's layout to take images from")
    parser.add_argument("--num_proc", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--scratch", type=Path, help="folder for temporary files (default: the system's)")
    return parser


def measure_all(count: int, source: Path | None, cores: list[str], folder: Path) -> list[Measurement]:
    """Prepare `count` images from a zip, then examine and balance the dataset."""
    archive, dataset = folder / f"{count}.zip", folder / f"prepared_{count}"
    images = sample_archive(source, archive, count) if source else draw_archive(archive, count)
    commands = {
        "kaggle_fashion": ["--archive", str(archive), "--output", str(dataset)],
        "doctor": [str(dataset), "--output", str(folder / f"report_{count}")],
        "balance": [str(dataset), "--strategy", "none", "--output", str(folder / f"balanced_{count}")],
    }
    return [measure(name, [*options, *cores], images) for name, options in commands.items()]


# --- input -----------------------------------------------------------------------------------------------------------


def sample_archive(source: Path, target: Path, count: int) -> int:
    """The first `count` images of an archive with their lines of styles.csv; returns how many there are."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as sample:
        members = sorted(name for name in archive.namelist() if name.endswith(".jpg") and name.count("/") == 1)[:count]
        known = {Path(name).stem for name in members}
        header, *lines = archive.read("styles.csv").decode("utf-8").splitlines()
        kept = [line for line in lines if line.split(",", 1)[0] in known]
        sample.writestr("styles.csv", "\n".join([header, *kept]))
        for name in members:
            sample.writestr(name, archive.read(name))
    return len(members)


def draw_archive(target: Path, count: int) -> int:
    """`count` different soft patterns of 60x80 pixels in Kaggle's layout; returns `count`."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow([*COLUMNS, TITLE])
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(count):
            kind = TYPES[number % len(TYPES)]
            writer.writerow(
                [number, "Men", "Apparel", "Topwear", kind, "Blue", "Fall", 2012, "Casual", f"{kind} {number}"]
            )
            archive.writestr(f"images/{number}.jpg", draw(number))
        archive.writestr("styles.csv", table.getvalue())
    return count


def draw(seed: int) -> bytes:
    """A JPEG about as large as one of Kaggle's."""
    noise = np.random.default_rng(seed).integers(0, 256, (10, 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((60, 80), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=80)
    return stream.getvalue()


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(name: str, options: Sequence[str], images: int) -> Measurement:
    """Run `python -m data_prep.NAME` and watch the memory of its processes."""
    watcher = MemoryWatcher()
    usage = run_command([sys.executable, "-m", f"data_prep.{name}", *options], watcher.start)
    print(f"{name}, {images:,} images: {usage.seconds:.0f} s", flush=True)
    return Measurement(name, images, usage, watcher.memory, watcher.processes)


class MemoryWatcher:
    """The largest memory in bytes and the largest number of processes of a command, its workers included."""

    def __init__(self) -> None:
        self.memory, self.processes = 0, 0

    def start(self, pid: int) -> None:
        threading.Thread(target=self._watch, args=(psutil.Process(pid),)).start()

    def _watch(self, command: psutil.Process) -> None:
        while command.is_running():
            try:
                sizes = [process.memory_full_info().pss for process in [command, *command.children(recursive=True)]]
                self.memory, self.processes = max(self.memory, sum(sizes)), max(self.processes, len(sizes))
            except psutil.Error:
                pass  # a process ended between two looks; the next look counts
            time.sleep(SAMPLE_SECONDS)


def report(runs: Sequence[Measurement]) -> None:
    ordered = sorted(runs, key=lambda run: (run.command, run.images))
    header = ["command", "images", "seconds", "images/s", "CPU seconds", "peak memory, all processes", "processes"]
    rows = []
    for run in ordered:
        speed = [f"{run.usage.seconds:.0f}", f"{run.images / run.usage.seconds:,.0f}", f"{run.usage.cpu_seconds:.0f}"]
        rows.append([run.command, f"{run.images:,}", *speed, f"{run.memory / MEGABYTE:,.0f} MB", run.processes])
    print("", *table(header, rows), sep="\n")
    smallest, largest = {run.command: run for run in reversed(ordered)}, {run.command: run for run in ordered}
    for command, last in largest.items():
        first = smallest[command]
        if last.images > first.images:
            growth = (last.memory - first.memory) / (last.images - first.images)
            print(f"{command}: {growth / 1000:+.1f} kB of memory per additional image")


if __name__ == "__main__":
    main()
