"""How fast predict.py classifies, side by side with the transformers pipeline on the same weights and pictures.

    python -m benchmarks.inference --pretrained google/mobilenet_v2_1.0_224 --images photos/

Every contender runs in a process of its own and they take turns, because a busy machine changes from minute to minute.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 32  # images before the clock starts
PIPELINE_COMMAND = (
    "import sys, cpu_torchvision; from transformers import pipeline; "
    "print(pipeline('image-classification', model=sys.argv[1])(sys.argv[2]))"
)


Contender = Callable[[str, int], Callable[[list[str]], list[str]]]  # (folder, batch size) -> (images -> labels)


class Measurement(NamedTuple):
    """One contender in a process of its own. images_per_s leaves loading out, peak_mib is the whole process."""

    images_per_s: float
    peak_mib: float
    labels: list[str]


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    print(f"{len(args.images)} pictures, {os.cpu_count()} cores, {processor_name()}\n")
    with tempfile.TemporaryDirectory() as folder:
        in_own_process(prepare_model, args.pretrained, folder)
        compare_processes(folder, args.images[0], args.repeats)
        compare_folders(folder, list(islice(cycle(args.images), args.count)), args.repeats)
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__.splitlines()[0])
    parser.add_argument("--pretrained", required=True, help="a Hugging Face checkpoint: a folder or a Hub id")
    parser.add_argument(
        "--images", type=Path, default=ROOT / "examples", help="a folder of pictures (default: examples/)"
    )
    parser.add_argument(
        "--count", type=int, default=300, help="pictures to classify; fewer are repeated (default: 300)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, taking turns (default: 3)")
    args = parser.parse_args(argv)
    found = sorted(path for path in args.images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found or args.count < 1 or args.repeats < 1:
        parser.error(f"--images {args.images} must hold .jpg or .png files, --count and --repeats be at least 1")
    args.images = [str(path) for path in found[: args.count]]
    return args


def in_own_process(function: Callable, *arguments):
    """A fresh process, because the peak memory of this one would count in every process that it starts."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def prepare_model(pretrained: str, folder: str) -> None:
    """One folder for all contenders: safetensors and ONNX, and preprocessing that both sides understand."""
    import cpu_torchvision  # noqa: F401  before transformers

    from transformers import AutoImageProcessor, AutoModelForImageClassification

    from export import export_onnx

    model = AutoModelForImageClassification.from_pretrained(pretrained)
    model.save_pretrained(folder)
    original = AutoImageProcessor.from_pretrained(pretrained)
    size = dict(getattr(original, "crop_size", None) or original.size)
    preprocessor = {"image_processor_type": "ViTImageProcessor", "size": size, "resample": int(original.resample)}
    preprocessor |= {key: getattr(original, key) for key in ("image_mean", "image_std", "rescale_factor")}
    Path(folder, "preprocessor_config.json").write_text(json.dumps(preprocessor))
    noise = np.random.default_rng(0).normal(size=(8, 3, size["height"], size["width"]))
    export_onnx(model, noise.astype(np.float32), Path(folder, "model.onnx"))


def compare_processes(folder: str, image: str, repeats: int) -> None:
    commands = {
        "transformers pipeline": [sys.executable, "-c", PIPELINE_COMMAND, folder, image],
        "predict.py": [sys.executable, "predict.py", "--model", folder, "--image_path", image],
    }
    runs = [[run_process(command) for command in commands.values()] for _ in range(repeats)]
    print("one picture, whole process          best s   median s   peak MiB")
    for name, results in zip(commands, zip(*runs, strict=True), strict=True):
        seconds, peaks = zip(*results, strict=True)
        print(f"{name:<34}{min(seconds):>8.2f}{statistics.median(seconds):>11.2f}{max(peaks):>11.0f}")


def run_process(command: list[str]) -> tuple[float, float]:
    """Wall-clock seconds and the largest resident size in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"this command failed: {' '.join(command)}")
    return seconds, usage.ru_maxrss / 1024


def compare_folders(folder: str, images: list[str], repeats: int) -> None:
    contenders: dict[str, tuple[Contender, int]] = {
        "transformers pipeline, batch 1": (pipeline_contender, 1),
        "transformers pipeline, batch 32": (pipeline_contender, 32),
        "Classifier, batch 1": (classifier_contender, 1),
        "Classifier, batch 4 (default)": (classifier_contender, 4),
        "Classifier, batch 32": (classifier_contender, 32),
        "  its decoding and resizing alone": (decoding_contender, 4),
        "  its forward pass alone": (forward_contender, 4),
    }
    runs = [[in_own_process(measure, *one, folder, images) for one in contenders.values()] for _ in range(repeats)]
    print(f"\n{f'{len(images)} pictures':<34}  best images/s   median   peak MiB   same label")
    reference = max(run[0].images_per_s for run in runs)
    for name, results in zip(contenders, zip(*runs, strict=True), strict=True):
        best = max(result.images_per_s for result in results)
        median = statistics.median(result.images_per_s for result in results)
        peak_mib = max(result.peak_mib for result in results)
        row = f"{name:<34}{best:>8.0f} {f'({best / reference:.1f}x)':<8}{median:>7.0f}{peak_mib:>11.0f}"
        print(row + agreement(runs[0][0].labels, results[0].labels))


def agreement(expected: list[str], labels: list[str]) -> str:
    return f"{sum(a == b for a, b in zip(expected, labels, strict=True)) / len(expected):>13.1%}" if labels else ""


def measure(contender: Contender, batch_size: int, folder: str, images: list[str]) -> Measurement:
    classify = contender(folder, batch_size)
    classify(images[:WARM_UP])
    start = time.perf_counter()
    labels = classify(images)
    seconds = time.perf_counter() - start
    return Measurement(len(images) / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, labels)


def pipeline_contender(folder: str, batch_size: int) -> Callable[[list[str]], list[str]]:
    import cpu_torchvision  # noqa: F401  before transformers

    from transformers import pipeline

    classify = pipeline("image-classification", model=folder)
    return lambda images: [scores[0]["label"] for scores in classify(images, batch_size=batch_size)]


def classifier_contender(folder: str, batch_size: int) -> Callable[[list[str]], list[str]]:
    from app.classifier import Classifier

    classifier = Classifier.load(folder)
    return lambda images: [prediction.label for prediction in classifier.stream(images, batch_size=batch_size)]


def decoding_contender(folder: str, batch_size: int) -> Callable[[list[str]], list[str]]:
    from app.classifier import Classifier

    classifier = Classifier.load(folder)

    def decode(images: list[str]) -> None:
        pixels = np.empty((3, *classifier.image_size), dtype=np.float32)
        for image in images:
            classifier.read(image, out=pixels)

    return lambda images: on_all_workers(classifier.workers, decode, images)


def forward_contender(folder: str, batch_size: int) -> Callable[[list[str]], list[str]]:
    from app.classifier import Classifier

    classifier = Classifier.load(folder)
    pixels = np.zeros((batch_size, 3, *classifier.image_size), dtype=np.float32)

    def forward(images: list[str]) -> None:
        for start in range(0, len(images), batch_size):
            classifier.logits(pixels[: len(images) - start])

    return lambda images: on_all_workers(classifier.workers, forward, images)


def on_all_workers(workers: int, work: Callable[[list[str]], None], images: list[str]) -> list[str]:
    """Share the images out; there are no labels to return."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, [images[worker::workers] for worker in range(workers)]))
    return []


def processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


if __name__ == "__main__":
    sys.exit(main())
