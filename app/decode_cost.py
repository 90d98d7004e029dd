"""About how long an image takes to decode, from its container: what costs little goes first.

Measured on one core of a Xeon with noise and with flat color of each format; a rough figure is enough.
"""

from collections.abc import Callable

from .containers.base import Container, ImageError

# Seconds per megabyte and per megapixel. A JPEG that is shrunk anyway is decoded at a fraction.
JPEG_SECONDS = 0.02, 0.004
OTHER_SECONDS = {"WEBP": (0.06, 0.017), "AVIF": (0.06, 0.017), "HEIC": (0.06, 0.017), "BMP": (0.002, 0.003)}
USUAL_SECONDS = 0.02, 0.01


class CostlyError(ImageError):
    """An image that would take longer to decode than it may just now. seconds: about how long."""

    def __init__(self, seconds: float) -> None:
        super().__init__("it takes long to decode", "too_large")
        self.seconds = seconds


def expected_seconds(container: Container) -> float:
    rates = JPEG_SECONDS if container.format == "JPEG" else OTHER_SECONDS.get(container.format, USUAL_SECONDS)
    per_megabyte, per_megapixel = rates
    return len(container.data) / 1e6 * per_megabyte + container.width * container.height / 1e6 * per_megapixel


def expected_seconds_of_bytes(num_bytes: int) -> float:
    """Where no more is known than the file's size."""
    return num_bytes / 1e6 * JPEG_SECONDS[0]


def at_most(seconds: float) -> Callable[[Container], None]:
    """A check for load_image, which raises CostlyError."""

    def check(container: Container) -> None:
        expected = expected_seconds(container)
        if expected > seconds:
            raise CostlyError(expected)

    return check
