"""How fast predict.py classifies, beside torch and the transformers pipeline on the same weights and images.

    python -m benchmarks.inference --pretrained google/mobilenet_v2_1.0_224 --images photos/
    python -m benchmarks.inference --model runs/mobilenet_v2 --images photos/

The second takes a folder that train.py wrote as it is, with its model.int8.onnx if export.py made one. Every contender
runs in a process of its own and they take turns, because a busy machine changes from minute to minute. The stages alone
use all cores, as the whole run does: two stages that share the cores can reach 1 / (1 + faster / slower) of the slower.
results/README.md has the figures of the shipped model.
"""

import argparse
import json
import resource
import statistics
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

from app.errors import OneLineParser, UserError, one_line_errors
from benchmarks.processes import ROOT, describe_machine, run_command
from data_prep.pipeline.card import table

WARM_UP = 32  # images before the clock starts
BATCH_SIZE = 4  # app.classifier's; importing it here would raise the peak memory of every process started from here
PIPELINE_COMMAND = (
    "import sys, models.torchvision_cpu; from transformers import pipeline; "
    "print(pipeline('image-classification', model=sys.argv[1])(sys.argv[2]))"
)

Contender = Callable[[str, int], Callable[[list[str]], list[str]]]  # (folder, batch size) -> (images -> labels)


class Measurement(NamedTuple):
    """One contender in a process of its own. images_per_s leaves loading out; peak_mib is the whole process's."""

    images_per_s: float
    peak_mib: float
    labels: list[str]


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    args = parser.parse_args(argv)
    with one_line_errors(parser), tempfile.TemporaryDirectory() as scratch:
        images = find_images(args.images, args.count, args.repeats)
        print(f"{len(images)} images, {describe_machine()}")
        if args.pretrained:
            in_own_process(prepare_model, args.pretrained, scratch)
        elif not Path(args.model, "model.onnx").is_file():
            raise UserError(f"--model {args.model} has no model.onnx; take a folder that train.py wrote")
        folder = args.model or scratch
        compare_processes(folder, images[0], args.repeats)
        compare_folders(folder, list(islice(cycle(images), args.count)), args.repeats)


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m benchmarks.inference", description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pretrained", help="a Hugging Face checkpoint: a folder or a Hub id")
    source.add_argument("--model", help="a folder that train.py wrote; without safetensors the torch rows are left out")
    parser.add_argument("--images", type=Path, default=ROOT / "examples", help="folder of images (default: examples/)")
    parser.add_argument("--count", type=int, default=300, help="images to classify; fewer are repeated (default: 300)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, taking turns (default: 3)")
    return parser


def find_images(folder: Path, count: int, repeats: int) -> list[str]:
    """At most `count` images. Raises UserError."""
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not images or count < 1 or repeats < 1:
        raise UserError(f"--images {folder} must hold .jpg or .png files; --count and --repeats must be at least 1")
    return [str(path) for path in images[:count]]


def in_own_process(function: Callable, *arguments):
    """A fresh process, because the peak memory of this one would count in every process that it starts."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def prepare_model(pretrained: str, folder: str) -> None:
    """One folder for all contenders: safetensors and ONNX, and preprocessing that both sides understand."""
    import models.torchvision_cpu  # noqa: F401  before transformers

    from transformers import AutoImageProcessor, AutoModelForImageClassification

    from models.export_onnx import export_onnx

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
    commands = {f"predict.py, {precision}": [*predict, precision] for precision in precisions(folder)}
    if has_torch_weights(folder):
        commands = {"transformers pipeline": [sys.executable, "-c", PIPELINE_COMMAND, folder, image], **commands}
    runs = [[run_command(command) for command in commands.values()] for _ in range(repeats)]
    rows = []
    for name, usages in zip(commands, zip(*runs, strict=True), strict=True):
        seconds = [usage.seconds for usage in usages]
        peak_mib = max(usage.peak_mib for usage in usages)
        rows.append([name, f"{min(seconds):.2f}", f"{statistics.median(seconds):.2f}", f"{peak_mib:.0f}"])
    print("", *table(["one image, whole process", "best s", "median s", "peak MiB"], rows), sep="\n")


def compare_folders(folder: str, images: list[str], repeats: int) -> None:
    contenders = all_contenders(folder)
    runs = [[in_own_process(measure, *pair, folder, images) for pair in contenders.values()] for _ in range(repeats)]
    measured = dict(zip(contenders, zip(*runs, strict=True), strict=True))
    reference = next(iter(measured.values()))
    best = {name: max(result.images_per_s for result in results) for name, results in measured.items()}
    rows = []
    for name, results in measured.items():
        times = f"{best[name] / max(result.images_per_s for result in reference):.1f}x"
        median = statistics.median(result.images_per_s for result in results)
        peak_mib = max(result.peak_mib for result in results)
        same = agreement(reference[0].labels, results[0].labels)
        rows.append([name, f"{best[name]:.0f}", times, f"{median:.0f}", f"{peak_mib:.0f}", same])
    header = [f"{len(images)} images", "best images/s", "", "median", "peak MiB", "same label"]
    print("", *table(header, rows), "", sep="\n")
    for precision in precisions(folder):
        whole = best[f"Classifier {precision}, batch {BATCH_SIZE}"]
        model, decoding = best[f"its forward pass alone, {precision}"], best["decoding and resizing alone"]
        slower, possible = min(model, decoding), 1 / (1 / model + 1 / decoding)
        print(f"{precision}: {whole / slower:.0%} of the slower stage, {whole / possible:.0%} of possible")


def all_contenders(folder: str) -> dict[str, tuple[Contender, int]]:
    """Each with its batch size; the first is what the others are compared with."""
    contenders: dict[str, tuple[Contender, int]] = {}
    for batch in (1, 32) if has_torch_weights(folder) else ():
        contenders[f"transformers pipeline, batch {batch}"] = (pipeline_contender, batch)
        contenders[f"torch forward alone, batch {batch}"] = (torch_contender, batch)
    for precision in precisions(folder):
        for batch in (1, BATCH_SIZE, 32):
            contenders[f"Classifier {precision}, batch {batch}"] = (partial(classifier_contender, precision), batch)
        contenders[f"its forward pass alone, {precision}"] = (partial(forward_contender, precision), BATCH_SIZE)
    contenders["decoding and resizing alone"] = (decoding_contender, BATCH_SIZE)
    return contenders


def precisions(folder: str) -> list[str]:
    return ["fp32", *(["int8"] if Path(folder, "model.int8.onnx").is_file() else [])]


def has_torch_weights(folder: str) -> bool:
    """Whether the folder has the weights that torch and the pipeline read."""
    return Path(folder, "model.safetensors").is_file()


def agreement(expected: list[str], labels: list[str]) -> str:
    return f"{sum(a == b for a, b in zip(expected, labels, strict=True)) / len(expected):.1%}" if labels else ""


def measure(contender: Contender, batch_size: int, folder: str, images: list[str]) -> Measurement:
    classify = contender(folder, batch_size)
    classify(images[:WARM_UP])
    start = time.perf_counter()
    labels = classify(images)
    seconds = time.perf_counter() - start
    return Measurement(len(images) / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, labels)


def pipeline_contender(folder: str, batch_size: int) -> Callable[[list[str]], list[str]]:
    import models.torchvision_cpu  # noqa: F401  before transformers

    from transformers import pipeline

    classify = pipeline("image-classification", model=folder)
    return lambda images: [scores[0]["label"] for scores in classify(images, batch_size=batch_size)]


def torch_contender(folder: str, batch_size: int) -> Callable[[list[str]], list[str]]:
    import models.torchvision_cpu  # noqa: F401  before transformers

    import torch
    from transformers import AutoModelForImageClassification

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


if __name__ == "__main__":
    main()
