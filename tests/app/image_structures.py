"""Damage that knows how image files are built: their segments, chunks, blocks, directories and boxes."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

NUMBERS = (0, 1, 2, 3, 7, 8, 13, 255, 256, 4097, 30_000, 65_535, 2**31 - 1, 2**32 - 1)
REPETITIONS = (2, 5, 100, 2000)
MAX_BYTES = 400_000  # of a mutated file
HEIC = """0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0004fZDn*}000000000XXk=`10000000000aA{+700000000000000000000B57=IV*
mgE07O6l0RRC200001p#T8@0000000372001LtX>Mi!000000RR916=`l}WdZ;I000310BCk&F#rGn01j|zbZr0t000010002}X>f9I0002pX>en2000
1XXm(>m0RwOV0058x000009`FGC{rLC*01pFT0096PKmiN^|NjGU00093kN^M!000939=ZZRVE_RDDnbDP18@KU0|1Z!00RI30{|YNAb|yz>g1-mxCm%
4AOHXZ10VnZ0{|gn00967L;=Bbz=;3=025<xY;ta6Y<K_x01W^JfB*mh6lrsCWdHyG00000KmY&$KmY&$C}V74Z~y=RKmY&$0RR91FaQ7m0RR9100000
0{{R2@Bjb+0ssI25O8UDX#fBK00RgJ2mk;87-?{AVE_OC000000RRC7fdT^sga7~lUu|SzbN~PVQz!wi6M*$6fj|G{okf4;Bdh*nD={kGnPvawgGj%R
@*TJgX)dWnz9w@%WT94`*@Jq06_NY=|5gN&IIB{jNXY&g)>|$n*JK>EuD=yoe3c}4"""  # base85: 64x48, left half (30, 60, 200)


@dataclass(frozen=True)
class Piece:
    """A part of a file, and where the number stands that says how long it is (place, layout for struct)."""

    start: int
    stop: int
    length: tuple[int, str]


def pieces(data: bytes) -> list[Piece]:
    for start, find in FINDERS.items():
        if data.startswith(start):
            return [piece for piece in find(data) if piece.start < piece.stop <= len(data)]
    return list(boxes(data, 0, len(data)))


def segments(data: bytes) -> Iterator[Piece]:
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        stop = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        yield Piece(place, stop, (place + 2, ">H"))
        if data[place + 1] == 0xDA:
            return
        place = stop


def chunks(data: bytes) -> Iterator[Piece]:
    place = 8
    while place + 12 <= len(data):
        stop = place + 12 + int.from_bytes(data[place : place + 4], "big")
        yield Piece(place, stop, (place, ">I"))
        place = stop


def riff_chunks(data: bytes) -> Iterator[Piece]:
    place = 12
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        yield Piece(place, min(len(data), place + 8 + size + size % 2), (place + 4, "<I"))
        place += 8 + size + size % 2


def blocks(data: bytes) -> Iterator[Piece]:
    place = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while place < len(data) and data[place] in b"!,":
        start = place
        place += (
            2 if data[place] == 0x21 else 11 + (3 * 2 ** ((data[place + 9] & 7) + 1) if data[place + 9] & 128 else 0)
        )
        first = place
        while place < len(data) and data[place]:
            place += data[place] + 1
        place += 1
        yield Piece(start, place, (first, "<B"))


def entries(data: bytes) -> Iterator[Piece]:
    (place,) = struct.unpack_from("<I", data, 4)
    for index in range(struct.unpack_from("<H", data, place)[0]):
        start = place + 2 + 12 * index
        yield Piece(start, start + 12, (start + 4, "<I"))


def boxes(data: bytes, place: int, end: int) -> Iterator[Piece]:
    inside = {b"meta": 12, b"iprp": 8, b"ipco": 8, b"iinf": 14, b"moov": 8, b"trak": 8}
    while place + 8 <= end:
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if size < 8:
            return
        yield Piece(place, place + size, (place, ">I"))
        if kind in inside:
            yield from boxes(data, place + inside[kind], place + size)
        place += size


FINDERS: dict[bytes, Callable[[bytes], Iterator[Piece]]] = {
    b"\xff\xd8": segments,
    b"\x89PNG": chunks,
    b"RIFF": riff_chunks,
    b"GIF": blocks,
    b"II*\0": entries,
    b"BM": lambda data: iter([Piece(14, 54, (14, "<I"))]),
}


def change_structure(data: bytearray, rng: np.random.Generator) -> None:
    """One to three changes of lengths, counts, order and repetition."""
    for _ in range(int(rng.integers(1, 4))):
        try:
            found = pieces(bytes(data))
        except (struct.error, IndexError):  # an earlier change has left no structure
            return
        if found:
            CHANGES[int(rng.integers(len(CHANGES)))](data, found, rng)


def one_of(found: list[Piece], rng: np.random.Generator) -> Piece:
    return found[int(rng.integers(len(found)))]


def repeat(data: bytearray, found: list[Piece], rng: np.random.Generator) -> None:
    piece = one_of(found, rng)
    count = min(int(rng.choice(REPETITIONS)), MAX_BYTES // (piece.stop - piece.start))
    data[piece.stop : piece.stop] = bytes(data[piece.start : piece.stop]) * count


def leave_out(data: bytearray, found: list[Piece], rng: np.random.Generator) -> None:
    piece = one_of(found, rng)
    del data[piece.start : piece.stop]


def exchange(data: bytearray, found: list[Piece], rng: np.random.Generator) -> None:
    first, second = sorted((one_of(found, rng), one_of(found, rng)), key=lambda piece: piece.start)
    if first.stop <= second.start:
        parts = data[second.start : second.stop], data[first.stop : second.start], data[first.start : first.stop]
        data[first.start : second.stop] = b"".join(parts)


def change_length(data: bytearray, found: list[Piece], rng: np.random.Generator) -> None:
    place, layout = one_of(found, rng).length
    largest = 2 ** (8 * struct.calcsize(layout)) - 1
    old = struct.unpack_from(layout, data, place)[0]
    new = int(rng.choice((*NUMBERS, old + 1, max(0, old - 1), 2 * old)))
    struct.pack_into(layout, data, place, min(new, largest))


def change_number(data: bytearray, found: list[Piece], rng: np.random.Generator) -> None:
    """Any number inside: a count, an offset, a size, a kind."""
    piece = one_of(found, rng)
    layout = ("<B", "<H", ">H", "<I", ">I")[int(rng.integers(5))]
    place = int(rng.integers(piece.start, min(piece.stop, piece.start + 48)))
    if place + struct.calcsize(layout) <= len(data):
        largest = 2 ** (8 * struct.calcsize(layout)) - 1
        struct.pack_into(layout, data, place, min(int(rng.choice(NUMBERS)), largest))


CHANGES = (repeat, leave_out, exchange, change_length, change_number)
