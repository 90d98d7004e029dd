"""BMP: the header. A run-length coded one is decoded in Python, so it may have far fewer pixels."""

import struct

from .base import Container, check_pixels, damaged, too_large, truncated

MAX_RUN_LENGTH_PIXELS = 2048 * 1024
MAX_RUN_LENGTH_BYTES = 4 * 2**20
MAX_RUN_LENGTH_WIDTH = 32_767  # one code may skip 255 rows
MAX_COLORS = 65_536
RLE8, RLE4 = 1, 2


def read_bmp(data: bytes) -> Container:
    """Raises ImageError."""
    if len(data) < 54:
        raise truncated()
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        check_pixels(width, height)
        return Container("BMP", data, width, height)
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    colors = struct.unpack_from("<I", data, 46)[0]
    if colors > MAX_COLORS:
        raise damaged(f"a palette of {colors:,} colors")
    check_pixels(width, abs(height))
    if compression in (RLE8, RLE4):
        check_pixels(width, abs(height), MAX_RUN_LENGTH_PIXELS, "a run-length coded BMP")
        if len(data) > MAX_RUN_LENGTH_BYTES or width > MAX_RUN_LENGTH_WIDTH:
            raise too_large("a run-length coded BMP of more than 4 MiB or 32,767 pixels in a row")
    bits = struct.unpack_from("<H", data, 28)[0]
    pixels = 0 if compression in (RLE8, RLE4) else (width * bits + 31) // 32 * 4 * abs(height)
    size = max(struct.unpack_from("<I", data, 10)[0] + pixels, struct.unpack_from("<I", data, 2)[0])
    return Container("BMP", data, width, abs(height), ends=size <= len(data))
