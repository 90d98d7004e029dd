"""What training/cpu_speed.py saves on this processor: seconds of a training step without it, with each part and both.

    python -m benchmarks.train_step --pretrained DIR

EfficientNet-Lite2, 32 images at 224 px in bfloat16. Each variant runs in a process of its own, since memory that is
kept stays kept; rounds of all variants alternate, so that a machine whose speed drifts slows all of them. The ratio is
the median over the rounds.
"""

import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import torch

from app.errors import one_line_errors
from benchmarks.processes import ROOT, describe_machine
from models.registry import build_model
from training.arguments import Parser
from training.cpu_speed import depthwise_in_float32, keep_freed_memory

WARM_UP_STEPS = 2
VARIANTS = {  # name: keeps memory, gradients in float32
    "without": (False, False),
    "memory kept": (True, False),
    "gradients in float32": (False, True),
    "both": (True, True),
}


@dataclass(frozen=True)
class Options:
    pretrained: str = field(metadata={"help": "folder with weights"})
    image_size: int = field(default=224, metadata={"help": "side in pixels"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})
    steps: int = field(default=10, metadata={"help": "timed steps per round"})
    rounds: int = field(default=3, metadata={"help": "rounds of all variants"})
    variant: str = field(default="", metadata={"help": "time this one in this process", "choices": ["", *VARIANTS]})


def main(argv: list[str] | None = None) -> None:
    parser = Parser(Options, prog="python -m benchmarks.train_step", description=__doc__.splitlines()[0])
    options = Options(**vars(parser.parse_args(argv)))
    with one_line_errors(parser):
        if options.variant:
            print(f"\n{seconds_of_a_step(options)}")
            return
        given = argv if argv is not None else sys.argv[1:]
        rounds = [{name: in_a_process(given, name) for name in VARIANTS} for _ in range(options.rounds)]
    report(rounds, options)


def in_a_process(given: list[str], variant: str) -> float:
    command = [sys.executable, "-m", "benchmarks.train_step", *given, "--variant", variant]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return float(ended.stdout.splitlines()[-1])


def seconds_of_a_step(options: Options) -> float:
    """The mean of forward and backward pass, in this process."""
    keeps_memory, in_float32 = VARIANTS[options.variant]
    if keeps_memory:
        keep_freed_memory()
    model = build_model(options.pretrained, ["a", "b"], options.image_size, options.pretrained)
    model = model.train().to(memory_format=torch.channels_last)
    pixels = torch.randn(options.batch_size, 3, options.image_size, options.image_size)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    for step in range(WARM_UP_STEPS + options.steps):
        if step == WARM_UP_STEPS:
            start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16), depthwise_in_float32() if in_float32 else nullcontext():
            loss = model(pixel_values=pixels).logits.float().square().mean()
        loss.backward()
        model.zero_grad()
    return (time.perf_counter() - start) / options.steps


def report(rounds: list[dict[str, float]], options: Options) -> None:
    print(
        f"{Path(options.pretrained).name}, {options.batch_size} images, {options.image_size} px, {describe_machine()}"
    )
    for name in VARIANTS:
        seconds = statistics.median(times[name] for times in rounds)
        ratio = statistics.median(times["without"] / times[name] for times in rounds)
        print(f"{name:<20} {seconds:.2f} s a step, {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
