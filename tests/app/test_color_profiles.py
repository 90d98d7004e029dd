"""Images of other color spaces and of more than 8 bits look the same to a model as plain ones."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from app.color_profiles import is_srgb
from app.images import load_image
from data_prep.pipeline.images import check_image
from tests.drawings import draw, encode

P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407), 2.2)
PROPHOTO = ((0.79767, 0.28804, 0), (0.13519, 0.71188, 0), (0.03134, 0.00009, 0.82491), 1.8)
SWAPPED = ((0.14307, 0.06061, 0.71391), (0.43604, 0.22249, 0.01392), (0.38512, 0.71690, 0.09706), 2.2)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(red, green, blue, gamma: float) -> bytes:
    """An ICC profile of these primaries."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    text = (b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78)).ljust(92, b"\0")
    tags = {b"desc": text, b"cprt": b"text" + bytes(4) + b"none\0\0\0\0", b"wtpt": b"XYZ " + bytes(4)}
    tags[b"wtpt"] += fixed(0.9642, 1, 0.8249)
    for letter, primary in zip("rgb", (red, green, blue), strict=True):
        tags[f"{letter}XYZ".encode()] = b"XYZ " + bytes(4) + fixed(*primary)
        tags[f"{letter}TRC".encode()] = curve
    offset, table, content = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", offset + len(content), len(value))
        content += value
    head = struct.pack(">I", offset + len(content)) + b"lcms" + struct.pack(">I", 0x02400000) + b"mntrRGB XYZ "
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + table + content


def in_space(image: Image.Image, icc: bytes) -> Image.Image:
    target = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), target, outputMode="RGB")


def soft() -> Image.Image:
    """Colors that every space here holds."""
    return draw(5).point(lambda value: 60 + value // 2)


def largest_difference(first: Image.Image, second: Image.Image) -> int:
    return int(np.abs(np.asarray(first, int) - np.asarray(second, int)).max())


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("numbers", [P3, PROPHOTO, SWAPPED], ids=["P3", "ProPhoto", "swapped"])
def test_the_same_image_in_another_color_space_is_the_same_to_a_model(numbers, image_format):
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encode(in_space(soft(), profile(*numbers)), image_format, icc_profile=profile(*numbers), **options)
    assert largest_difference(load_image(data), soft()) <= 3
    assert largest_difference(load_image(data, target_size=20), load_image(encode(soft(), "PNG"), 20)) <= 3


def test_training_sees_the_same_colors():
    icc = profile(*SWAPPED)
    seen = check_image(encode(in_space(soft(), icc), "PNG", icc_profile=icc)).thumbnail
    expected = check_image(encode(soft(), "PNG")).thumbnail
    assert np.abs(np.frombuffer(seen, np.uint8).astype(int) - np.frombuffer(expected, np.uint8)).max() <= 3


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_palettes_and_transparency_are_converted_too(mode):
    icc = profile(*SWAPPED)
    stored = in_space(Image.new("RGB", (16, 16), (200, 60, 90)), icc)
    stored = stored.quantize(4) if mode == "P" else stored.convert("RGBA")
    loaded = load_image(encode(stored, "PNG", icc_profile=icc))
    assert np.abs(np.subtract(loaded.getpixel((8, 8)), (200, 60, 90))).max() <= 3


def test_an_srgb_profile_changes_nothing_and_loads_no_color_engine():
    assert is_srgb(SRGB)
    assert not is_srgb(profile(*P3))
    assert load_image(encode(draw(1), icc_profile=SRGB)).tobytes() == load_image(encode(draw(1))).tobytes()


@pytest.mark.parametrize("icc", [b"x" * 500, SRGB[:200], SRGB + bytes(1_500_000), profile(*P3)[:-40]])
def test_a_broken_or_oversized_profile_does_not_stop_an_image(icc):
    assert load_image(encode(draw(1), "PNG", icc_profile=icc)).size == (60, 80)


def test_a_profile_in_many_pieces_of_a_jpeg_is_put_together():
    icc = profile(*SWAPPED)
    pieces = [icc[at : at + 100] for at in range(0, len(icc), 100)]
    head = [b"ICC_PROFILE\0" + bytes((number, len(pieces))) + piece for number, piece in enumerate(pieces, 1)]
    segments = b"".join(b"\xff\xe2" + struct.pack(">H", len(part) + 2) + part for part in reversed(head))
    stored = encode(in_space(Image.new("RGB", (16, 16), (200, 60, 90)), icc), quality=95)
    loaded = load_image(stored[:2] + segments + stored[2:])
    assert np.abs(np.subtract(loaded.getpixel((8, 8)), (200, 60, 90))).max() <= 6


# --- more than 8 bits ----------------------------------------------------------------------------------


def ramp(largest: int) -> np.ndarray:
    return np.linspace(0, largest, 4096).reshape(64, 64).astype(np.uint16)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_gray_is_scaled_by_the_bits_that_occur_in_prediction_and_training(bits, image_format):
    data = encode(Image.fromarray(ramp(2**bits - 1)), image_format)
    loaded = np.asarray(load_image(data))
    assert loaded.max() > 240
    assert abs(float(loaded.mean()) - 127.5) < 2
    assert max(check_image(data).thumbnail) > 240


def with_significant_bits(data: bytes, bits: bytes) -> bytes:
    chunk = b"sBIT" + bits
    return data[:33] + struct.pack(">I", len(bits)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def test_significant_bits_that_a_file_names_count_before_what_occurs():
    dark = encode(Image.fromarray(ramp(4000)), "PNG")
    assert load_image(dark).getextrema()[0][1] > 240
    assert load_image(with_significant_bits(dark, b"\x0e")).getextrema()[0][1] in range(60, 65)
    assert load_image(with_significant_bits(dark, b"\x10")).getextrema()[0][1] in range(14, 18)
