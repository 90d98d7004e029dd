"""Small files that take far too much of a decoder that trusts them: memory, seconds, or both."""

import io
import struct
import zipfile
import zlib
from functools import cache

from PIL import Image


@cache
def hostile_images() -> dict[str, bytes]:
    """Names and contents."""
    return {
        "bomb.png": bomb_png(),
        "tags.tiff": tiff_of_shared_tags(),
        "comment.gif": gif_of_one_comment(),
        "parts.jpg": jpeg_of_exif_parts(),
        "cut.jpg": encoded("JPEG", 1200)[:20_000],
        "broken.webp": broken(encoded("WEBP", 600)),
        "broken.png": broken(encoded("PNG", 600)),
        "text.jpg": b"no image at all",
        "large.webp": flat("WEBP", (4096, 4096)),
        "scans.jpg": flat("JPEG", (7000, 7000), progressive=True),
        "tile.tiff": tiff_of_one_tile(),
        "names.zip": zip_of_many_names(),
        "bombs.zip": zip_of(bomb_png(), 20),
    }


def encoded(kind: str, side: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((side, side), 80).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def broken(image: bytes) -> bytes:
    """With a stretch of other bytes in its middle."""
    middle = len(image) // 2
    return image[:middle] + bytes(range(256)) * 4 + image[middle + 1024 :]


def flat(kind: str, size: tuple[int, int], **options: object) -> bytes:
    """Many pixels in few bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 40, 90)).save(buffer, kind, **options)
    return buffer.getvalue()


def bomb_png(side: int = 7000) -> bytes:
    """49 megapixels in some kilobytes."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def tiff_of_shared_tags(count: int = 3000, size: int = 600_000) -> bytes:
    """Distinct tags which all point at the same bytes; each is copied when they are read."""
    base = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    base += [(277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 64)]
    out = bytearray(b"II*\0" + struct.pack("<I", 8 + size) + bytes(size)) + struct.pack("<H", count + len(base))
    for tag, kind, number, value in base:
        out += struct.pack("<HHII", tag, kind, number, value)
    for number in range(count):
        out += struct.pack("<HHII", 1000 + number, 7, size, 8)
    return bytes(out + struct.pack("<I", 0))


def gif_of_one_comment(size: int = 3_000_000) -> bytes:
    gif = encoded("GIF", 64)
    head = 13 + (3 * 2 ** ((gif[10] & 7) + 1) if gif[10] & 0x80 else 0)
    return gif[:head] + b"!\xfe" + (b"\xff" + b"A" * 255) * (size // 256) + b"\0" + gif[head:]


def jpeg_of_exif_parts(size: int = 2_000_000, part: int = 24) -> bytes:
    jpeg = encoded("JPEG", 64)
    segment = b"\xff\xe1" + struct.pack(">H", 8 + part) + b"Exif\0\0" + b"A" * part
    return jpeg[:2] + segment * (size // len(segment)) + jpeg[2:]


def tiff_of_one_tile(width: int = 32752, height: int = 21840) -> bytes:
    """16 x 16 pixels in one tile, which a decoder reserves whole: 2.3 GB."""
    pixels = zlib.compress(bytes(4096))
    tags = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 3, 0), (259, 3, 1, 8), (262, 3, 1, 2), (277, 3, 1, 3)]
    tags += [(284, 3, 1, 1), (322, 4, 1, width), (323, 4, 1, height), (324, 4, 1, 0), (325, 4, 1, len(pixels))]
    bits_at = 8 + 2 + 12 * len(tags) + 4
    out = bytearray(b"II*\0" + struct.pack("<IH", 8, len(tags)))
    for tag, kind, number, value in tags:
        out += struct.pack("<HHII", tag, kind, number, {258: bits_at, 324: bits_at + 6}.get(tag, value))
    return bytes(out + struct.pack("<IHHH", 0, 8, 8, 8) + pixels)


def zip_of_many_names(count: int = 50_000) -> bytes:
    """A list of files whose length the end record hides."""
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    entry = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    end = b"PK\x05\x06" + struct.pack("<HHIIH", 1, 1, count * len(entry), 0, 0)
    return local + entry * count + b"PK\x05\x06" + end


def zip_of(image: bytes, count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.png", image)
    return buffer.getvalue()
