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
    return with_tags(b"mntrRGB XYZ ", tags)


def with_tags(kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """kind: of device, colors and connection space."""
    offset, table, content = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", offset + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    head = struct.pack(">I", offset + len(content)) + b"lcms" + struct.pack(">I", 0x02400000) + kind
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


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def deep_png(values: np.ndarray, more: bytes = b"") -> bytes:
    """values: (height, width, channels) of 16 bits; two channels are gray with alpha, four color with alpha."""
    height, width, channels = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + pixels + chunk(b"IEND", b"")


def deep_tiff(values: np.ndarray, order: str = "<", compressed: bool = False) -> bytes:
    """values: (height, width, 3 or 4) of 16 bits."""
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    pixels = zlib.compress(pixels) if compressed else pixels
    at = 8 + 2 + 12 * (10 + (channels == 4)) + 4
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, at), (259, 3, 1, 8 if compressed else 1)]
    tags += [(262, 3, 1, 2), (273, 4, 1, at + 2 * channels), (277, 3, 1, channels), (278, 4, 1, height)]
    tags += [(279, 4, 1, len(pixels)), (284, 3, 1, 1)] + ([(338, 3, 1, 2)] if channels == 4 else [])
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entries = b""
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        entries += struct.pack(
            f"{order}HHI{'HH' if short else 'I'}", tag, kind, count, *([value, 0] if short else [value])
        )
    directory = mark + struct.pack(f"{order}I", 8) + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return directory + struct.pack(f"{order}{channels}H", *[16] * channels) + pixels


def deep_colors(bits: int, channels: int = 3) -> np.ndarray:
    """The soft pattern with `bits` significant bits, from black to white; opaque where it has an alpha channel."""
    seen = np.asarray(draw(5), np.float64)
    seen = (seen - seen.min()) / (seen.max() - seen.min())
    colors = np.round(seen * (2**bits - 1)).astype(np.uint16)
    colors = colors[..., :1] if channels == 2 else colors
    if channels in (2, 4):
        colors = np.concatenate([colors, np.full_like(colors[..., :1], 2**bits - 1)], axis=2)
    return colors


def as_seen(values: np.ndarray, bits: int) -> Image.Image:
    colors = np.round(values[..., : 1 if values.shape[2] == 2 else 3] * (255 / (2**bits - 1)))
    return Image.fromarray(np.broadcast_to(colors, (*values.shape[:2], 3)).astype(np.uint8))


FILES = {
    "PNG": deep_png,
    "TIFF": deep_tiff,
    "big-endian TIFF": lambda values: deep_tiff(values, ">"),
    "compressed TIFF": lambda values: deep_tiff(values, compressed=True),
}


KINDS = [("PNG", 2), *((kind, channels) for kind in FILES for channels in (3, 4))]  # of TIFF, no gray with alpha


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(("kind", "channels"), KINDS)
def test_colors_are_scaled_by_the_bits_that_occur_in_prediction_and_training(kind, channels, bits):
    values = deep_colors(bits, channels)
    data = FILES[kind](values)
    assert largest_difference(load_image(data), as_seen(values, bits)) <= 2
    thumbnail = np.frombuffer(check_image(data).thumbnail, np.uint8).astype(int)
    expected = np.frombuffer(check_image(encode(as_seen(values, bits), "PNG")).thumbnail, np.uint8)
    assert np.abs(thumbnail - expected).max() <= 2


def test_a_half_transparent_deep_image_lies_on_white_and_named_bits_count():
    values = deep_colors(12, 4)
    values[..., 3] = 2048
    seen = np.asarray(as_seen(values, 12)).astype(int)
    assert np.abs(np.asarray(load_image(deep_png(values))) - (seen + 255) / 2).max() <= 2
    dark = deep_png(deep_colors(12), chunk(b"sBIT", b"\x0e" * 3))
    assert max(high for _, high in load_image(dark).getextrema()) in range(62, 66)
    plain = deep_png(deep_colors(12), chunk(b"sBIT", b"\x10" * 3))
    assert max(high for _, high in load_image(plain).getextrema()) in range(14, 18)


def test_the_transparent_color_of_a_deep_image_is_white():
    values = deep_colors(12)
    values[:8] = (4095, 0, 4095)
    image = load_image(deep_png(values, chunk(b"tRNS", struct.pack(">3H", 4095, 0, 4095))))
    assert image.getpixel((3, 3)) == (255, 255, 255)


def test_a_huge_deep_image_is_scaled_and_reduced():
    values = np.zeros((4200, 4200, 3), np.uint16)
    values[:, 2100:] = (4095, 2048, 0)
    image = load_image(deep_png(values))
    assert image.width < 4200
    assert np.abs(np.subtract(image.getpixel((image.width - 5, 5)), (255, 136, 0))).max() <= 2


# --- profiles of gray and of printers --------------------------------------------------------------------------------


def gray_profile(curve: bytes) -> bytes:
    """curve: the number of its points, and they."""
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249), b"cprt": b"text" + bytes(4) + b"none\0\0\0\0"}
    tags[b"kTRC"] = b"curv" + bytes(4) + curve
    return with_tags(b"mntrGRAYXYZ ", tags)


def printer_profile(corners: list[tuple[int, int, int]]) -> bytes:
    """A profile of CMYK whose 16 corners, cyan slowest, are these colors of sRGB."""
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    as_lab = ImageCms.buildTransform(srgb, lab, "RGB", "LAB")
    grid = b"".join(bytes(as_lab.apply(Image.new("RGB", (1, 1), corner)).getpixel((0, 0))) for corner in corners)
    straight = bytes(range(256))
    head = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249), b"cprt": b"text" + bytes(4) + b"none\0\0\0\0"}
    tags[b"A2B0"] = head + straight * 4 + grid + straight * 3
    return with_tags(b"prtrCMYKLab ", tags)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_a_gray_profile_is_converted(mode):
    gray = Image.new("L", (16, 16), 128)
    if mode == "I;16":
        values = np.full((16, 16), 32_896, np.uint16)
        values[0, 0] = 65_535
        gray = Image.fromarray(values)
    stored = encode(gray.convert("LA") if mode == "LA" else gray, "PNG", icc_profile=gray_profile(bytes(4)))
    assert abs(load_image(stored).getpixel((8, 8))[0] - 188) <= 2  # half of the light, as sRGB codes it
    thumbnail = check_image(stored).thumbnail
    assert abs(thumbnail[-1] - 188) <= 2


def test_a_gray_profile_with_the_curve_of_srgb_changes_nothing():
    coded = np.linspace(0, 1, 1024)
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    curve = struct.pack(">I", 1024) + np.round(linear * 65_535).astype(">u2").tobytes()
    plain = encode(draw(1, mode="L"), "PNG")
    stored = encode(draw(1, mode="L"), "PNG", icc_profile=gray_profile(curve))
    assert load_image(stored).tobytes() == load_image(plain).tobytes()


def test_a_jpeg_of_a_printer_has_the_colors_of_its_profile():
    """Its cyan is orange, so that the usual formula for CMYK would be far off."""
    white, orange, black = (250, 250, 250), (230, 140, 40), (0, 0, 0)
    corners = [black if number & 1 else orange if number & 8 else white for number in range(16)]
    for ink, expected in (((255, 0, 0, 0), orange), ((0, 0, 0, 0), white), ((0, 0, 0, 255), black)):
        image = Image.new("CMYK", (16, 16), ink)
        stored = encode(image, quality=95, icc_profile=printer_profile(corners))
        assert np.abs(np.subtract(load_image(stored).getpixel((8, 8)), expected)).max() <= 10
        assert np.abs(np.subtract(tuple(check_image(stored).thumbnail[:3]), expected)).max() <= 10
