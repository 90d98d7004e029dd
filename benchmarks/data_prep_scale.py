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
import os
import subprocess
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

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_SECONDS = 0.3
MEGABYTE = 1e6
TYPES = ("Tshirts", "Shirts", "Watches", "Sports Shoes", "Handbags")
COLUMNS = ("id", "gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "year", "usage")
TITLE = "productDisplayName"


@dataclass(slots=True)
class Measured:
    """One run of one command. cpu_seconds: of all its processes, which other work on the machine changes little."""

    command: str
    images: int
    seconds: float
    cpu_seconds: float
    memory: int  # bytes
    processes: int


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        runs = [run for count in args.images for run in measure_all(count, args, Path(folder))]
    report(runs, args.images)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[4000, 40000], help="sizes (default: 4000 40000)")
    parser.add_argument("--archive", type=Path, help="zip in Kaggle's layout to take images from")
    parser.add_argument("--num_proc", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--scratch", type=Path, help="folder for temporary files (default: the system's)")
    args = parser.parse_args(argv)
    if min(args.images) < 1:
        parser.error(f"--images {min(args.images)} must be at least 1")
    if args.archive and not args.archive.is_file():
        parser.error(f"no archive {args.archive}")
    return args


def measure_all(count: int, args: argparse.Namespace, folder: Path) -> list[Measured]:
    """Prepare `count` images from a zip, then examine and balance the dataset."""
    archive, dataset = folder / f"{count}.zip", folder / f"prepared_{count}"
    found = sample_archive(args.archive, archive, count) if args.archive else draw_archive(archive, count)
    cores = ["--num_proc", str(args.num_proc)]
    commands = {
        "kaggle_fashion": ["--archive", str(archive), "--output", str(dataset)],
        "doctor": [str(dataset), "--output", str(folder / f"report_{count}")],
        "balance": [str(dataset), "--strategy", "none", "--output", str(folder / f"balanced_{count}")],
    }
    return [measure(name, [*options, *cores], found) for name, options in commands.items()]


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


def measure(name: str, options: Sequence[str], images: int) -> Measured:
    """Run `python -m data_prep.NAME` and watch the memory of its processes. Exits when the command fails."""
    start, used = time.perf_counter(), cpu_seconds_of_children()
    process = subprocess.Popen(
        [sys.executable, "-m", f"data_prep.{name}", *options], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    peak = [0, 0]
    watcher = threading.Thread(target=watch, args=(process, peak))
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - start
    watcher.join()
    if code:
        sys.exit(f"data_prep.{name} failed with exit code {code}")
    return Measured(name, images, seconds, cpu_seconds_of_children() - used, *peak)


def cpu_seconds_of_children() -> float:
    """CPU time of all commands so far, their workers included."""
    times = os.times()
    return times.children_user + times.children_system


def watch(process: subprocess.Popen, peak: list[int]) -> None:
    """Keep the largest memory and the largest number of processes in `peak` until the process ends."""
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        memory, count = 0, 0
        try:
            for one in [parent, *parent.children(recursive=True)]:
                memory += one.memory_full_info().pss
                count += 1
        except psutil.Error:
            pass  # a worker ended between two looks; the next look counts
        peak[0], peak[1] = max(peak[0], memory), max(peak[1], count)
        time.sleep(SAMPLE_SECONDS)


def report(runs: Sequence[Measured], sizes: Sequence[int]) -> None:
    """A Markdown table."""
    print("\n| command | images | seconds | images/s | CPU seconds | peak memory, all processes | processes |")
    print("|---|---|---|---|---|---|---|")
    for run in sorted(runs, key=lambda run: (run.command, run.images)):
        speed = f"{run.seconds:.0f} | {run.images / run.seconds:,.0f} | {run.cpu_seconds:.0f}"
        print(f"| {run.command} | {run.images:,} | {speed} | {run.memory / MEGABYTE:,.0f} MB | {run.processes} |")
    for command in sorted({run.command for run in runs}):
        mine = sorted((run for run in runs if run.command == command), key=lambda run: run.images)
        if len(mine) > 1 and mine[-1].images > mine[0].images:
            growth = (mine[-1].memory - mine[0].memory) / (mine[-1].images - mine[0].images)
            print(f"{command}: {growth / 1000:+.1f} kB of memory for each image more")


if __name__ == "__main__":
    main()
