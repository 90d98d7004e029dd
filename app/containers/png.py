"""PNG, also animated: the chunks that the still image needs. Text, other frames and unknown chunks are dropped."""

import struct
import zlib

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

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"
FEW_PARTS = 1000  # of pixels; Pillow takes each one by itself, so more are joined
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
XMP_KEY, EXIF_KEY = b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"


def read_png(data: bytes) -> Container:
    """Raises ImageError."""
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise damaged("its header cannot be read")
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    check_pixels(width, height)
    kept, parts, extra, ends = _walk(data)
    if not parts:
        raise truncated() if not ends else damaged("no pixels")
    image = Container("PNG", b"", width, height, ends=ends)
    image.orientation = orientation_of(extra.get(b"eXIf", b""), extra.get(b"xmp", b""))
    image.profile = _profile(extra[b"iCCP"]) if b"iCCP" in extra else None
    sizes = [bits for bits in extra.get(b"sBIT", b"")[: CHANNELS.get(color, 0)] if 0 < bits <= depth]
    image.bits = max(sizes, default=0)
    image.data = b"".join((SIGNATURE, *kept, *_pixels(data, parts), END))
    return image


def _walk(data: bytes) -> tuple[list[bytes], list[tuple[int, int]], dict[bytes, bytes], bool]:
    """The chunks that stay, where the pixels lie, what else matters, and whether the end is there."""
    kept: list[bytes] = []
    parts: list[tuple[int, int]] = []
    extra: dict[bytes, bytes] = {}
    place, count, size = 8, 0, len(data)
    while place + 8 <= size:
        count += 1
        check_pieces(count, "chunks")
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        stop = place + 12 + length
        if kind == b"IDAT":
            parts.append((place + 8, min(length, size - place - 8)))
        elif kind == b"IEND":
            return kept, parts, extra, True
        elif stop > size + 4:
            break
        elif kind == b"IHDR" or (kind in (b"PLTE", b"tRNS") and len(kept) < 8 and not parts):
            kept.append(data[place:stop])
        elif kind in (b"eXIf", b"iCCP", b"sBIT"):
            extra.setdefault(kind, data[place + 8 : min(stop - 4, place + 8 + MAX_PROFILE_BYTES)])
        elif kind in (b"iTXt", b"zTXt", b"tEXt"):
            _text(data[place + 8 : min(stop - 4, place + 8 + MAX_METADATA_BYTES)], extra)
        place = stop
    return kept, parts, extra, False


def _text(text: bytes, extra: dict[bytes, bytes]) -> None:
    """XMP, and EXIF as ImageMagick writes it; other text is not looked at."""
    if text.startswith(XMP_KEY):
        content = text[len(XMP_KEY) :]
        extra[b"xmp"] = _inflated(content[4:], MAX_METADATA_BYTES) if content[:1] == b"\1" else content
    elif text.startswith(EXIF_KEY) and b"eXIf" not in extra:
        content = text[len(EXIF_KEY) :]
        content = _inflated(content[1:], MAX_METADATA_BYTES) if content[:1] == b"\0" else content
        try:
            extra[b"eXIf"] = bytes.fromhex(b"".join(content.split(b"\n")[3:]).decode("ascii"))
        except ValueError:
            return


def _profile(content: bytes) -> bytes | None:
    name = content.find(b"\0", 0, 80)
    return sane_profile(_inflated(content[name + 2 :], MAX_PROFILE_BYTES)) if name >= 0 else None


def _inflated(data: bytes, limit: int) -> bytes:
    """At most `limit` bytes of it; what is damaged is empty."""
    try:
        return zlib.decompressobj().decompress(data, limit)
    except zlib.error:
        return b""


def _chunk(data: bytes, at: int, size: int) -> bytes:
    """A part of the pixels with its checksum, which decoders do not compare."""
    return struct.pack(">I", size) + b"IDAT" + data[at : at + size + 4].ljust(size + 4, b"\0")


def _pixels(data: bytes, parts: list[tuple[int, int]]) -> list[bytes]:
    if len(parts) <= FEW_PARTS:
        return [_chunk(data, at, size) for at, size in parts]
    joined = b"".join(data[at : at + size] for at, size in parts)
    return [struct.pack(">I", len(joined)), b"IDAT", joined, struct.pack(">I", zlib.crc32(b"IDAT" + joined))]
