"""Decoded images as a person sees them: upright, in 8-bit sRGB, transparency on white; huge ones are reduced."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from .containers.base import ORIENTATION_TAG

DRAFT_FACTOR = 4  # large images may be decoded smaller, never below 4 times what the caller shrinks them to
MAX_FULL_PIXELS = 4096 * 4096  # larger images come out reduced to this: four bytes a pixel, and up to three copies
BAND_PIXELS = 2**21  # of an image that is reduced, so many at a time
TRANSPOSE_FOR_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
OURS = ("orientation", "icc_profile", "bits")  # entries of Image.info that open_checked puts there
KEPT_WHILE_TURNING = ("transparency", "icc_profile", "bits")
# The largest values that cameras and scanners write into 16-bit samples: 8, 10 and 12 bits, where all values fit.
NARROW_RANGES = (255, 1023, 4095)
FOURTEEN_BITS, NEARLY = 16_383, 0.94  # 14 bits are believed only of an image that uses nearly all of them


def to_rgb(image: Image.Image, target_size: int | None = None) -> Image.Image:
    """A decoded image upright, scaled to 8 bits, in sRGB, transparency on white.

    target_size: the side that the caller will shrink it to; it may come out reduced to DRAFT_FACTOR times that.
    """
    if image.width * image.height > MAX_FULL_PIXELS:
        rgb = _upright(_reduced_in_bands(image, target_size))
    else:
        rgb = _convert(_reduce(_upright(image), target_size))
    if rgb is not image:
        rgb.info = {}
    return rgb


def _upright(image: Image.Image) -> Image.Image:
    """Apply the orientation. Call it after load(), in which TIFF applies its own and drops the tag."""
    method = TRANSPOSE_FOR_ORIENTATION.get(_orientation(image))
    if method is None:
        return image
    upright = image.transpose(method)
    upright.info = {key: image.info[key] for key in KEPT_WHILE_TURNING if key in image.info}
    return upright


def _orientation(image: Image.Image) -> int:
    found = image.info.get("orientation")
    if isinstance(found, int):
        return found
    try:
        found = image.getexif().get(ORIENTATION_TAG)
    except Exception:  # the pixels are fine: they stay readable without the metadata
        return 1
    return found if isinstance(found, int) else 1


def _reduce(image: Image.Image, target_size: int | None) -> Image.Image:
    """Average whole blocks of pixels as long as each side stays at least DRAFT_FACTOR times target_size."""
    if not target_size or image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        return image
    factor = min(image.size) // (DRAFT_FACTOR * target_size)
    return image.reduce(factor) if factor > 1 else image


def _reduced_in_bands(image: Image.Image, target_size: int | None) -> Image.Image:
    """A huge image in RGB and reduced, a band of rows at a time, so that it is never held twice."""
    factor = math.ceil(math.sqrt(image.width * image.height / MAX_FULL_PIXELS))
    if target_size:
        factor = max(factor, min(image.size) // (DRAFT_FACTOR * target_size))
    top = _top(image) if _is_deep(image) else None
    rgb = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for start, band in bands(image, factor):
        rgb.paste(_convert(band, top).reduce(factor), (0, start // factor))
    rgb.info = {"orientation": _orientation(image)}
    return rgb


def bands(image: Image.Image, factor: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """(first row, band) from top to bottom; each has a multiple of `factor` rows, but for the last one."""
    rows = factor * max(1, BAND_PIXELS // (image.width * factor))
    for start in range(0, image.height, rows):
        yield start, image.crop((0, start, image.width, min(image.height, start + rows)))


def _convert(image: Image.Image, top: float | None = None) -> Image.Image:
    profile = image.info.get("icc_profile")
    if _is_deep(image):
        image = _to_8_bit(image, _top(image) if top is None else top)
    if profile:
        image = _managed(image, profile)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image  # Pillow has no La -> RGBA
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    if image.mode == "LAB":
        from PIL import ImageCms  # loads a library that almost no image needs

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(lab, srgb, "LAB", "RGB").apply(image)
    return image.convert("RGB")


def _managed(image: Image.Image, profile: bytes) -> Image.Image:
    """The image in sRGB if it has another profile."""
    mode = image.mode
    if mode == "P" or (mode in ("L", "RGB") and "transparency" in image.info):
        colors = "L" if mode == "L" else "RGB"
        mode = f"{colors}A" if image.has_transparency_data else colors
    from .color_profiles import to_srgb  # few images have a profile

    transform = to_srgb(profile, mode)
    if transform is None:
        return image
    changed = transform(image if image.mode == mode else image.convert(mode))
    changed.info = {}
    return changed


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _top(image: Image.Image) -> float:
    """The value that is white in an image of gray."""
    largest = max(float(_finite(band).max()) for _, band in bands(image))
    bits = image.info.get("bits", 0)
    ranges = (1, *NARROW_RANGES) if image.mode == "F" else NARROW_RANGES
    return white_level(largest, bits if image.mode.startswith("I;16") or bits < 16 else 0, ranges)


def white_level(largest: float, bits: int, ranges: Sequence[float] = NARROW_RANGES) -> float:
    """The value that is white: the significant bits say it if the file does, else the largest value that occurs.

    It is the end of the smallest range of 0..1 (float only), 8, 10, 12, 14 (if nearly all of it is used) and 16 bits in
    which all values fit, or else the largest value.
    """
    if bits == 16:
        return 65535
    if 8 < bits < 16 and largest < 2**bits:
        return 2**bits - 1
    if NEARLY * FOURTEEN_BITS <= largest <= FOURTEEN_BITS:
        return FOURTEEN_BITS
    return next((float(top) for top in (*ranges, 65535) if largest <= top), largest)


def _finite(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    return np.nan_to_num(values, posinf=0.0, neginf=0.0) if image.mode == "F" else values


def _to_8_bit(image: Image.Image, top: float) -> Image.Image:
    """Scale 16-bit, 32-bit and float gray to 0..255; convert("RGB") would clip everything above 255 to white."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        levels = np.arange(65536, dtype=np.float32)
        if isinstance(transparent, int) and 0 <= transparent < len(levels):
            levels[transparent] = top
        table = np.clip(levels * (255 / top) + 0.5, 0, 255).astype(np.uint8)
        return Image.fromarray(table[np.asarray(image)])
    gray = Image.new("L", image.size)
    for start, band in bands(image):
        values = _finite(band).astype(np.float32)
        if isinstance(transparent, int):
            values[values == transparent] = top
        gray.paste(Image.fromarray(np.clip(values * (255 / top) + 0.5, 0, 255).astype(np.uint8)), (0, start))
    return gray
