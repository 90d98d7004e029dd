"""JPEG, also MPO and motion photos: the segments up to the first image's own end.

Up to MAX_JPEG_PIXELS, because a large one is decoded at a fraction. One with several scans is held whole, as
coefficients, while it is decoded, so these are limited too, and so is how often all blocks are gone through.
"""

import re
from dataclasses import dataclass, field

from .base import (
    MAX_METADATA_BYTES,
    MAX_PIECES,
    MAX_PROFILE_BYTES,
    Container,
    check_pieces,
    check_pixels,
    damaged,
    orientation_of,
    sane_profile,
    too_large,
    truncated,
)

MAX_JPEG_PIXELS = 16_384 * 12_288  # the 200-megapixel cameras of phones
MAX_ARITHMETIC_PIXELS = 8192 * 3072  # arithmetic coding is far slower
MAX_COEFFICIENT_BYTES = 180 * 2**20
MAX_SCANS = 100  # real ones have about 10
MAX_SCANNED_BLOCKS = 16_000_000  # over all scans; 50 megapixels in the usual 10 have 6 million
MAX_TABLES, MAX_TABLE_BYTES = 1000, 2**20

LAYERS = (1, 3, 4)
EOI = b"\xff\xd9"
MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)  # anywhere
SCAN_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]", re.DOTALL)  # in a scan: no stuffing, no restart
FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
PROGRESSIVE, ARITHMETIC = (0xC2, 0xCA), (0xC9, 0xCA)
ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length
DROPPED = frozenset((*range(0xE3, 0xEE), 0xEF, 0xFE))  # of applications, and comments
TABLES = frozenset((0xC4, 0xCC, 0xDB, 0xDD))
EXIF, XMP, ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
LONGEST_START = len(XMP)


@dataclass(slots=True)
class Walk:
    """What has been found so far. kept: the ranges of bytes that the decoder needs."""

    kept: list[tuple[int, int]] = field(default_factory=list)
    frame: bytes = b""
    marker: int = 0
    scans: int = 0
    scanned: float = 0.0
    tables: int = 0
    table_bytes: int = 0
    exif: bytes = b""
    xmp: bytes = b""
    profile: dict[int, bytes] = field(default_factory=dict)
    profile_bytes: int = 0
    headers: list[bytes] = field(default_factory=list)  # of the scans
    ends: bool = False


def read_jpeg(data: bytes) -> Container:
    """Raises ImageError."""
    walk = Walk(kept=[(0, 2)])
    _walk(data, walk)
    if not walk.scans:
        raise damaged("no pixels before the file ends")
    height, width = (int.from_bytes(walk.frame[at : at + 2], "big") for at in (1, 3))
    check_pixels(width, height, MAX_JPEG_PIXELS)
    if walk.frame[0] != 8 or walk.frame[5] not in LAYERS:
        raise damaged(f"JPEG of {walk.frame[0]} bits and {walk.frame[5]} layers; 8 bits and 1, 3 or 4 layers are read")
    _check_work(walk, width, height)
    if not walk.ends and _is_missing_a_scan(walk):  # a scan is missing: decoders would show a blurred image
        raise truncated()
    content = _joined(data, walk.kept)
    return Container(
        "JPEG",
        content if walk.ends else content + EOI,
        width,
        height,
        orientation=orientation_of(walk.exif, walk.xmp),
        profile=sane_profile(b"".join(walk.profile[number] for number in sorted(walk.profile))),
        ends=walk.ends,
        layers=walk.frame[5],
    )


def _joined(data: bytes, kept: list[tuple[int, int]]) -> bytes:
    if len(kept) == 1 and kept[0] == (0, len(data)):
        return data
    view = memoryview(data)
    return b"".join(view[start:stop] for start, stop in kept)


def _walk(data: bytes, walk: Walk) -> None:
    place, count = 2, 0
    while match := MARKER.search(data, place):
        count += 1
        if count > MAX_PIECES:
            check_pieces(count, "segments")
        place = match.end()
        marker = data[place - 1]
        if marker in DROPPED or (marker == 0xE1 and walk.exif and data.startswith(EXIF, place + 2)):
            place += int.from_bytes(data[place : place + 2], "big")
            continue
        if marker == 0xD9:
            walk.ends = True
            _keep(walk, place - 2, place)
            return
        if marker in ALONE:
            continue
        if marker < 0xC0 and not walk.scans:
            raise damaged("its header cannot be read")
        length = int.from_bytes(data[place : place + 2], "big")
        start, stop = place - 2, place + length
        if length < 2 or stop > len(data):
            if walk.scans:  # what follows the pixels is cut off
                return
            raise damaged("a segment without a length") if stop <= len(data) else truncated()
        place = _segment(data, walk, marker, start, stop)


def _segment(data: bytes, walk: Walk, marker: int, start: int, stop: int) -> int:
    """Take what a segment holds; returns where the next one starts."""
    if marker == 0xDA:
        return _scan(data, walk, start, stop)
    if marker in FRAMES:
        if walk.frame:
            raise damaged("two frames in one JPEG")
        walk.marker, walk.frame = marker, data[start + 4 : stop]
        if len(walk.frame) < 6 or len(walk.frame) < 6 + 3 * walk.frame[5]:
            raise damaged("its header cannot be read")
        _keep(walk, start, stop)
    elif marker in TABLES:
        walk.tables, walk.table_bytes = walk.tables + 1, walk.table_bytes + stop - start
        if walk.tables > MAX_TABLES or walk.table_bytes > MAX_TABLE_BYTES:
            raise too_large(f"a JPEG of more than {MAX_TABLES:,} tables")
        _keep(walk, start, stop)
    elif marker >= 0xE0 and not walk.scans:
        _application(data, walk, marker, start, stop)
    return stop


def _application(data: bytes, walk: Walk, marker: int, start: int, stop: int) -> None:
    begins = data[start + 4 : min(stop, start + 4 + LONGEST_START)]
    if marker == 0xE1 and begins.startswith(EXIF):
        walk.exif = walk.exif or data[start + 4 : stop]
    elif marker == 0xE1 and begins == XMP:
        walk.xmp = data[start + 4 : min(stop, start + 4 + MAX_METADATA_BYTES)]
    elif marker == 0xE2 and begins.startswith(ICC):
        number = data[start + 16] if stop > start + 18 else 0
        if number not in walk.profile and walk.profile_bytes < MAX_PROFILE_BYTES:
            walk.profile[number] = data[start + 18 : stop]
            walk.profile_bytes += stop - start
    elif (marker == 0xE0 and begins.startswith(b"JFIF")) or (marker == 0xEE and begins.startswith(b"Adobe")):
        walk.tables += 1  # they say how colors are stored
        if walk.tables <= MAX_TABLES:
            _keep(walk, start, stop)


def _scan(data: bytes, walk: Walk, start: int, stop: int) -> int:
    """A scan's header and the coded pixels behind it."""
    walk.scans += 1
    if walk.scans > MAX_SCANS:
        raise too_large(f"a JPEG of more than {MAX_SCANS} scans, which takes minutes to decode")
    if not walk.frame:
        raise damaged("pixels before the header")
    header = data[start + 4 : stop]
    components = header[0] if header else 0
    if len(header) < 4 + 2 * components or not components:
        raise damaged("its header cannot be read")
    _account(walk, header, components)
    match = SCAN_MARKER.search(data, stop)
    end = match.start() if match else len(data.rstrip(b"\xff")) if data.endswith(b"\xff") else len(data)
    _keep(walk, start, max(end, stop))
    return max(end, stop)


def _account(walk: Walk, header: bytes, components: int) -> None:
    """How many blocks this scan goes through."""
    walk.headers.append(header)
    numbers = [header[1 + 2 * index] for index in range(components)]
    factors = {walk.frame[6 + 3 * i]: walk.frame[7 + 3 * i] for i in range(walk.frame[5])}
    walk.scanned += sum((factors.get(number, 0x11) >> 4) * (factors.get(number, 0x11) & 15) for number in numbers)


def _is_missing_a_scan(walk: Walk) -> bool:
    """Whether a coefficient of a component has not come in full precision."""
    components = [walk.frame[6 + 3 * index] for index in range(walk.frame[5])]
    progressive = walk.marker in PROGRESSIVE
    missing = {(component, at) for component in components for at in range(64 if progressive else 1)}
    for header in walk.headers:
        first, last, low = (header[-3], header[-2], header[-1] & 15) if progressive else (0, 0, 0)
        if low == 0:
            scanned = header[1 : 1 + 2 * header[0] : 2]
            missing -= {(component, at) for component in scanned for at in range(first, min(last, 63) + 1)}
    return bool(missing)


def _check_work(walk: Walk, width: int, height: int) -> None:
    factors = [walk.frame[7 + 3 * index] for index in range(walk.frame[5])]
    across, down = max(factor >> 4 for factor in factors), max(factor & 15 for factor in factors)
    if not across or not down:
        raise damaged("its header cannot be read")
    units = -(-width // (8 * across)) * -(-height // (8 * down))  # the smallest parts that hold all components
    per_unit = sum((factor >> 4) * (factor & 15) for factor in factors)
    whole = walk.marker in PROGRESSIVE or walk.scans > 1
    if whole and units * per_unit * 128 > MAX_COEFFICIENT_BYTES:
        raise too_large(f"{width}x{height} pixels in several scans, which cannot be decoded at a fraction")
    if whole and units * walk.scanned > MAX_SCANNED_BLOCKS:
        raise too_large(f"{width}x{height} pixels in {walk.scans} scans, which takes minutes to decode")
    if walk.marker in ARITHMETIC:
        check_pixels(width, height, MAX_ARITHMETIC_PIXELS, "an arithmetically coded JPEG")


def _keep(walk: Walk, start: int, stop: int) -> None:
    if walk.kept and walk.kept[-1][1] == start:
        walk.kept[-1] = (walk.kept[-1][0], stop)
    else:
        walk.kept.append((start, stop))
