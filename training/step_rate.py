"""What a training step takes on this machine, measured before the start.

rate = Rate.of(arguments)
rate.seconds(160)          # for each image of 160 x 160 pixels
"""

import io
import time
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass

import torch

from models.registry import MODELS, build_model
from training.arguments import Arguments
from training.cpu_speed import depthwise_in_float32
from training.network import autocast

MEASURED_STEPS, MEASURED_IMAGES, MEASURED_SIZES = 3, 32, (64, 128)


@dataclass(frozen=True)
class Rate:
    """What a training step on this machine takes for each image: a share that grows with the pixels, and the rest."""

    fixed: float
    per_pixel: float
    num_weights: int

    def seconds(self, size: int) -> float:
        """For one image of size x size pixels."""
        return self.fixed + self.per_pixel * size**2

    @classmethod
    def of(cls, arguments: Arguments) -> "Rate":
        """Measured at two sizes, since small images use the processor less well than large ones."""
        small, large = (max(size, least_size(arguments)) for size in MEASURED_SIZES)
        (at_small, num_weights), (at_large, _) = (measure(arguments, size) for size in (small, large))
        per_pixel = max(0.0, (at_large - at_small) / max(large**2 - small**2, 1)) or at_small / small**2
        return cls(max(0.0, at_small - per_pixel * small**2), per_pixel, num_weights)


def measure(arguments: Arguments, size: int) -> tuple[float, int]:
    """Seconds per image of the fastest of some training steps, and the number of weights."""
    with redirect_stdout(io.StringIO()):
        model = build_model(arguments.model, ["a", "b"], size, arguments.pretrained, arguments.from_scratch)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model = model.train().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    pixels = torch.zeros(MEASURED_IMAGES, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(MEASURED_STEPS + 1):
        start = time.monotonic()
        with autocast(device), depthwise_in_float32() if device.type == "cpu" else nullcontext():
            loss = model(pixel_values=pixels).logits.float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        times.append(time.monotonic() - start)
    return min(times[1:]) / MEASURED_IMAGES, model.num_parameters()


def least_size(arguments: Arguments) -> int:
    return MODELS[arguments.model].min_image_size if arguments.model in MODELS else 32
