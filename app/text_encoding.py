"""Which encoding has text that does not say so: old names in zip archives, tables of a spreadsheet program.

    guess_encoding("衬衫\\n连衣裙".encode("gbk"))    # "gb18030"

chardet knows which characters follow each other in a language, so a few words are enough; charset-normalizer took
Chinese and Korean words for others of the same length. It is told which encodings people's files really have.
"""

import re
import unicodedata

WESTERN = ("cp1252", "cp1250", "cp850", "cp437")
ENCODINGS = (*WESTERN, "gb18030", "cp932", "big5", "cp949", "euc-jp", "cp1251", "cp866", "cp1253", "cp1254")
OLD_PC = ("cp850", "cp437", "cp1252", "cp1250")  # what zip programs of western systems write, first the usual one
SAMPLE_BYTES = 50_000
ASCII_RUNS = re.compile(rb"[\x00-\x2f\x3a-\x3f]+")


def is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def guess_encoding(data: bytes, western: tuple[str, ...] = WESTERN) -> str:
    """The likely encoding of text that is not UTF-8, as Python names it, in which all of it can be decoded.

    western: the code pages of Latin letters, the usual one first. Latin-1 where none of ENCODINGS fits.
    """
    import chardet  # as slow to import as an image to classify, and hardly ever needed

    words = b"\n".join(dict.fromkeys(word for word in ASCII_RUNS.split(data[:SAMPLE_BYTES]) if not word.isascii()))
    fitting = [name for name in dict.fromkeys((*western, *ENCODINGS)) if decodes(data, name)]
    if not fitting:
        return "latin-1"
    found = (chardet.detect(words, include_encodings=fitting)["encoding"] or fitting[0]).lower()
    found = found.replace("windows-", "cp").replace("ibm", "cp")
    if found not in WESTERN and decodes(data, found):
        return found
    latin = [name for name in western if name in fitting] or fitting
    fewest = min(num_symbols(words, name) for name in latin)
    best = [name for name in latin if num_symbols(words, name) == fewest]
    return found if found in best and western is WESTERN and found != "cp437" else best[0]


def decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def num_symbols(words: bytes, encoding: str) -> int:
    """How many characters are not letters: box drawings and quotes inside a word mean another encoding."""
    text = words.decode(encoding, "replace")
    return sum(not character.isascii() and unicodedata.category(character)[0] not in "LM" for character in text)
