"""The names in a zip, as the program that wrote them meant them.

In this order: the flag for UTF-8, the Unicode path in an extra field, valid UTF-8 (macOS), and then a guess for all
names together, which is said. zipfile takes everything else for the code page of the first IBM PC and shows Chinese as
box drawings. A backslash is a separator, as old .NET and PowerShell write it, so `photos\\` is a folder.
"""

import struct
import zlib
from collections.abc import Sequence
from zipfile import ZipInfo

from .text_encoding import OLD_PC, guess_encoding, is_utf8

UTF8_FLAG = 0x800
ZIPFILES_CODE_PAGE = "cp437"  # a letter for each byte, so the bytes can be had again
UNICODE_PATH = 0x7075  # the extra field with a version, a checksum of the other name, and the name in UTF-8


def read_names(members: Sequence[ZipInfo]) -> list[str]:
    """Correct `filename` in place; remarks for the user, one where an encoding was guessed."""
    unsaid = [member for member in members if not name_is_said(member)]
    notes = []
    if unsaid:
        names, encoding = decode_together([raw_name(member) for member in unsaid])
        for member, name in zip(unsaid, names, strict=True):
            member.filename = name
        notes.append(f"{len(unsaid):,} names do not say their encoding; {encoding} was guessed")
    for member in members:
        member.filename = member.filename.partition("\0")[0].replace("\\", "/")
    return notes


def decode_together(raw: Sequence[bytes]) -> tuple[list[str], str]:
    """Names of one archive that do not say their encoding, and the one that was guessed for all of them."""
    encoding = guess_encoding(b"\n".join(raw), OLD_PC)
    return [name.decode(encoding) for name in raw], encoding


def name_is_said(member: ZipInfo) -> bool:
    """Whether the archive tells the name, which `filename` then is."""
    if member.flag_bits & UTF8_FLAG:
        member.filename = member.orig_filename
        return True
    raw = raw_name(member)
    name = unicode_path(member.extra, raw)
    if name is None and is_utf8(raw):
        name = raw.decode()
    if name is not None:
        member.filename = name
    return name is not None


def raw_name(member: ZipInfo) -> bytes:
    return member.orig_filename.encode(ZIPFILES_CODE_PAGE, "replace")


def unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in the extra field, if there is one that belongs to the name `raw`."""
    place = 0
    while place + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, place)
        place += 4 + size
        field = extra[place - size : place] if kind == UNICODE_PATH else b""
        if len(field) > 5 and field[0] == 1 and len(field) == size:
            (checksum,) = struct.unpack_from("<I", field, 1)
            if checksum == zlib.crc32(raw) and is_utf8(field[5:]):
                return field[5:].decode()
    return None
