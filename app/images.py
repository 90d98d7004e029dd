"""Open images from anywhere safely, pad them to a square and turn them into the array a model reads.

    image = load_image("shirt.jpg")        # RGB, upright, or ImageError with the reason
    pixels = preprocess(image, config)     # (3, height, width) float32; config is preprocessor_config.json

Training, prediction and data preparation all import this file, the only place where images are decoded, so an image
reaches the model the same way in all of them. It needs only Pillow and NumPy.
"""

import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

# Each plugin registers its format when imported. If one is missing, Image.open loads all 47 of them instead.
from PIL import (
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from .errors import UserError, one_line

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
JPEG_FORMATS = ("JPEG", "MPO")  # MPO: a JPEG with further images behind the first
HEIC_STARTS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1")  # what phones write; Pillow cannot read it
HEAD_BYTES = 64  # from the start of a file, enough to tell what it is
MAX_PIXELS = 8192 * 6144  # a 50-megapixel phone camera; 150 MB as RGB
MAX_SQUARE_PIXELS = 4 * MAX_PIXELS  # what padding may make of an elongated image; 600 MB
MAX_BYTES = 256 * 1024 * 1024
DRAFT_FACTOR = 2  # large images may be decoded smaller, but never below twice the size the model reads
JPEG_SCAN = b"\xff\xda"
MAX_JPEG_SCANS = 100  # each one decodes the whole image again: 266 KB with 4,000 take 37 s; real ones have about 10
ORIENTATION_TAG = 0x0112
TRANSPOSE_FOR_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)

ErrorKind = Literal["unreadable", "not_an_image", "too_large"]
ImageSource = str | os.PathLike[str] | bytes | Image.Image | Callable[[], bytes]


class ImageError(UserError):
    """An image that cannot be used. The message is one line with the reason, without the file's name."""

    def __init__(self, message: str, kind: ErrorKind = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


def load_image(source: ImageSource, target_size: int | None = None) -> Image.Image:
    """The first frame of an image as upright 8-bit RGB with transparency on white.

    source: a path, the bytes of a file, an open Pillow image, or a function that fetches the bytes when the image's
        turn has come. A file is known by its content, not by its name.
    target_size: the side in pixels that the caller will shrink the image to. Large images are then decoded or
        reduced to no less than DRAFT_FACTOR times it, which is several times faster and smaller in memory.
    Raises ImageError for every bad image: missing, empty, another kind of file, damaged, truncated, too large.
    """
    with open_checked(source) as image:
        if target_size and image is not source and image.format in JPEG_FORMATS:
            image.draft(None, (DRAFT_FACTOR * target_size,) * 2)
        image.load()
        return to_rgb(image, target_size)


@contextmanager
def open_checked(source: ImageSource) -> Iterator[Image.Image]:
    """An image of one of FORMATS within all limits, not decoded yet; what its decoder raises becomes an ImageError."""
    try:
        if isinstance(source, Image.Image):
            _check_pixels(source)
            yield source
            return
        source = source() if callable(source) else source
        with _open(source) as image:
            _check_pixels(image)
            if image.format in JPEG_FORMATS:
                _check_scans(source)
            yield image
    except ImageError:
        raise
    except Exception as error:  # on hostile bytes Pillow's decoders raise a dozen types, struct.error to RecursionError
        raise _image_error(error) from error


def to_rgb(image: Image.Image, target_size: int | None = None) -> Image.Image:
    """A decoded image as a person sees it: upright, 16 bits scaled to 8, transparency on white, in RGB.

    target_size: as in load_image.
    """
    return _convert(_reduce(_upright(image), target_size))


def looks_like_image(head: bytes) -> bool:
    """Whether a file that begins with these bytes, 16 or more, claims to be of one of FORMATS."""
    return any(accept and accept(head) for _, accept in (Image.OPEN[name] for name in FORMATS))


def pad_to_square(image: Image.Image) -> Image.Image:
    """Center an RGB image on a square of its background color; a square image is returned as it is.

    The background color is, per channel, the median of the border (the outermost ring of pixels, each counted once;
    the upper of the two middle values if their number is even). Raises ImageError if the square would be huge.
    """
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    if side * side > MAX_SQUARE_PIXELS:
        raise ImageError(f"too elongated to be padded to a square ({width}x{height} pixels)")
    square = Image.new("RGB", (side, side), _border_color(image))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def resize(
    image: Image.Image,
    size: tuple[int, int],
    resample: Image.Resampling = Image.Resampling.BILINEAR,
    pad: bool = True,
) -> Image.Image:
    """An RGB image at (width, height), padded to a square first if `pad`."""
    if pad:
        factor = max(image.size) // (DRAFT_FACTOR * max(size))
        image = pad_to_square(image.reduce(factor) if factor > 1 else image)  # 9000x1 must not become 9000x9000
    return image if image.size == size else image.resize(size, resample)


def preprocess(image: Image.Image, config: Mapping[str, Any], out: np.ndarray | None = None) -> np.ndarray:
    """The array a model reads: (3, height, width) float32, scaled and normalized according to `config`.

    image: RGB, from load_image. config: the content of preprocessor_config.json with Hugging Face's keys: `size`
    {"height", "width"}, `resample` (Pillow's number), `rescale_factor`, `image_mean`, `image_std` and
    `do_pad_to_square` (pad before resizing; otherwise the image is squeezed to `size`). out: an array to write into,
    such as one row of a batch: touching fresh memory costs more than the arithmetic.
    """
    size = (config["size"]["width"], config["size"]["height"])
    resample = Image.Resampling(config.get("resample", Image.Resampling.BILINEAR))
    image = resize(image, size, resample, pad=config.get("do_pad_to_square", False))
    if out is None:
        out = np.empty((3, size[1], size[0]), dtype=np.float32)
    std = np.asarray(config["image_std"], dtype=np.float32).reshape(3, 1, 1)
    mean = np.asarray(config["image_mean"], dtype=np.float32).reshape(3, 1, 1)
    out[...] = np.asarray(image).transpose(2, 0, 1)
    out *= np.float32(config.get("rescale_factor", 1 / 255)) / std
    out -= mean / std
    return out


def check_file(path: str | os.PathLike[str]) -> None:
    """Raises ImageError for a path that is not a file within MAX_BYTES, without opening it."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise _image_error(error) from None
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("a folder, not an image")
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait forever
        raise ImageError("not a regular file")
    check_num_bytes(status.st_size)


def check_num_bytes(num_bytes: int) -> None:
    """Raises ImageError for an empty file and for one above MAX_BYTES."""
    if num_bytes == 0:
        raise ImageError("empty file (0 bytes)")
    if num_bytes > MAX_BYTES:
        raise ImageError(f"too large ({num_bytes / 2**20:.0f} MiB, at most {MAX_BYTES / 2**20:.0f})", "too_large")


def _open(source: str | os.PathLike[str] | bytes) -> Image.Image:
    if isinstance(source, bytes):
        check_num_bytes(len(source))
    else:
        check_file(source)
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except UnidentifiedImageError:
        head = _first_bytes(source)
        if head[4:12] in HEIC_STARTS and b"avif" not in head:
            raise ImageError("HEIC image: convert it to JPEG first", "not_an_image") from None
        if looks_like_image(head):
            raise ImageError("damaged image (its header cannot be read)") from None
        raise ImageError(f"not an image file ({', '.join(FORMATS)})", "not_an_image") from None


def _first_bytes(source: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:HEAD_BYTES]
    with open(source, "rb") as file:
        return file.read(HEAD_BYTES)


def _check_pixels(image: Image.Image) -> None:
    if min(image.size) < 1:
        raise ImageError(f"damaged image ({image.width}x{image.height} pixels)")
    if image.width * image.height > MAX_PIXELS:  # Pillow's own check is a warning, which a caller may have silenced
        limit = f"at most {MAX_PIXELS / 1e6:.0f} megapixels"
        raise ImageError(f"too large ({image.width}x{image.height} pixels, {limit})", "too_large")


def _check_scans(source: str | os.PathLike[str] | bytes) -> None:
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if data.count(JPEG_SCAN) > MAX_JPEG_SCANS:
        reason = f"a JPEG of more than {MAX_JPEG_SCANS} scans, which takes minutes to decode"
        raise ImageError(f"too large ({reason})", "too_large")


def _image_error(error: Exception) -> ImageError:
    """Tells a user in one line why Pillow or the system refused an image."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ImageError(f"too large (more than {MAX_PIXELS / 1e6:.0f} megapixels)", "too_large")
    if isinstance(error, MemoryError):
        return ImageError("too large for this machine's memory", "too_large")
    if isinstance(error, OSError) and error.strerror:
        return ImageError(f"cannot be read ({error.strerror})")
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return ImageError("truncated image (the file ends too early)")
    return ImageError(f"damaged image ({one_line(error)})")


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation. Call it after load(), in which TIFF applies its own and drops the tag."""
    try:
        orientation = image.getexif().get(ORIENTATION_TAG)
    except Exception:  # the pixels are fine: unreadable metadata is no reason to refuse them
        return image
    method = TRANSPOSE_FOR_ORIENTATION.get(orientation) if isinstance(orientation, int) else None
    if method is None:
        return image
    upright = image.transpose(method)
    upright.info = {key: image.info[key] for key in ("transparency",) if key in image.info}  # without the orientation
    return upright


def _reduce(image: Image.Image, target_size: int | None) -> Image.Image:
    """Average whole blocks of pixels as long as each side stays at least DRAFT_FACTOR times target_size."""
    if not target_size or image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        return image
    factor = min(image.size) // (DRAFT_FACTOR * target_size)
    return image.reduce(factor) if factor > 1 else image


def _convert(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _to_8_bit(image).convert("RGB")
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


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float gray to 0..255; convert("RGB") would clip everything above 255 to white.

    The range is the smallest of 0..1 (float only), 0..255 (not for 16-bit), 0..65535 and 0..maximum that fits.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    largest = float(values.max())
    ranges = (65535,) if image.mode.startswith("I;16") else (1, 255, 65535) if image.mode == "F" else (255, 65535)
    top = next((top for top in ranges if largest <= top), largest)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values[values == transparent] = top
    return Image.fromarray(np.clip(values * (255 / top) + 0.5, 0, 255).astype(np.uint8))


def _border_color(image: Image.Image) -> tuple[int, int, int]:
    width, height = image.size
    strips = [(0, 0, width, 1), (0, height - 1, width, height)] if height > 1 else [(0, 0, width, 1)]
    if height > 2:
        strips += [(0, 1, 1, height - 1), (width - 1, 1, width, height - 1)] if width > 1 else [(0, 1, 1, height - 1)]
    ring = np.frombuffer(b"".join(image.crop(box).tobytes() for box in strips), np.uint8).reshape(-1, 3)
    middle = len(ring) // 2
    red, green, blue = np.partition(ring, middle, axis=0)[middle]
    return int(red), int(green), int(blue)
