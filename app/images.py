"""Open images from anywhere safely, pad them to a square and turn them into the array a model reads.

    image = load_image("shirt.jpg")        # RGB, upright, or ImageError with the reason
    pixels = preprocess(image, config)     # (3, height, width) float32; config is preprocessor_config.json

Training, prediction and data preparation all import this file, the only place where images are decoded, so an image
reaches the model the same way in all of them. It needs only Pillow and NumPy, and pi-heif for HEIC.

Every file is read as a container first (app/containers), which drops what its pixels do not need and knows the limits.
A file of up to 20 MB then takes at most 2 s of one core and 300 MB, or is refused with the reason. Each format may have

    JPEG  200 megapixels, decoded at a fraction; in several scans as many as 180 MiB of coefficients hold
    PNG, GIF, BMP, TIFF  50 megapixels, a TIFF 152 MiB of them uncompressed, a run-length coded BMP 2 megapixels
    WebP, AVIF  17 megapixels
    HEIC  25 megapixels

with sides of at most 65,535 pixels, and what is larger than MAX_FULL_PIXELS comes out reduced to that.
"""

import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from .colors import DRAFT_FACTOR as DRAFT_FACTOR
from .colors import MAX_FULL_PIXELS as MAX_FULL_PIXELS
from .colors import OURS
from .colors import to_rgb as to_rgb
from .containers import FORMATS as FORMATS
from .containers import HEAD_BYTES as HEAD_BYTES
from .containers import Container as Container
from .containers import looks_like_image as looks_like_image
from .containers import read_container
from .containers.base import MAX_BYTES as MAX_BYTES
from .containers.base import MAX_PIXELS as MAX_PIXELS
from .containers.base import ORIENTATION_TAG, check_pixels, damaged, truncated
from .containers.base import ErrorKind as ErrorKind
from .containers.base import ImageError as ImageError
from .errors import one_line

JPEG_FORMATS = ("JPEG", "MPO")  # Pillow calls an image that somebody else opened MPO if further ones lie behind it
MAX_SQUARE_PIXELS = 4 * MAX_PIXELS  # what padding may make of an elongated image; 600 MB
DEEP_FORMATS = ("PNG", "TIFF")  # which can have 16 bits per channel
JPEG_FRACTIONS = (1, 2, 4, 8)
FILLER = bytes(range(1, 255)) * 200  # coded pixels that no image goes on with
JPEG_END = b"\xff\xd9"
NEEDS_PI_HEIF = "HEIC image, which needs the package pi-heif: pip install pi-heif, or convert the image to JPEG"
MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}  # of a JPEG by its layers; Adobe inverts CMYK

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # for what others open in this process
warnings.simplefilter("error", Image.DecompressionBombWarning)


class WalkedJpegFile(JpegImageFile):
    """A JPEG whose container has been read: Pillow would go through its segments again, for longer than it decodes."""

    def _open(self) -> None:
        assert isinstance(self.fp, WalkedBytes)
        container = self.fp.container
        self._size = container.width, container.height
        self._mode, raw_mode = MODES[container.layers]
        self.layers, self.bits = container.layers, 8
        self.layer, self.quantization, self.app, self.applist, self.icclist = [], {}, {}, [], []
        self.tile = [ImageFile._Tile("jpeg", (0, 0, *self._size), 0, (raw_mode, ""))]


class WalkedBytes(io.BytesIO):
    """The bytes of a container for its decoder."""

    def __init__(self, container: Container) -> None:
        super().__init__(container.data)
        self.container = container


# Pillow's modules and classes; each is imported when its turn comes, because together they delay the first answer.
PLUGINS = {
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
}

ImageSource = str | os.PathLike[str] | bytes | Image.Image | Callable[[], bytes]
TargetSize = int | Sequence[int] | None


def load_image(
    source: ImageSource, target_size: TargetSize = None, check: Callable[[Container], None] | None = None
) -> Image.Image:
    """The first frame of an image as upright 8-bit sRGB with transparency on white.

    source: a path, the bytes of a file, an open Pillow image, or a function that fetches the bytes when the image's
        turn has come. A file is known by its content, not by its name.
    target_size: (width, height) gives the image at that size, squeezed with a bilinear filter from all of its pixels,
        as transformers' processors do. A single side in pixels only says what the caller will shrink it to: large
        images are then decoded or reduced to no less than DRAFT_FACTOR times it, which is several times faster and
        smaller in memory, and up to 12 levels off at an edge.
    check: sees the container before anything is decoded and may raise an ImageError.
    Raises ImageError for every bad image: missing, empty, another kind of file, damaged, truncated, too large.
    """
    side = target_size if isinstance(target_size, int) else None
    with open_checked(source, check) as image:
        if image is not source:
            decode(image, side)
        else:
            image.load()
        rgb = to_rgb(image, side)
        if image is not source:
            rgb.info = {}
        if target_size is None or isinstance(target_size, int):
            return rgb
        width, height = target_size
        return resize(rgb, (width, height), pad=False)


@contextmanager
def open_checked(source: ImageSource, check: Callable[[Container], None] | None = None) -> Iterator[Image.Image]:
    """An image of one of ALL_FORMATS within all limits, not decoded yet; what its decoder raises becomes an ImageError.

    Its info holds what to_rgb needs: orientation, icc_profile, bits.
    """
    container = None
    try:
        if isinstance(source, Image.Image):
            check_pixels(*source.size)
            yield source
            return
        container = read_container(_read(source() if callable(source) else source))
        if check:
            check(container)
        with _open(container) as image:
            yield image
    except ImageError:
        raise
    except Exception as error:  # on hostile bytes Pillow's decoders raise a dozen types, struct.error to RecursionError
        raise _image_error(error, is_cut=container is not None and not container.ends) from error


def decode(image: Image.Image, target_size: int | None = None) -> None:
    """Decode what open_checked has opened: a JPEG at a fraction if target_size allows it or its size demands it."""
    if isinstance(image, JpegImageFile):
        if target_size:
            image.draft(None, (DRAFT_FACTOR * target_size,) * 2)
        elif image.width * image.height > MAX_FULL_PIXELS:
            image.draft(None, (image.width // _fraction(image), image.height // _fraction(image)))
    if isinstance(image, ImageFile.ImageFile) and image.format in DEEP_FORMATS and ";16" in str(image.tile[:1]):
        _decode_deep(image)
    image.load()
    if image.format == "WEBP" and hasattr(image, "_decoder"):
        image._decoder = None  # it holds three copies of the image


def _decode_deep(image: ImageFile.ImageFile) -> None:
    from .deep_color import lower_tiles, scale_deep  # few images have more than 8 bits

    source, tiles = image.fp, lower_tiles(image)
    image.load()
    if tiles and isinstance(source, WalkedBytes):
        scale_deep(image, tiles, lambda: type(image)(WalkedBytes(source.container)))


def _fraction(image: Image.Image) -> int:
    """The smallest one at which a JPEG has no more than MAX_FULL_PIXELS."""
    sizes = (fraction for fraction in JPEG_FRACTIONS if image.width * image.height <= MAX_FULL_PIXELS * fraction**2)
    return next(sizes, JPEG_FRACTIONS[-1])


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
        raise ImageError(f"too elongated to be padded to a square ({width}x{height} pixels)", "too_large")
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


def target_size(config: Mapping[str, Any]) -> int | tuple[int, int] | None:
    """What to ask of load_image so that `preprocess` gives the same as from the whole image.

    Only an image that is padded may come from a fraction of its pixels, which is faster: no stock processor pads so.
    """
    size = (config["size"]["width"], config["size"]["height"])
    if config.get("do_pad_to_square", False):
        return max(size)
    return size if config.get("resample", Image.Resampling.BILINEAR) == Image.Resampling.BILINEAR else None


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


def _read(source: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(source, bytes):
        check_num_bytes(len(source))
        return source
    check_file(source)
    return Path(source).read_bytes()


def _open(container: Container) -> Image.Image:
    """A container as Pillow's image, with what to_rgb needs to know in its info."""
    if container.format == "HEIC":
        image = _open_heic(container)
    else:
        try:
            image = _plugin(container.format)(WalkedBytes(container))
        except SyntaxError:
            raise (damaged("its header cannot be read") if container.ends else truncated()) from None
        if container.format == "AVIF":  # its decoder tells the orientation in a block of EXIF that it makes itself
            container.orientation = image.getexif().get(ORIENTATION_TAG, 1)
            container.profile = image.info.get("icc_profile")
        check_pixels(*image.size, max(MAX_PIXELS, container.width * container.height))
    if not container.ends and container.format == "JPEG" and not _has_all_rows(container.data):
        raise truncated()
    image.info = {key: value for key, value in image.info.items() if key not in (*OURS, "exif", "xmp")}
    ours = zip(OURS, (container.orientation, container.profile, container.bits), strict=True)
    image.info |= {key: value for key, value in ours if value}
    return image


def _plugin(name: str) -> type[ImageFile.ImageFile]:
    """What opens a format of FORMATS."""
    if name == "JPEG":
        return WalkedJpegFile
    module, plugin = PLUGINS[name]
    found: type[ImageFile.ImageFile] = getattr(import_module(module), plugin)
    return found


def _open_heic(container: Container) -> Image.Image:
    """Decoded already; turned already, too, because HEIC keeps the orientation beside its EXIF."""
    try:
        from pi_heif import open_heif
    except ImportError:
        raise ImageError(NEEDS_PI_HEIF, "not_an_image") from None
    image: Image.Image = open_heif(io.BytesIO(container.data), convert_hdr_to_8bit=True).to_pillow()
    image.format = "HEIC"
    container.profile = image.info.get("icc_profile")
    return image


def _has_all_rows(data: bytes) -> bool:
    """Whether a JPEG whose end marker was added lacks no pixels: whatever follows does not change the image then."""
    images = []
    for content in (data, data[: -len(JPEG_END)] + FILLER + JPEG_END):
        with JpegImageFile(io.BytesIO(content)) as image:
            decode(image)
            images.append(image.tobytes())
    return images[0] == images[1]


def _image_error(error: Exception, is_cut: bool = False) -> ImageError:
    """Tells a user in one line why Pillow or the system refused an image. is_cut: whether its file ends too early."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ImageError(f"too large (more than {MAX_PIXELS / 1e6:.0f} megapixels)", "too_large")
    if isinstance(error, MemoryError):
        return ImageError("too large for this machine's memory", "too_large")
    if isinstance(error, OSError) and error.strerror:
        return ImageError(f"cannot be read ({error.strerror})")
    if isinstance(error, EOFError) or is_cut:
        return truncated()
    return ImageError(f"damaged image ({one_line(error)})")


def _border_color(image: Image.Image) -> tuple[int, int, int]:
    width, height = image.size
    strips = [(0, 0, width, 1), (0, height - 1, width, height)] if height > 1 else [(0, 0, width, 1)]
    if height > 2:
        strips += [(0, 1, 1, height - 1), (width - 1, 1, width, height - 1)] if width > 1 else [(0, 1, 1, height - 1)]
    ring = np.frombuffer(b"".join(image.crop(box).tobytes() for box in strips), np.uint8).reshape(-1, 3)
    middle = len(ring) // 2
    red, green, blue = np.partition(ring, middle, axis=0)[middle]
    return int(red), int(green), int(blue)
