"""How fast predict.py classifies, beside torch and the transformers pipeline on the same weights and images.

    python -m benchmarks.inference --pretrained google/mobilenet_v2_1.0_224 --images photos/
    python -m benchmarks.inference --model runs/mobilenet_v2 --images photos/

The second takes a folder that train.py wrote as it is, with its model.int8.onnx if export.py made one. Every contender
runs in a process of its own and they take turns, because a busy machine changes from minute to minute. The stages alone
use all cores, as the whole run does: two stages that share the cores can reach 1 / (1 + faster / slower) of the slower.
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
from functools import partial
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 32  # images before the clock starts
BATCH_SIZE = 4  # app.classifier's; importing it here would raise the peak memory of every process started from here
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
    print(f"{len(args.images)} images, {os.cpu_count()} cores, {processor_name()}\n")
    images = list(islice(cycle(args.images), args.count))
    with tempfile.TemporaryDirectory() as scratch:
        if args.pretrained:
            in_own_process(prepare_model, args.pretrained, scratch)
        folder = scratch if args.pretrained else args.model
        compare_processes(folder, args.images[0], args.repeats)
        compare_folders(folder, images, args.repeats)
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pretrained", help="a Hugging Face checkpoint: a folder or a Hub id")
    source.add_argument("--model", help="a folder that train.py wrote; without safetensors the torch rows are left out")
    parser.add_argument(
        "--images", type=Path, default=ROOT / "examples", help="a folder of images (default: examples/)"
    )
    parser.add_argument("--count", type=int, default=300, help="images to classify; fewer are repeated (default: 300)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, taking turns (default: 3)")
    args = parser.parse_args(argv)
    found = sorted(path for path in args.images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found or args.count < 1 or args.repeats < 1:
        parser.error(f"--images {args.images} must hold .jpg or .png files, --count and --repeats be at least 1")
    if args.model and not Path(args.model, "model.onnx").is_file():
        parser.error(f"--model {args.model} has no model.onnx; take a folder that train.py wrote")
    args.images = [str(path) for path in found[: args.count]]
    return args


def in_own_process(function: Callable, *arguments):
    """A fresh process, because the peak memory of this one would count in every process that it starts."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def prepare_model(pretrained: str, folder: str) -> None:
    """One folder for all contenders: safetensors and ONNX, and preprocessing that both sides understand."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    from export import export_onnx
    from models import torchvision_cpu  # noqa: F401  before transformers

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
    predict = [sys.executable, "predict.py", "--model", folder, "--image_path", image, "--precision"]
    commands = (
        {"transformers pipeline": [sys.executable, "-c", PIPELINE_COMMAND, folder, image]}
        if has_torch_weights(folder)
        else {}
    )
    commands |= {f"predict.py, {precision}": [*predict, precision] for precision in precisions(folder)}
    runs = [[run_process(command) for command in commands.values()] for _ in range(repeats)]
    print("one image, whole process          best s   median s   peak MiB")
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
    contenders: dict[str, tuple[Contender, int]] = {}
    for batch in (1, 32) if has_torch_weights(folder) else ():
        contenders[f"transformers pipeline, batch {batch}"] = (pipeline_contender, batch)
        contenders[f"torch forward alone, batch {batch}"] = (torch_contender, batch)
    for precision in precisions(folder):
        for batch in (1, BATCH_SIZE, 32):
            contenders[f"Classifier {precision}, batch {batch}"] = (partial(classifier_contender, precision), batch)
        contenders[f"  its forward pass alone, {precision}"] = (partial(forward_contender, precision), BATCH_SIZE)
    contenders["  decoding and resizing alone"] = (decoding_contender, BATCH_SIZE)
    runs = [[in_own_process(measure, *one, folder, images) for one in contenders.values()] for _ in range(repeats)]
    print(f"\n{f'{len(images)} images':<34}  best images/s   median   peak MiB   same label")
    reference = max(run[0].images_per_s for run in runs)
    for name, results in zip(contenders, zip(*runs, strict=True), strict=True):
        best = max(result.images_per_s for result in results)
        median = statistics.median(result.images_per_s for result in results)
        peak_mib = max(result.peak_mib for result in results)
        row = f"{name:<34}{best:>8.0f} {f'({best / reference:.1f}x)':<8}{median:>7.0f}{peak_mib:>11.0f}"
        print(row + agreement(runs[0][0].labels, results[0].labels))
    best = {name: max(run[i].images_per_s for run in runs) for i, name in enumerate(contenders)}
    for precision in precisions(folder):
        whole = best[f"Classifier {precision}, batch {BATCH_SIZE}"]
        model, decoding = best[f"  its forward pass alone, {precision}"], best["  decoding and resizing alone"]
        possible = 1 / (1 / model + 1 / decoding)
        print(
            f"{precision}: {whole / min(model, decoding):.0%} of the slower stage, {whole / possible:.0%} of possible"
        )


def precisions(folder: str) -> list[str]:
    return ["fp32", *(["int8"] if Path(folder, "model.int8.onnx").is_file() else [])]


def has_torch_weights(folder: str) -> bool:
    """Whether the folder has the weights that torch and the pipeline read."""
    return Path(folder, "model.safetensors").is_file()


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
    from transformers import pipeline

    from models import torchvision_cpu  # noqa: F401  before transformers

    classify = pipeline("image-classification", model=folder)
    return lambda images: [scores[0]["label"] for scores in classify(images, batch_size=batch_size)]


def torch_contender(folder: str, batch_size: int) -> Callable[[list[str]], list[str]]:
    import torch
    from transformers import AutoModelForImageClassification

    from models import torchvision_cpu  # noqa: F401  before transformers

    size = json.loads(Path(folder, "preprocessor_config.json").read_text())["size"]
    model = AutoModelForImageClassification.from_pretrained(folder).eval().to(memory_format=torch.channels_last)
    pixels = torch.zeros(batch_size, 3, size["height"], size["width"]).to(memory_format=torch.channels_last)

    def forward(images: list[str]) -> list[str]:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                model(pixel_values=pixels[: len(images) - start])
        return []

    return forward


def classifier_contender(precision: str, folder: str, batch_size: int) -> Callable[[list[str]], list[str]]:
    from app.classifier import Classifier

    classifier = Classifier.load(folder, precision=precision)
    return lambda images: [prediction.label for prediction in classifier.stream(images, batch_size=batch_size)]


def decoding_contender(folder: str, batch_size: int) -> Callable[[list[str]], list[str]]:
    from app.classifier import Classifier

    classifier = Classifier.load(folder)

    def decode(images: list[str]) -> None:
        pixels = np.empty((3, *classifier.image_size), dtype=np.float32)
        for image in images:
            classifier.read(image, out=pixels)

    return lambda images: on_all_workers(classifier.workers, decode, images)


def forward_contender(precision: str, folder: str, batch_size: int) -> Callable[[list[str]], list[str]]:
    from app.classifier import Classifier

    classifier = Classifier.load(folder, precision=precision)
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
