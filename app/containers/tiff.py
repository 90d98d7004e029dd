"""TIFF and BigTIFF: the first directory, rewritten with the tags that the pixels need.

A tile is decoded whole, so its size counts as pixels too. Compression by LZMA reserves whatever memory the file asks
for, so only the usual methods are read.
"""

import struct
from dataclasses import dataclass

from .base import (
    ENDIAN,
    MAX_METADATA_BYTES,
    MAX_PROFILE_BYTES,
    Container,
    check_pieces,
    check_pixels,
    damaged,
    sane_profile,
    too_large,
    truncated,
    xmp_orientation,
)

MAX_ENTRIES = 65_535  # of a directory; those of cameras have 100
MAX_RAW_BYTES = 152 * 2**20  # of uncompressed pixels: 50 megapixels of 24 bits
MAX_TILE_BYTES = 48 * 2**20
MAX_STRIPS = 70_000
MAX_VALUE_BYTES = 2**20  # of any other tag
COMPRESSIONS = {1: "none", 2: "CCITT", 3: "fax", 4: "fax", 5: "LZW", 6: "JPEG", 7: "JPEG", 8: "Deflate"}
COMPRESSIONS |= {32773: "PackBits", 32946: "Deflate", 50000: "Zstandard"}
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
WIDTH, HEIGHT, BITS, COMPRESSION, ORIENTATION, SAMPLES = 256, 257, 258, 259, 274, 277
STRIP_OFFSETS, STRIP_SIZES, MAX_SAMPLE = 273, 279, 281
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES = 322, 323, 324, 325
XMP, PROFILE = 700, 34675
PLACES = (STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES)
# Also color: 262 photometric, 266 fill order, 278 rows per strip, 284 planes, 292 and 293 fax options, 317 predictor,
# 320 palette, 332 inks, 338 and 339 samples, 347 JPEG tables, 512 to 521 JPEG of old, 529 to 532 YCbCr.
KEPT = frozenset((WIDTH, HEIGHT, BITS, COMPRESSION, 262, 266, *PLACES[:1], ORIENTATION, SAMPLES, 278, STRIP_SIZES))
KEPT |= frozenset((284, 292, 293, 317, 320, *range(322, 326), 332, 338, 339, 347, *range(512, 522), *range(529, 533)))


@dataclass(frozen=True, slots=True)
class Layout:
    """How a directory of TIFF or BigTIFF is laid out, for struct."""

    order: str
    big: bool

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def entry(self) -> str:
        return self.order + ("HHQ" if self.big else "HHI")

    @property
    def inline(self) -> int:
        """The bytes of a value that an entry holds itself."""
        return 8 if self.big else 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag of a directory. place: where its value lies in the file."""

    tag: int
    kind: int
    number: int
    place: int
    raw: bytes

    @property
    def size(self) -> int:
        return self.number * SIZES.get(self.kind, 1)


def read_tiff(data: bytes) -> Container:
    """Raises ImageError."""
    layout = _layout(data)
    entries = _directory(data, layout)
    values = {tag: _values(data, layout, entry) for tag, entry in entries.items() if tag not in (XMP, PROFILE, *PLACES)}
    width, height = (values.get(tag, [0])[0] for tag in (WIDTH, HEIGHT))
    check_pixels(width, height)
    _check_work(values, entries, width, height)
    bits = values.get(BITS, [1])[0]
    if bits == 16:
        bits = max(values.get(MAX_SAMPLE, []), default=65_535).bit_length()
    xmp = _content(data, entries.get(XMP), MAX_METADATA_BYTES)
    turned = xmp_orientation(xmp) if ORIENTATION not in entries and xmp else 1  # else Pillow turns TIFF itself
    width, height = (height, width) if values.get(ORIENTATION, [1])[:1] > [4] else (width, height)
    profile = sane_profile(_content(data, entries.get(PROFILE), MAX_PROFILE_BYTES))
    bits = bits if 8 < bits < 16 else 0
    ends = _ends(data, layout, entries)
    return Container("TIFF", _rewritten(data, layout, entries), width, height, turned, profile, bits, ends)


def _layout(data: bytes) -> Layout:
    layout = Layout(ENDIAN[data[:2]], data[2:4] in (b"+\0", b"\0+"))
    if len(data) < 16:
        raise truncated()
    return layout


def _directory(data: bytes, layout: Layout) -> dict[int, Entry]:
    """The first directory; of a tag that comes twice, the last one, as Pillow has it."""
    (start,) = struct.unpack_from(layout.offset, data, 8 if layout.big else 4)
    width, step = struct.calcsize(layout.count), struct.calcsize(layout.entry) + layout.inline
    if start + width > len(data):
        raise truncated()
    (count,) = struct.unpack_from(layout.count, data, start)
    check_pieces(count, "directory entries", MAX_ENTRIES)
    if start + width + count * step > len(data):
        raise truncated()
    entries = {}
    for place in range(start + width, start + width + count * step, step):
        tag, kind, number = struct.unpack_from(layout.entry, data, place)
        if tag not in KEPT and tag not in (XMP, PROFILE, MAX_SAMPLE):
            continue
        value, size = place + step - layout.inline, number * SIZES.get(kind, 1)
        if size > layout.inline:
            (value,) = struct.unpack_from(layout.offset, data, value)
        entries[tag] = Entry(tag, kind, number, value, data[place : place + step])
    return entries


def _values(data: bytes, layout: Layout, entry: Entry) -> list[int]:
    letter = LETTERS.get(entry.kind)
    if entry.size > MAX_VALUE_BYTES:
        raise too_large(f"a TIFF whose tag {entry.tag} has {entry.size:,} bytes")
    if entry.place + entry.size > len(data):
        raise truncated()
    return list(struct.unpack_from(f"{layout.order}{entry.number}{letter}", data, entry.place)) if letter else []


def _content(data: bytes, entry: Entry | None, limit: int) -> bytes:
    return data[entry.place : entry.place + min(entry.size, limit)] if entry else b""


def _check_work(values: dict[int, list[int]], entries: dict[int, Entry], width: int, height: int) -> None:
    compression = values.get(COMPRESSION, [1])[0]
    if compression not in COMPRESSIONS:
        allowed = ", ".join(dict.fromkeys(COMPRESSIONS.values()))
        raise damaged(f"TIFF compression {compression} is not read; {allowed} are")
    samples = max(values.get(SAMPLES, [1])[:1] + [len(values.get(BITS, [1]))])
    per_pixel = samples * max(values.get(BITS, [1]), default=1) / 8
    if width * height * per_pixel > MAX_RAW_BYTES:
        raise too_large(f"{width}x{height} pixels of {per_pixel:.0f} bytes, at most {MAX_RAW_BYTES / 2**20:.0f} MiB")
    if TILE_OFFSETS in entries:
        across, down = (values.get(tag, [0])[0] for tag in (TILE_WIDTH, TILE_HEIGHT))
        if across * down * per_pixel > max(MAX_TILE_BYTES, 2 * width * height * per_pixel):
            raise too_large(f"tiles of {across}x{down} pixels in an image of {width}x{height}")
        check_pixels(across, down)
    check_pieces(max(entries[tag].number for tag in PLACES if tag in entries) if entries else 0, "strips", MAX_STRIPS)


def _ends(data: bytes, layout: Layout, entries: dict[int, Entry]) -> bool:
    """Whether the file has all strips or tiles."""
    for offsets, sizes in ((STRIP_OFFSETS, STRIP_SIZES), (TILE_OFFSETS, TILE_SIZES)):
        if offsets in entries and sizes in entries:
            parts = zip(_values(data, layout, entries[offsets]), _values(data, layout, entries[sizes]), strict=False)
            return all(offset + size <= len(data) for offset, size in parts)
    return True


def _rewritten(data: bytes, layout: Layout, entries: dict[int, Entry]) -> bytes:
    """The file with another directory at its end; values and pixels stay where they are."""
    kept = [entry.raw for tag, entry in sorted(entries.items()) if tag in KEPT]
    end = data + bytes(len(data) & 1)
    head = (
        data[:8] + struct.pack(layout.offset, len(end))
        if layout.big
        else data[:4] + struct.pack(layout.offset, len(end))
    )
    directory = struct.pack(layout.count, len(kept)) + b"".join(kept) + struct.pack(layout.offset, 0)
    return b"".join((head, memoryview(end)[len(head) :], directory))
