"""GIF: the first frame with its color tables and its transparency. Comments and further frames are dropped."""

from .base import Container, check_pieces, check_pixels, damaged, truncated

TRAILER = b";"
EXTENSION, FRAME, CONTROL = 0x21, 0x2C, 0xF9
MAX_SUB_BLOCKS = 6_000_000  # in all; a full one has 255 bytes


def read_gif(data: bytes) -> Container:
    """Raises ImageError."""
    if len(data) < 13:
        raise truncated()
    width, height = (int.from_bytes(data[at : at + 2], "little") for at in (6, 8))
    place = 13 + _table(data[10])
    head, control, count, blocks = data[:place], b"", 0, 0
    while place < len(data):
        count += 1
        check_pieces(count, "blocks")
        start, kind = place, data[place]
        if kind == FRAME:
            return _frame(data, head, control, start, (width, height))
        if kind == EXTENSION:
            place, found = _sub_blocks(data, start + 2, MAX_SUB_BLOCKS - blocks)
            blocks += found
            if data[start + 1 : start + 2] == bytes((CONTROL,)) and place - start <= 16:
                control = data[start:place]
        elif kind == TRAILER[0]:
            break
        else:
            place += 1  # readers pass over such bytes
    raise damaged("no pixels") if place < len(data) else truncated()


def _frame(data: bytes, head: bytes, control: bytes, start: int, canvas: tuple[int, int]) -> Container:
    if start + 11 > len(data):
        raise truncated()
    left, top, width, height = (int.from_bytes(data[start + at : start + at + 2], "little") for at in (1, 3, 5, 7))
    check_pixels(width, height)
    check_pixels(max(canvas[0], left + width), max(canvas[1], top + height))
    stop, _ = _sub_blocks(data, start + 10 + _table(data[start + 9]) + 1, MAX_SUB_BLOCKS)
    frame = data[start:stop]
    return Container("GIF", head + control + frame + TRAILER, *canvas, ends=stop <= len(data))


def _table(flags: int) -> int:
    """The bytes of a color table."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _sub_blocks(data: bytes, place: int, limit: int) -> tuple[int, int]:
    """Where the sub-blocks that start here end, behind the file if it ends earlier, and how many they are."""
    size, count = len(data), 0
    while place < size:
        length = data[place]
        place += length + 1
        if not length:
            return place, count
        count += 1
        if count > limit:
            check_pieces(count, "sub-blocks", limit)
    return size + 1, count
