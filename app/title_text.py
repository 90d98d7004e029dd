"""What a title says, as n-grams of its words and of their letters, each a number; no vocabulary and no library.

    ngrams(clean_title("Puma Men's Logo <b>T-shirt</b>"))      # {1836: 1, …}: how often, by the n-gram's hash

Markup, control characters and punctuation separate words; upper and lower case are one, and so are the wide and the
narrow form of a letter. A script that writes no spaces gives long words, and the n-grams of letters say what is in
them. Training and prediction both call this, so they cannot differ.
"""

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator

MAX_CHARACTERS = 500  # of a title; shops write 60 to 200
MAX_RAW = 4 * MAX_CHARACTERS  # of them with their markup
MARKUP = re.compile(r"<[/!?a-zA-Z][^<>]{0,200}>")
ASCII_WORD = re.compile(r"[a-z0-9]+")
WORD_CATEGORIES = "LMN"  # of Unicode: letters, their marks, numbers
LETTERS, LETTERS_OF_OTHER_SCRIPTS = (3, 4, 5), (2, 3, 4)  # in an n-gram of letters
FIRST, LAST, LETTER_MARK = "^", "$", "#"  # cannot occur in a word


def clean_title(title: str) -> list[str]:
    """The title's words in lower case; none for a title that says nothing."""
    text = title[:MAX_RAW]
    if "&" in text:
        import html  # its table of entities takes as long to load as a title to read, and few titles have any

        text = html.unescape(text)
    text = MARKUP.sub(" ", text)
    text = unicodedata.normalize("NFKC", text[:MAX_RAW]).casefold()[:MAX_CHARACTERS]
    if text.isascii():
        return ASCII_WORD.findall(text)
    return "".join(letter if unicodedata.category(letter)[0] in WORD_CATEGORIES else " " for letter in text).split()


def ngrams(words: list[str]) -> Counter[int]:
    """How often each n-gram occurs, by its hash, which is at least 0 and below 2^32."""
    return Counter(zlib.crc32(gram.encode("utf-8", "replace")) for gram in _grams(words))


def _grams(words: list[str]) -> Iterator[str]:
    """Words; neighbors, with the ends of the title among them; the letters of each word, with its ends."""
    if not words:
        return
    yield from words
    for pair in zip([FIRST, *words], [*words, LAST], strict=True):
        yield " ".join(pair)
    for word in words:
        marked = f"{FIRST}{word}{LAST}"
        for length in LETTERS if word.isascii() else LETTERS_OF_OTHER_SCRIPTS:
            for start in range(len(marked) - length + 1):
                yield LETTER_MARK + marked[start : start + length]
