"""The size that coded pixels of AVIF (AV1) and HEIC (HEVC) declare themselves, whatever the boxes around them say."""

from collections.abc import Iterator

from .base import check_pieces

SEQUENCE_HEADER, SPS = 1, 33
HEADER_BYTES = 400  # enough for either header


class Bits:
    """Reads a number bit by bit. Raises ValueError at the end."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        if count > self.left:
            raise ValueError("too few bits")
        self.left -= count
        return self.value >> self.left & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(min(zeros, 32))


def av1_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Of each sequence header among the OBUs of an image."""
    place, count = 0, 0
    while place < len(data):
        count += 1
        check_pieces(count, "parts of pixels")
        header = data[place]
        place += 2 if header & 4 else 1
        length = len(data) - place
        if header & 2:
            length, place = _leb128(data, place)
        if header >> 3 & 15 == SEQUENCE_HEADER:
            try:
                yield _av1_size(Bits(data[place : place + min(length, HEADER_BYTES)]))
            except ValueError:
                return  # the decoder will not read it either
        place += length


def _leb128(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[place : place + 8]):
        value |= (byte & 127) << 7 * index
        if not byte & 128:
            return value, place + index + 1
    return len(data), place + 8


def _av1_size(bits: Bits) -> tuple[int, int]:
    """Section 5.5 of the AV1 specification."""
    bits.read(4)
    if bits.read(1):
        bits.read(5)
    else:
        _skip_av1_timing(bits)
    width, height = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width) + 1, bits.read(height) + 1


def _skip_av1_timing(bits: Bits) -> None:
    delay_bits = 0
    if bits.read(1):
        bits.read(64)
        if bits.read(1):
            bits.exp_golomb()
        if bits.read(1):
            delay_bits = bits.read(5) + 1
            bits.read(42)
    display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if display_delay and bits.read(1):
            bits.read(4)


def hevc_config_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Of each sequence parameter set in an hvcC box."""
    place = 23
    for _ in range(data[22] if len(data) > 22 else 0):
        kind, count = data[place] & 63 if place < len(data) else 0, int.from_bytes(data[place + 1 : place + 3], "big")
        place += 3
        for _ in range(count):
            length = int.from_bytes(data[place : place + 2], "big")
            if not length or place >= len(data):
                return
            if kind == SPS:
                yield from _hevc_size(data[place + 2 : place + 2 + min(length, HEADER_BYTES)])
            place += 2 + length


def hevc_sizes(data: bytes, length_bytes: int) -> Iterator[tuple[int, int]]:
    """Of each sequence parameter set among the NAL units of an image."""
    place, count = 0, 0
    while place + length_bytes < len(data):
        count += 1
        check_pieces(count, "parts of pixels")
        length = int.from_bytes(data[place : place + length_bytes], "big")
        place += length_bytes
        if data[place] >> 1 & 63 == SPS:
            yield from _hevc_size(data[place : place + min(length, HEADER_BYTES)])
        place += length


def _hevc_size(unit: bytes) -> Iterator[tuple[int, int]]:
    """Section 7.3.2.2 of the HEVC specification."""
    bits = Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
    try:
        bits.read(4)
        layers = bits.read(3)
        bits.read(1 + 96)
        flags = [(bits.read(1), bits.read(1)) for _ in range(layers)]
        bits.read(2 * (8 - layers) if layers else 0)
        for profile, level in flags:
            bits.read(88 * profile + 8 * level)
        bits.exp_golomb()
        if bits.exp_golomb() == 3:
            bits.read(1)
        yield bits.exp_golomb(), bits.exp_golomb()
    except ValueError:
        return  # the decoder will not read it either
