"""What lies in files beside the pixels neither stops nor slows anything; missing pixels and huge claims are refused."""

import base64
import io
import struct
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from app.images import ImageError, load_image, looks_like_image
from tests.app.image_structures import HEIC
from tests.drawings import draw, encode, png_bomb, scan_bomb

HEIC_BYTES = base64.b85decode(HEIC.replace("\n", ""))
SECONDS = 1.0


def quickly(data: bytes) -> Image.Image:
    start = time.process_time()
    try:
        return load_image(data)
    finally:
        assert time.process_time() - start < SECONDS


def same(first: Image.Image, second: Image.Image) -> bool:
    return first.size == second.size and first.tobytes() == second.tobytes()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def riff(data: bytes, extra: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(data) - 8 + len(extra)) + data[8:] + extra


def tiff(tags: list[tuple[int, int, int, int]], body: bytes) -> bytes:
    """A TIFF whose only directory has these (tag, kind, count, value); its pixels start at byte 8."""
    packed = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + packed + bytes(4)


def tiny_tiff(*more: tuple[int, int, int, int], body: bytes = bytes(64)) -> bytes:
    """8x8 gray pixels."""
    given = {tag[0]: tag for tag in more}
    tags = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags += [(277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 64)]
    return tiff(list({**{tag[0]: tag for tag in tags}, **given}.values()), body)


# --- what is dropped ----------------------------------------------------------------------------------


def test_a_film_behind_a_jpeg_is_not_looked_at():
    photo = encode(draw(1))
    film = b"MotionPhoto_Data" + np.random.default_rng(0).bytes(2**20) + b"\xff\xda" * 500
    assert same(quickly(photo + film), load_image(photo))


def test_a_jpeg_of_two_images_gives_the_first_and_is_a_jpeg():
    from data_prep.pipeline.images import check_image

    portrait = encode(draw(1), "MPO", save_all=True, append_images=[draw(2, (30, 40))])
    assert load_image(portrait).size == (60, 80)
    assert check_image(portrait).format == "JPEG"


@pytest.mark.parametrize("segment", [b"\xff\xe1\0\x20Exif\0\0" + bytes(24), b"\xff\xfe\0\x04ab", b"\xff\xe5\0\x03x"])
def test_a_hundred_thousand_segments_of_a_jpeg_cost_nothing(segment):
    photo = encode(draw(1))
    assert same(quickly(photo[:2] + segment * 100_000 + photo[2:]), load_image(photo))


def test_more_segments_than_allowed_are_refused_with_the_limit():
    photo = encode(draw(1))
    with pytest.raises(ImageError, match="more than 300,000 segments"):
        quickly(photo[:2] + b"\xff\xfe\0\2" * 400_000 + photo[2:])


@pytest.mark.parametrize("compressed", [True, False])
def test_megabytes_of_text_in_a_png_are_left_aside(compressed):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "<x>" + "a" * 2_000_000 + "</x>", zip=compressed)
    info.add_text("workflow", "{" + "b" * 3_000_000 + "}", zip=compressed)
    assert same(quickly(encode(draw(1), "PNG", pnginfo=info)), load_image(encode(draw(1), "PNG")))


def test_thousands_of_chunks_of_a_png_cost_nothing():
    data = encode(draw(1), "PNG")
    chunk = png_chunk(b"tEXt", b"Comment\0x")
    assert same(quickly(data[:33] + chunk * 50_000 + data[33:]), load_image(data))


def test_a_png_whose_pixels_come_byte_by_byte_is_read():
    data = encode(draw(1), "PNG")
    length = int.from_bytes(data[33:37], "big")
    parts = b"".join(png_chunk(b"IDAT", data[at : at + 1]) for at in range(41, 41 + length))
    assert same(quickly(data[:33] + parts + data[-12:]), load_image(data))


def test_a_comment_of_megabytes_in_a_gif_costs_nothing():
    data = encode(draw(1).quantize(16), "GIF")
    head = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    comment = b"!\xfe" + (b"\xff" + b"A" * 255) * 10_000 + b"\0"
    assert same(quickly(data[:head] + comment + data[head:]), load_image(data))


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_hundreds_of_frames_only_the_first_is_decoded(image_format):
    frames = [draw(seed, (64, 64)) for seed in range(200)]
    options = {"speed": 10} if image_format == "AVIF" else {"method": 0} if image_format == "WEBP" else {}
    animation = encode(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    difference = np.asarray(quickly(animation), int) - np.asarray(frames[0], int)
    assert np.abs(difference).mean() < 12


def test_chunks_behind_a_webp_image_are_left_aside():
    data = encode(draw(1), "WEBP")
    assert same(quickly(riff(data, (b"JUNK" + struct.pack("<I", 2) + b"ab") * 50_000)), load_image(data))


def test_tags_of_a_tiff_that_share_their_bytes_cost_nothing():
    body = bytes(600_000)
    shared = [(1000 + index, 7, len(body), 8) for index in range(3000)]
    assert quickly(tiny_tiff(*shared, body=body)).size == (8, 8)


def test_tags_in_the_exif_of_a_png_that_share_their_bytes_cost_nothing():
    exif = tiff([(1000 + index, 7, 600_000, 8) for index in range(3000)], bytes(600_000))
    data = encode(draw(1), "PNG")
    assert same(quickly(data[:33] + png_chunk(b"eXIf", exif) + data[33:]), load_image(data))


# --- ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_that_lacks_only_its_end_marker_is_read(options, missing):
    data = encode(draw(1, (61, 83)), **options)
    assert same(load_image(data[:-missing]), load_image(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_a_jpeg_that_lacks_pixels_is_refused(options, share):
    data = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)), **options)
    with pytest.raises(ImageError, match="truncated"):
        load_image(data[: int(share * len(data))])


def test_a_png_without_its_end_chunk_is_read_and_one_without_its_last_rows_is_not():
    data = encode(draw(1), "PNG")
    assert same(load_image(data[:-12]), load_image(data))
    assert same(load_image(data[:-16]), load_image(data))
    with pytest.raises(ImageError, match="truncated"):
        load_image(data[:-200])


def test_a_gif_without_its_trailer_is_read():
    data = encode(draw(1).quantize(16), "GIF")
    assert same(load_image(data[:-1]), load_image(data))


# --- claims ----------------------------------------------------------------------------------


def test_a_tile_counts_as_pixels_whatever_the_size_of_the_image():
    tile = [(322, 4, 1, 32_752), (323, 4, 1, 21_840), (324, 4, 1, 8), (325, 4, 1, 64)]
    with pytest.raises(ImageError, match="tiles of 32752x21840 pixels in an image of 8x8"):
        load_image(tiny_tiff(*tile))


def test_a_tiff_compressed_by_a_method_that_reserves_any_memory_is_refused():
    with pytest.raises(ImageError, match="TIFF compression 34925 is not read"):
        load_image(tiny_tiff((259, 3, 1, 34_925)))


@pytest.mark.parametrize("image_format", ["AVIF", "HEIC"])
def test_a_box_that_claims_a_huge_image_is_refused(image_format):
    data = bytearray(HEIC_BYTES if image_format == "HEIC" else encode(draw(1), "AVIF"))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, 30_000, 30_000)
    with pytest.raises(ImageError, match="too large"):
        load_image(bytes(data))


def test_pixels_of_an_avif_that_are_larger_than_the_box_says_are_refused():
    large = encode(Image.new("RGB", (4100, 4100)), "AVIF", speed=10)
    small = bytearray(large)
    struct.pack_into(">II", small, small.index(b"ispe") + 8, 64, 64)
    for data in (large, bytes(small)):
        with pytest.raises(ImageError, match="more than 17 megapixels for AVIF"):
            load_image(data)


def test_a_jpeg_of_many_scans_is_refused_even_below_the_number_of_scans():
    data = bytearray(scan_bomb(90))
    struct.pack_into(">HH", data, data.index(b"\xff\xc2") + 5, 6000, 6000)
    with pytest.raises(ImageError, match="scans"):
        quickly(bytes(data))


def test_a_jpeg_of_108_megapixels_is_decoded_at_a_fraction():
    data = encode(Image.new("RGB", (12_000, 9000), (200, 180, 160)), quality=30)
    assert load_image(data, target_size=224).width in (750, 1500)
    assert load_image(data).width * load_image(data).height <= 4096 * 4096


@pytest.mark.parametrize("mode", ["P", "1", "L", "RGBA", "I;16"])
def test_a_huge_image_of_every_mode_comes_out_reduced_and_unchanged_in_color(mode):
    image = Image.new(mode, (5000, 4000), {"RGBA": (255, 0, 0, 255), "I;16": 65_535}.get(mode, 1))
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0])
    expected = {"P": (255, 0, 0), "1": (255,) * 3, "L": (1,) * 3, "RGBA": (255, 0, 0), "I;16": (255,) * 3}[mode]
    loaded = load_image(encode(image, "PNG"))
    assert loaded.width * loaded.height <= 4096 * 4096
    assert loaded.getpixel((10, 10)) == expected


# --- HEIC ----------------------------------------------------------------------------------


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"miaf", b"heix"])
def test_a_heic_file_is_read_whichever_brand_comes_first(brand):
    data = HEIC_BYTES[:8] + brand + HEIC_BYTES[12:]
    assert looks_like_image(data[:64])
    loaded = load_image(data)
    assert loaded.size == (64, 48)
    assert np.abs(np.subtract(loaded.getpixel((5, 20)), (30, 60, 200))).max() < 12


def test_data_prep_takes_a_heic_file_too():
    from data_prep.pipeline.images import SUFFIXES, check_image

    facts = check_image(HEIC_BYTES)
    assert (facts.reason, facts.format, SUFFIXES[facts.format]) == ("", "HEIC", ".heic")


def test_without_the_package_a_heic_file_is_refused_with_the_cure(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    (tmp_path / "photo.jpg").write_bytes(HEIC_BYTES)
    with pytest.raises(ImageError, match="needs the package pi-heif: pip install pi-heif"):
        load_image(tmp_path / "photo.jpg")


def test_every_orientation_is_found_in_xmp_too():
    packet = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'
    data = encode(draw(1))
    turned = load_image(data[:2] + b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet + data[2:])
    assert turned.size == (80, 60)


def test_content_is_told_from_names_for_every_format():
    for image_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        assert looks_like_image(encode(draw(1), image_format)[:64]), image_format
    assert not looks_like_image(b"<html><body>not found</body></html>")
    assert not looks_like_image(io.BytesIO(b"\0\0\0\x18ftypmp42\0\0\0\0isommp42").getvalue())


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "TIFF by Deflate", "BMP", "AVIF"])
def test_a_file_that_is_cut_is_truncated_and_one_with_bad_bytes_is_damaged(image_format):
    image_format, _, compression = image_format.partition(" by ")
    options = {"compression": "tiff_adobe_deflate"} if compression else {}
    whole = encode(draw(3, (200, 160)), image_format, **options)
    cut = whole[: len(whole) * 2 // 3]
    if image_format == "TIFF":  # Pillow puts the directory first, where the pixels can be cut off behind it
        cut = whole[:-1000]
    with pytest.raises(ImageError, match="truncated"):
        load_image(cut)
    bad = bytearray(whole)
    middle = len(bad) // 2
    bad[middle : middle + 40] = bytes(40)
    try:
        load_image(bytes(bad))
    except ImageError as error:
        assert "truncated" not in str(error).partition("(")[0]


@pytest.mark.parametrize("size", [(1, 40_000_000), (40_000_000, 1)])
def test_a_side_that_no_camera_has_is_refused_however_few_its_pixels_are(size):
    with pytest.raises(ImageError, match="a side of more than 65,535 pixels"):
        load_image(png_bomb(*size))
