"""Images from anywhere: odd modes, odd orientations, hostile files, and the array that a model reads."""

import io
import os
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from app.images import FORMATS, MAX_PIXELS, ImageError, load_image, pad_to_square, preprocess
from tests.drawings import encode, png_bomb, scan_bomb

RED, WHITE = (255, 0, 0), (255, 255, 255)
# What turns an upright image into the stored one that a camera tags with this orientation.
STORED_FOR_ORIENTATION = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
CONFIG = {
    "size": {"height": 24, "width": 16},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.25, 0.2],
    "rescale_factor": 1 / 255,
    "resample": 3,
}


def gradient(width: int = 48, height: int = 64) -> Image.Image:
    """An image without symmetry."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x + 2 * y) % 256], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_upright_whatever_its_exif_orientation(orientation, image_format):
    upright = gradient()
    method = STORED_FOR_ORIENTATION[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    stored = upright if method is None else upright.transpose(method)
    loaded = load_image(encode(stored, image_format, exif=exif.tobytes(), **lossless))
    assert loaded.size == upright.size
    difference = np.abs(np.asarray(loaded, dtype=int) - np.asarray(upright, dtype=int))
    if image_format in ("PNG", "TIFF", "WEBP"):
        assert difference.max() == 0
    else:
        assert difference.mean() < 12


def test_the_same_image_in_all_orientations_gives_identical_arrays():
    arrays = []
    for orientation, method in STORED_FOR_ORIENTATION.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = gradient(301, 407) if method is None else gradient(301, 407).transpose(method)
        loaded = load_image(encode(stored, "PNG", exif=exif.tobytes()), target_size=24)
        arrays.append(preprocess(loaded, CONFIG | {"do_pad_to_square": True}))
    assert all(np.array_equal(array, arrays[0]) for array in arrays)


def test_an_upright_image_is_not_turned_a_second_time():
    exif = Image.Exif()
    exif[0x0112] = 6
    once = load_image(encode(gradient(), "PNG", exif=exif.tobytes()))
    assert load_image(once).size == once.size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_an_image_with_unreadable_exif_is_loaded():
    assert load_image(encode(gradient(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")).size == (48, 64)


def palette_with_transparency() -> bytes:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (2, 0, 4, 4))
    return encode(image, "PNG", transparency=0)


def gray_16_bit(mode: str, image_format: str) -> bytes:
    return encode(Image.fromarray(np.full((4, 4), 51 * 257, dtype=np.dtype(mode))), image_format)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(lambda: encode(Image.new("1", (4, 4), 1), "PNG"), WHITE, id="1 bit"),
        pytest.param(lambda: encode(Image.new("L", (4, 4), 51), "JPEG"), (51,) * 3, id="gray JPEG"),
        pytest.param(lambda: encode(Image.new("LA", (4, 4), (0, 0)), "PNG"), WHITE, id="transparent gray"),
        pytest.param(lambda: encode(Image.new("P", (4, 4)), "PNG"), (0, 0, 0), id="palette"),
        pytest.param(palette_with_transparency, WHITE, id="palette with a transparent color"),
        pytest.param(lambda: encode(Image.new("RGB", (4, 4)), "PNG", transparency=(0, 0, 0)), WHITE, id="tRNS"),
        pytest.param(lambda: encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG"), WHITE, id="transparent PNG"),
        pytest.param(lambda: encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "WEBP"), WHITE, id="transparent WebP"),
        pytest.param(lambda: encode(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), "AVIF"), WHITE, id="transparent AVIF"),
        pytest.param(lambda: encode(Image.new("RGBA", (4, 4), (255, 0, 0, 51)), "PNG"), (255, 204, 204), id="20%"),
        pytest.param(lambda: encode(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF"), RED, id="CMYK TIFF"),
        pytest.param(lambda: encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), RED, id="CMYK JPEG"),
        pytest.param(lambda: Image.new("YCbCr", (4, 4), (76, 85, 255)), RED, id="YCbCr"),
        pytest.param(lambda: Image.new("HSV", (4, 4), (0, 255, 255)), RED, id="HSV"),
        pytest.param(lambda: Image.new("RGBX", (4, 4), (255, 0, 0, 0)), RED, id="RGBX"),
        pytest.param(lambda: Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert("RGBa"), WHITE, id="RGBa"),
        pytest.param(lambda: Image.new("LA", (4, 4), (0, 0)).convert("La"), WHITE, id="La"),
        pytest.param(lambda: Image.new("P", (4, 4)).convert("PA"), (0, 0, 0), id="PA"),
        pytest.param(lambda: encode(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF"), WHITE, id="LAB TIFF"),
        pytest.param(lambda: gray_16_bit("<u2", "PNG"), (51,) * 3, id="16-bit PNG"),
        pytest.param(lambda: gray_16_bit("<u2", "TIFF"), (51,) * 3, id="16-bit TIFF"),
        pytest.param(lambda: gray_16_bit(">u2", "TIFF"), (51,) * 3, id="16-bit big-endian TIFF"),
        pytest.param(lambda: encode(Image.new("I", (4, 4), 51 * 257), "TIFF"), (51,) * 3, id="32-bit TIFF"),
        pytest.param(lambda: encode(Image.new("F", (4, 4), 0.2), "TIFF"), (51,) * 3, id="float TIFF"),
        pytest.param(lambda: encode(Image.new("F", (4, 4), float("nan")), "TIFF"), (0,) * 3, id="not a number"),
        pytest.param(lambda: encode(Image.new("RGB", (4, 4), RED), "BMP"), RED, id="BMP"),
        pytest.param(lambda: encode(Image.new("RGB", (8, 8), RED), "JPEG", progressive=True), RED, id="progressive"),
    ],
)
def test_every_odd_mode_becomes_the_right_rgb(content, expected):
    loaded = load_image(content())
    assert loaded.mode == "RGB"
    assert np.abs(np.subtract(loaded.getpixel((0, 0)), expected)).max() <= 3, loaded.getpixel((0, 0))


def test_16_bit_gray_keeps_its_whole_range():
    values = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    loaded = np.asarray(load_image(encode(Image.fromarray(values), "PNG")))[..., 0]
    assert np.abs(loaded.astype(int) - values / 257).max() <= 1


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "AVIF", "PNG", "TIFF", "MPO"])
def test_an_animation_gives_its_first_frame(image_format):
    first, second = Image.new("RGB", (16, 16), RED), Image.new("RGB", (16, 16), (0, 0, 255))
    loaded = load_image(encode(first, image_format, save_all=True, append_images=[second]))
    assert np.abs(np.subtract(loaded.getpixel((8, 8)), RED)).max() <= 8


def test_a_file_is_known_by_its_content_not_its_name(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(Image.new("RGB", (4, 4), RED), "PNG"))
    assert load_image(path).getpixel((0, 0)) == RED


def test_missing_empty_and_foreign_files_have_named_reasons(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = {
        "missing.jpg": "no such file",
        "empty.jpg": "empty file",
        "page.jpg": "not an image file",
        "pipe.jpg": "not a regular file",
        ".": "a folder, not an image",
        "null\0byte.jpg": "null byte",
        "long" * 100: "cannot be read",
    }
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=reason):
            load_image(os.path.join(tmp_path, name))
    with pytest.raises(ImageError, match="empty file"):
        load_image(b"")


def test_an_error_says_of_which_kind_it_is():
    sources = {"not_an_image": b"<html>", "too_large": png_bomb(13_000, 13_000), "unreadable": b""}
    for kind, source in sources.items():
        with pytest.raises(ImageError) as caught:
            load_image(source)
        assert caught.value.kind == kind


@pytest.mark.parametrize("image_format", ["PPM", "ICO", "PCX", "EPS", "TGA"])
def test_formats_beyond_the_list_are_refused(image_format):
    with pytest.raises(ImageError, match="not an image file"):
        load_image(encode(Image.new("RGB", (16, 16)), image_format))


@pytest.mark.parametrize(("width", "height"), [(13_000, 13_000), (2**31 - 1, 2**31 - 1), (MAX_PIXELS + 1, 1)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(width, height):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the refusal must not rest on a warning filter
        with pytest.raises(ImageError, match="too large"):
            load_image(png_bomb(width, height))


def test_a_file_of_gigabytes_is_refused_without_reading_it(tmp_path):
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(ImageError, match="too large"):
        load_image(tmp_path / "huge.jpg")


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.filterwarnings("ignore:Truncated")
@pytest.mark.parametrize("share", [0.005, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_an_image_error(image_format, share):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = encode(noise, image_format)
    with pytest.raises(ImageError, match="truncated|damaged|not an image"):
        load_image(content[: max(2, int(share * len(content)))])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("image_format", FORMATS)
def test_a_damaged_header_is_told_apart_from_a_foreign_file(image_format):
    with pytest.raises(ImageError, match="damaged|truncated"):
        load_image(encode(gradient(), image_format)[:16] + bytes(100))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_bytes_behind_each_signature_never_raise_anything_else():
    random = np.random.default_rng(0)
    for image_format in FORMATS:
        content = encode(gradient(), image_format)
        for _ in range(60):
            damaged = bytearray(content)
            for position in random.integers(0, len(damaged), 8):
                damaged[position] = random.integers(256)
            try:
                assert load_image(bytes(damaged)).mode == "RGB"
            except ImageError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_a_large_image_is_loaded_smaller_but_never_below_four_times_the_target(image_format):
    content = encode(gradient(1000, 1400), image_format)
    assert load_image(content).size == (1000, 1400)
    reduced = load_image(content, target_size=100)
    assert min(reduced.size) >= 400
    assert max(reduced.size) <= 700
    assert min(load_image(content, target_size=600).size) == 1000


def test_an_open_image_is_accepted_and_left_unchanged():
    with Image.open(io.BytesIO(encode(gradient(1000, 1400), "JPEG"))) as image:
        assert min(load_image(image, target_size=100).size) >= 400
        assert image.size == (1000, 1400)


@pytest.mark.parametrize(
    ("size", "offset"), [((20, 40), (10, 0)), ((41, 20), (0, 10)), ((1, 5), (2, 0)), ((5, 1), (0, 2))]
)
def test_padding_centers_on_the_median_color_of_the_border(size, offset):
    image = Image.new("RGB", size, (200, 100, 50))
    image.putpixel((0, 0), (0, 0, 0))
    square = pad_to_square(image)
    assert square.size == (max(size), max(size))
    assert square.getpixel((max(size) - 1, max(size) - 1)) == (200, 100, 50)
    assert square.crop((*offset, offset[0] + size[0], offset[1] + size[1])).tobytes() == image.tobytes()


def test_an_extremely_long_image_is_classified_without_a_huge_square():
    image = Image.new("RGB", (300_000, 2), RED)
    assert preprocess(image, CONFIG | {"do_pad_to_square": True}).shape == (3, 24, 16)
    with pytest.raises(ImageError, match="too elongated"):
        pad_to_square(image)


def test_the_border_color_is_the_channel_wise_median_of_the_outermost_ring():
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 6, 3), dtype=np.uint8))
    pixels = np.asarray(image)
    ring = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    expected = np.sort(ring, axis=0)[len(ring) // 2]
    assert pad_to_square(image).getpixel((0, 0)) == tuple(expected)


def test_a_square_image_is_returned_as_it_is():
    image = gradient(32, 32)
    assert pad_to_square(image) is image


def test_preprocessing_resizes_rescales_and_normalizes():
    image = gradient()
    pixels = preprocess(image, CONFIG)
    resized = np.asarray(image.resize((16, 24), Image.Resampling.BICUBIC), dtype=np.float64)
    expected = (resized / 255 - CONFIG["image_mean"]) / CONFIG["image_std"]
    assert pixels.dtype == np.float32
    assert pixels.shape == (3, 24, 16)
    assert np.abs(pixels - expected.transpose(2, 0, 1)).max() < 1e-5


def test_preprocessing_pads_only_if_the_config_says_so():
    image = ImageOps.expand(Image.new("RGB", (10, 40), RED), 2, WHITE)
    squeezed = preprocess(image, CONFIG)
    padded = preprocess(image, CONFIG | {"do_pad_to_square": True})
    assert padded[1, 12, 0] == padded.max(axis=(1, 2))[1]
    assert squeezed[1, 12, 3] < padded[1, 12, 3]


def test_preprocessing_writes_into_the_array_it_is_given():
    batch = np.full((2, 3, 24, 16), np.nan, dtype=np.float32)
    preprocess(gradient(), CONFIG, out=batch[1])
    assert np.isfinite(batch[1]).all()
    assert np.isnan(batch[0]).all()


def test_a_jpeg_that_repeats_its_scans_is_refused(tmp_path):
    bomb = tmp_path / "bomb.jpg"
    bomb.write_bytes(scan_bomb(300))
    assert load_image(scan_bomb(1)).size == (60, 80)
    for source in (bomb, bomb.read_bytes()):
        with pytest.raises(ImageError, match="more than 100 scans"):
            load_image(source)
