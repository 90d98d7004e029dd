"""WebP: one still image, or the first frame of an animation. MAX_WEBP_PIXELS, as its decoder holds four copies."""

import struct

from .base import (
    MAX_METADATA_BYTES,
    MAX_PROFILE_BYTES,
    Container,
    check_pieces,
    check_pixels,
    damaged,
    orientation_of,
    sane_profile,
    truncated,
)

MAX_WEBP_PIXELS = 4096 * 4096
ANIMATED, ALPHA = 0x02, 0x10
STILL = (b"VP8 ", b"VP8L")


def read_webp(data: bytes) -> Container:
    """Raises ImageError."""
    chunks = _walk(data, 12, min(len(data), 8 + int.from_bytes(data[4:8], "little")))
    canvas = _canvas(data, chunks)
    frame = chunks.get(b"ANMF")
    parts = _walk(data, frame[0] + 16, frame[1]) if frame else chunks
    for kind in STILL:
        if kind in parts:
            check_pixels(*_size(data, kind, parts[kind][0]), MAX_WEBP_PIXELS, "WebP")
    if not any(kind in parts for kind in STILL):
        raise truncated() if len(data) < 8 + int.from_bytes(data[4:8], "little") else damaged("no pixels")
    still = next(kind for kind in STILL if kind in parts)
    exif, xmp = (_content(data, chunks, kind, MAX_METADATA_BYTES) for kind in (b"EXIF", b"XMP "))
    width, height = canvas or _size(data, still, parts[still][0])
    check_pixels(width, height, MAX_WEBP_PIXELS, "WebP")
    return Container(
        "WEBP",
        _rebuilt(data, chunks, parts, still),
        width,
        height,
        orientation=orientation_of(exif, xmp),
        profile=sane_profile(_content(data, chunks, b"ICCP", MAX_PROFILE_BYTES)),
        ends=len(data) >= 8 + int.from_bytes(data[4:8], "little"),
    )


def _walk(data: bytes, place: int, end: int) -> dict[bytes, tuple[int, int]]:
    """The first chunk of each kind: where its content lies. Nothing is looked at behind the first frame's pixels but
    metadata, which WebP puts last."""
    chunks: dict[bytes, tuple[int, int]] = {}
    count = 0
    while place + 8 <= end:
        count += 1
        check_pieces(count, "chunks")
        kind, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if kind not in chunks and place + 8 + size <= len(data):
            chunks[kind] = (place + 8, place + 8 + size)
        place += 8 + size + (size & 1)
    if place > len(data) + 1 and not any(kind in chunks for kind in (*STILL, b"ANMF")):
        raise truncated()
    return chunks


def _canvas(data: bytes, chunks: dict[bytes, tuple[int, int]]) -> tuple[int, int] | None:
    start, stop = chunks.get(b"VP8X", (0, 0))
    if stop - start < 10:
        return None
    width, height = (int.from_bytes(data[start + at : start + at + 3], "little") + 1 for at in (4, 7))
    return width, height


def _size(data: bytes, kind: bytes, start: int) -> tuple[int, int]:
    """Width and height that the pixels themselves declare."""
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data.ljust(start + 10, b"\0"), start + 6)
        return width & 0x3FFF, height & 0x3FFF
    bits = int.from_bytes(data[start + 1 : start + 5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _content(data: bytes, chunks: dict[bytes, tuple[int, int]], kind: bytes, limit: int) -> bytes:
    start, stop = chunks.get(kind, (0, 0))
    return data[start : min(stop, start + limit)]


def _rebuilt(
    data: bytes, chunks: dict[bytes, tuple[int, int]], parts: dict[bytes, tuple[int, int]], still: bytes
) -> bytes:
    pixels = b"".join(_chunk(kind, data[slice(*parts[kind])]) for kind in (b"ALPH", still) if kind in parts)
    if b"VP8X" in chunks:
        header = bytearray(data[slice(*chunks[b"VP8X"])])
        if b"ANMF" in chunks:
            header[0] &= ANIMATED | ALPHA
            start = chunks[b"ANMF"][0]
            pixels = _chunk(b"ANIM", data[slice(*chunks.get(b"ANIM", (0, 0)))].ljust(6, b"\0")) + _chunk(
                b"ANMF", data[start : start + 16] + pixels
            )
        else:
            header[0] &= ALPHA
        pixels = _chunk(b"VP8X", bytes(header)) + pixels
    return b"RIFF" + struct.pack("<I", 4 + len(pixels)) + b"WEBP" + pixels


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)
