"""The rows of `python -m studies.zoo`: the architectures, and the input size that each gets for its budget.

A new row is one line in ROWS. Everything else about a row is what train.py does by default: the model's learning rate
and layer decay of models/registry.py, augmentation, AdamW, label smoothing.
"""

from dataclasses import dataclass
from pathlib import Path

from models.registry import MODELS
from studies.slash8.rows import SPEED, SPEED_AT

SIZES = (224, 192, 160, 128, 96, 64)
CORES = 2  # of the machine that SPEED is of
WORTHWHILE = {"kaggle": 160, "slash": 320}  # pixels a side; more of them would show nothing more
# How often a budget should show each training image; a larger input has to leave time for that.
PASSES = {"kaggle": (1.25, 3), "slash": (12, 24)}  # with pretrained weights, without


@dataclass(frozen=True)
class Row:
    """An architecture under its name in models/registry.py.

    largest: side of the images that its weights were trained on, or that its authors report. patch: what the
    side has to be a multiple of.
    """

    name: str
    largest: int = 224
    patch: int = 1

    def fits(self, size: int) -> int:
        """The side nearest to `size` that the architecture can read."""
        return max(round(size / self.patch) * self.patch, MODELS[self.name].min_image_size)

    def seconds_per_image(self, size: int) -> float:
        """Of one core."""
        return (size / SPEED_AT) ** 2 * CORES / SPEED[self.name]

    def weights(self, folder: Path, hub: bool) -> str | None:
        """A folder below `folder`, with `hub` else the Hub's id; None: from scratch."""
        own = folder / self.name
        return str(own) if own.is_dir() else MODELS[self.name].checkpoint if hub else None


@dataclass(frozen=True)
class Size:
    """The side of the input in pixels and why it is this."""

    pixels: int
    reason: str


ROWS = (
    Row("basic_cnn", largest=96),
    Row("residual_cnn", largest=96),
    Row("vgg16"),
    Row("resnet18"),
    Row("resnet50"),
    Row("inception_v3", largest=299),
    Row("efficientnet_b0"),
    Row("efficientnet_lite0"),
    Row("efficientnet_lite1", largest=240),
    Row("efficientnet_lite2", largest=260),
    Row("mobilenet_v2"),
    Row("convnext_tiny"),
    Row("vit_tiny", patch=16),
    Row("dinov2_small", patch=14),
)


def best_size(row: Row, task: str, pretrained: bool, images: int, core_seconds: float, gpu: bool) -> Size:
    """The largest input of SIZES at which a training on so many images shows each of them often enough.

    core_seconds: of one training. With a GPU every row gets its full size, as far as the images have so many pixels.
    """
    if gpu:
        side = row.fits(min(row.largest, WORTHWHILE[task]))
        return Size(side, "its full size" if side == row.fits(row.largest) else "the images have 60×80 pixels")
    full = row.fits(row.largest)
    choice = [full, *(row.fits(size) for size in SIZES if size < row.largest)]
    wanted, small = PASSES[task][0 if pretrained else 1], f"smaller than its {full}"
    for size in choice:
        if core_seconds / (images * row.seconds_per_image(size)) >= wanted:
            return Size(size, "its full size" if size == full else f"{small}, to show each image {wanted:g} times")
    passes = core_seconds / (images * row.seconds_per_image(choice[-1]))
    return Size(choice[-1], f"{small}, and still each image only {passes:.1f} times")
