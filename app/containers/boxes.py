"""AVIF and HEIC: the boxes of the still image. Films, further frames, EXIF and XMP are renamed: nobody reads them.

Every declared size counts: of images, of the tiles of a grid, of the grid itself and of the coded pixels.
MAX_AVIF_PIXELS and MAX_HEIC_PIXELS, as these decoders hold an image three times and cannot reduce it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from .base import Container, check_pieces, check_pixels, damaged, too_large, truncated
from .video_sizes import av1_sizes, hevc_config_sizes, hevc_sizes

MAX_AVIF_PIXELS = 4096 * 4096
MAX_HEIC_PIXELS = 5760 * 4320  # iPhones take 12 or 24 megapixels
MAX_BOXES = 20_000
MAX_ITEMS = 2000
CODED = {b"av01": "AVIF", b"hvc1": "HEIC", b"hev1": "HEIC"}
DERIVED = (b"grid", b"iden")
UNREAD = (b"Exif", b"mime", b"uri ")
PARENTS = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # and the bytes before their first child


@dataclass(slots=True)
class Item:
    """One image, or what belongs to one. place: where its type stands in the file."""

    kind: bytes
    place: int
    properties: list[int] = field(default_factory=list)
    extents: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Boxes:
    """The boxes of a file: where the content of each lies, and its kind."""

    found: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    properties: list[tuple[bytes, int, int]] = field(default_factory=list)
    films: list[int] = field(default_factory=list)  # where the kind of such a box stands
    count: int = 0


def read_boxes(data: bytes) -> Container:
    """Raises ImageError."""
    boxes = Boxes()
    _walk(data, 0, len(data), boxes)
    if b"meta" not in boxes.found or b"pitm" not in boxes.found:
        raise truncated() if _is_cut(data) else damaged("no still image in the file")
    items = _items(data, boxes)
    primary = items.get(_primary(data, boxes))
    if primary is None or primary.kind not in CODED and primary.kind not in DERIVED:
        kind = primary.kind.decode("ascii", "replace") if primary else "none"
        raise damaged(f"its main image is of the kind {kind!r}, which is not read")
    coded = {CODED[item.kind] for item in items.values() if item.kind in CODED}
    if len(coded) != 1:
        raise damaged("no coded image" if not coded else "images of two kinds in one file")
    name = coded.pop()
    _check_sizes(data, boxes, items, name)
    sizes = [_declared(data, boxes, item) for item in (primary, *items.values())]
    width, height = next((size for size in sizes if size), (0, 0))
    check_pixels(width, height)
    return Container(name, _renamed(data, boxes, items, name), width, height, ends=not _is_cut(data))


def _is_cut(data: bytes) -> bool:
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size < 8:
            return False
        place += size
    return place != len(data)


def _walk(data: bytes, place: int, end: int, boxes: Boxes, parent: bytes = b"") -> None:
    while place + 8 <= end:
        boxes.count += 1
        check_pieces(boxes.count, "boxes", MAX_BOXES)
        size, kind, start = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], place + 8
        if size == 1:
            size, start = int.from_bytes(data[place + 8 : place + 16], "big"), place + 16
        stop = place + size if size else end
        if stop < start:
            raise damaged("a box that is shorter than its header")
        stop = min(stop, end)
        if parent == b"ipco":
            boxes.properties.append((kind, start, stop))
        elif parent in (b"", b"meta", b"iprp"):
            boxes.found.setdefault(kind, (start, stop))
            if kind in (b"moov", b"moof"):
                boxes.films.append(place + 4)
            if kind in PARENTS and boxes.found[kind] == (start, stop):
                _walk(data, start + PARENTS[kind], stop, boxes, kind)
        place = stop


class Fields:
    """Reads big-endian numbers one after the other; past the end they are 0."""

    def __init__(self, data: bytes, place: int, end: int) -> None:
        self.data, self.place, self.end = data, place, end

    def read(self, size: int) -> int:
        self.place += size
        return int.from_bytes(self.data[self.place - size : self.place], "big") if self.place <= self.end else 0


def _fields(data: bytes, boxes: Boxes, kind: bytes) -> tuple[Fields, int, int]:
    """A full box with its version and flags."""
    start, stop = boxes.found.get(kind, (0, 0))
    fields = Fields(data, start, stop)
    return fields, fields.read(1), fields.read(3)


def _primary(data: bytes, boxes: Boxes) -> int:
    fields, version, _ = _fields(data, boxes, b"pitm")
    return fields.read(4 if version else 2)


def _items(data: bytes, boxes: Boxes) -> dict[int, Item]:
    fields, version, _ = _fields(data, boxes, b"iinf")
    count = fields.read(4 if version else 2)
    check_pieces(count, "images in one file", MAX_ITEMS)
    items: dict[int, Item] = {}
    for _ in range(count):
        start = fields.place
        size, kind, infe = fields.read(4), fields.read(4), fields.read(1)
        if size < 12 or kind != int.from_bytes(b"infe", "big"):
            break
        fields.read(3)
        number = fields.read(4 if infe >= 3 else 2)
        fields.read(2)
        if infe >= 2:
            items[number] = Item(data[fields.place : fields.place + 4], fields.place)
        fields.place = start + size
    _read_properties(data, boxes, items)
    _read_places(data, boxes, items)
    return items


def _read_properties(data: bytes, boxes: Boxes, items: dict[int, Item]) -> None:
    fields, version, flags = _fields(data, boxes, b"ipma")
    count = fields.read(4)
    check_pieces(count, "images in one file", MAX_ITEMS)
    for _ in range(count):
        item = items.get(fields.read(4 if version else 2))
        for _ in range(fields.read(1)):
            index = fields.read(2) & 0x7FFF if flags & 1 else fields.read(1) & 0x7F
            if item and index:
                item.properties.append(index - 1)


def _read_places(data: bytes, boxes: Boxes, items: dict[int, Item]) -> None:
    """iloc: where the bytes of each item lie."""
    fields, version, _ = _fields(data, boxes, b"iloc")
    sizes = fields.read(2)
    offset, length, base, index = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15 if version else 0
    count = fields.read(4 if version == 2 else 2)
    check_pieces(count, "images in one file", MAX_ITEMS)
    extents = 0
    for _ in range(count):
        item = items.get(fields.read(4 if version == 2 else 2))
        in_idat = version > 0 and fields.read(2) & 15 == 1
        fields.read(2)
        start = fields.read(base) + (boxes.found.get(b"idat", (0, 0))[0] if in_idat else 0)
        number = fields.read(2)
        extents += number
        check_pieces(extents, "parts of images", MAX_BOXES)
        for _ in range(number):
            fields.read(index)
            place, size = start + fields.read(offset), fields.read(length)
            if item:
                item.extents.append((place, size or len(data) - place))


def _declared(data: bytes, boxes: Boxes, item: Item) -> tuple[int, int] | None:
    """The size that an image's ispe property says."""
    for index in item.properties:
        kind, start, stop = boxes.properties[index] if index < len(boxes.properties) else (b"", 0, 0)
        if kind == b"ispe" and stop - start >= 12:
            width, height = struct.unpack_from(">II", data, start + 4)
            return width, height
    return None


def _check_sizes(data: bytes, boxes: Boxes, items: dict[int, Item], name: str) -> None:
    limit = MAX_AVIF_PIXELS if name == "AVIF" else MAX_HEIC_PIXELS
    total, read = 0, 0
    for item in items.values():
        if item.kind not in CODED and item.kind not in DERIVED:
            continue
        read += sum(size for _, size in item.extents)
        if read > 2 * len(data) + MAX_BOXES:
            raise too_large("images that share their bytes")
        sizes = list(_sizes(data, boxes, item))
        for width, height in sizes:
            check_pixels(width, height, limit, name)
        total += max((width * height for width, height in sizes), default=0) if item.kind in CODED else 0
    if total > 2 * limit:  # thumbnails, depth and a map of brightness are smaller than the image
        raise too_large(f"images and tiles of {total / 1e6:.0f} megapixels in one file")


def _sizes(data: bytes, boxes: Boxes, item: Item) -> Iterator[tuple[int, int]]:
    """Whatever size is declared anywhere for an image."""
    declared = _declared(data, boxes, item)
    if declared:
        yield declared
    content = b"".join(data[place : place + size] for place, size in item.extents)
    length_bytes = 4
    for index in item.properties:
        kind, start, stop = boxes.properties[index] if index < len(boxes.properties) else (b"", 0, 0)
        if kind == b"hvcC" and item.kind != b"av01":
            yield from hevc_config_sizes(data[start:stop])
            length_bytes = (data[start + 21] & 3) + 1 if stop - start > 21 else 4
        elif kind == b"av1C" and item.kind == b"av01":
            yield from av1_sizes(data[start + 4 : stop])
    if item.kind == b"grid" and len(content) >= 8:
        yield struct.unpack_from(">II" if content[1] & 1 and len(content) >= 12 else ">HH", content, 4)
    elif item.kind == b"av01":
        yield from av1_sizes(content)
    elif item.kind in CODED:
        yield from hevc_sizes(content, length_bytes)


def _renamed(data: bytes, boxes: Boxes, items: dict[int, Item], name: str) -> bytes:
    """The same bytes, in which readers find the still image and nothing else."""
    places = [(place, b"free") for place in boxes.films]
    places += [(item.place, b"skip") for item in items.values() if item.kind in UNREAD]
    if name == "AVIF":  # a brand of films without a film would be an error
        stop = min(boxes.found[b"ftyp"][1], 1000)
        films = [at for at in range(16, stop - 3, 4) if data[at : at + 4] == b"avis" and boxes.films]
        places += [(at, b"avif") for at in (8, *films) if data[at : at + 4] != b"avif"]
    if not places:
        return data
    changed = bytearray(data)
    for place, kind in places:
        changed[place : place + 4] = kind
    return bytes(changed)
