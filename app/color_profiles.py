"""Colors as the sRGB that models are trained on: ICC profiles of screens, cameras and printers.

The color engine is loaded for the first profile that is not sRGB already; almost no image needs it.
"""

import io
import struct
from collections.abc import Callable
from functools import lru_cache

from PIL import Image

Transform = Callable[[Image.Image], Image.Image]
SPACES = {b"RGB ": ("RGB", "RGBA"), b"CMYK": ("CMYK",), b"GRAY": ("L", "LA")}
SRGB_COLUMNS = {b"rXYZ": (0.4361, 0.2225, 0.0139), b"gXYZ": (0.3851, 0.7169, 0.0971), b"bXYZ": (0.1431, 0.0606, 0.7141)}
CLOSE = 0.003  # profiles of sRGB differ by this much
MAX_TAGS = 100
FEW_LEVELS = 2  # a profile that changes no color by more is left aside
CURVE_POINTS = ((0.1, 0.01002), (0.25, 0.05088), (0.5, 0.21404), (0.75, 0.52252))  # of sRGB: coded, linear


def to_srgb(profile: bytes, mode: str) -> Transform | None:
    """What turns an image of this mode into RGB, with alpha into RGBA; None if nothing changes or can be done."""
    if mode not in SPACES.get(profile[16:20], ()) or (mode in ("RGB", "RGBA") and is_srgb(profile)):
        return None
    return _of_gray_and_alpha(profile) if mode == "LA" else _transform(profile, mode)


def _of_gray_and_alpha(profile: bytes) -> Transform | None:
    """The color engine knows no gray with alpha."""
    transform = _transform(profile, "L")
    if transform is None:
        return None

    def apply(image: Image.Image) -> Image.Image:
        gray, alpha = image.split()
        return Image.merge("RGBA", (*transform(gray).split(), alpha))

    return apply


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Transform | None:
    from PIL import ImageCms  # loads a library that almost no image needs

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = mode if mode == "RGBA" else "RGB"
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, target)
        probe = Image.merge("RGB", [channel.resize((64, 64)) for channel in _probe()]).convert(mode)
        changed = transform.apply(probe)
    except Exception:  # the pixels are fine: they stay readable without a usable profile
        return None
    if mode != "CMYK" and _difference(probe, changed) <= FEW_LEVELS:
        return None
    return transform.apply


def _probe() -> tuple[Image.Image, Image.Image, Image.Image]:
    """Gradients in three directions: colors from the whole cube."""
    down = Image.linear_gradient("L")
    return down, down.transpose(Image.Transpose.ROTATE_90), Image.radial_gradient("L")


def _difference(first: Image.Image, second: Image.Image) -> int:
    from PIL import ImageChops

    extrema = ImageChops.difference(first.convert("RGB"), second.convert("RGB")).getextrema()
    return max(int(high) for _, high in extrema)  # type: ignore[misc]  # one pair for each channel


@lru_cache(maxsize=64)
def is_srgb(profile: bytes) -> bool:
    """Whether the numbers of an RGB profile are those of sRGB, whatever it is called."""
    try:
        tags = _tags(profile)
        if b"A2B0" in tags:
            return False
        for name, expected in SRGB_COLUMNS.items():
            values = struct.unpack_from(">3i", tags[name], 8)
            if any(abs(value / 65536 - wanted) > CLOSE for value, wanted in zip(values, expected, strict=True)):
                return False
        return all(_is_srgb_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
    except (struct.error, KeyError, IndexError, OverflowError, ValueError, ZeroDivisionError):
        return False


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    places = (struct.unpack_from(">4sII", profile, 132 + 12 * index) for index in range(min(count, MAX_TAGS)))
    return {name: profile[offset : offset + size] for name, offset, size in places}


def _is_srgb_curve(curve: bytes) -> bool:
    if curve[:4] == b"para":
        kind = struct.unpack_from(">H", curve, 8)[0]
        gamma, a, b, c, d = (value / 65536 for value in struct.unpack_from(">5i", curve, 12))
        if kind != 3:
            return False
        return all(
            abs((c * coded if coded < d else (a * coded + b) ** gamma) - linear) < CLOSE
            for coded, linear in CURVE_POINTS
        )
    (count,) = struct.unpack_from(">I", curve, 8)
    if count < 16:
        return False
    return all(
        abs(struct.unpack_from(">H", curve, 12 + 2 * round(coded * (count - 1)))[0] / 65535 - linear) < 3 * CLOSE
        for coded, linear in CURVE_POINTS
    )
