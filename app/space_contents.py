"""What no published file may contain: secrets, pickles, archives and what lies behind a link.

for problem in content_problems(checkout, path, own_secrets(token)):
    print(f"{path}: {problem}")             # "line 3 contains what looks like an AWS key"; never the secret itself
"""

import base64
import os
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from math import log2
from pathlib import Path

RUNS_CODE = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD"}  # of a pickle
OBJECTS = re.compile(rb"\x93NUMPY.{2,6}\{[^}]*\|O", re.DOTALL)  # a NumPy table of Python objects holds a pickle
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!")
# Our own rules: detect-secrets 1.5 knows no key of the Hub, W&B, Kaggle or Google, looks into neither UTF-16 nor base64
# nor binary files, and takes the SHA-256 in every calibration.json for a secret.
SECRETS = {
    "a Hugging Face token": rb"\b(?:api_org|hf)_[A-Za-z0-9]{30,}",
    "an OpenAI, Anthropic or Stripe key": rb"\b(?:sk-|[sr]k_(?:live|test)_)[A-Za-z0-9_-]{20,}",
    "a GitHub or GitLab token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50,}|gl(?:pat|dt|rt|ptt)-[\w-]{20})",
    "an AWS key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a Google key": rb"\b(?:AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{30,})",
    "a Kaggle token": rb"\bKGAT_[A-Za-z0-9]{30,}",
    "a Weights & Biases key": rb"\bwandb_v1_[A-Za-z0-9_]{40,}",
    "a Slack or Discord token": rb"\bxox[abeprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/\w|/api/webhooks/\d{17}",
    "a PyPI or npm token": rb"\b(?:pypi-AgE[\w-]{20,}|npm_[A-Za-z0-9]{36})",
    "a SendGrid or Twilio key": rb"\b(?:SG\.[\w-]{20,}\.[\w-]{20,}|[AS][CK][0-9a-f]{32})\b",
    "a Telegram or JSON web token": rb"\b(?:\d{8,10}:AA[\w-]{33}\b|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.)",
    "an Azure key": rb"AccountKey=[A-Za-z0-9+/]{40,}",
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY|PuTTY-User-Key-File",
    "a password in an address": rb"\w://[^\s/:@'\"<>{}]*:[^\s/@'\"<>{}]+@[\w.\[-]",
    "a password": rb"(?i)(?:passw(?:or)?d|passwd|secret)\w{0,20}['\"]?\s*[:=]\s*(?:'[^'\s]{6,}'|\"[^\"\s]{6,}\")",
    "a key": rb"(?i)(?:key|token|secret|passw(?:or)?d|pwd|credentials?)['\"]?[ \t]*[:=][ \t]*['\"]?"
    rb"(?=[^\s'\"]*\d)(?=[^\s'\"]*[a-z])[\w+/.!@#%^&*~=-]{16,}['\"]?[ \t]*(?:[,;}\r\n]|$)",
}
ENCODED = re.compile(rb"[A-Za-z0-9+/_-]{24,}")  # base64, or hexadecimal digits
RANDOM = re.compile(rb"(?<![\w+/-])[A-Za-z0-9+/_-]{32,}")
RANDOM_BITS = 4.2  # per letter; 32 random letters have 4.5, a path or a long name below 4
CHECKSUM = re.compile(rb"(?i)sha\d|md5|hash|commit|revision|digest|fingerprint|[di]id:")  # on its line: no secret
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
READABLE = re.compile(rb"[\t\r\n\x20-\x7e]{12,}")
WIDE = re.compile(rb"(?:[\t\r\n\x20-\x7e]\x00{1,3}){12,}")  # UTF-16 and UTF-32
OWN_KEYS = (
    "WANDB_API_KEY",
    "KAGGLE_KEY",
    "KAGGLE_API_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "OPENAI_API_KEY",
    "GITHUB_TOKEN",
)


def own_secrets(hub_token: str | None) -> dict[bytes, str]:
    """The user's own secrets that the environment knows, and how to call them."""
    own = {value: f"your own {name}" for name in OWN_KEYS if (value := os.environ.get(name, "").encode())}
    return own | ({hub_token.encode(): "your own Hugging Face token"} if hub_token else {})


def content_problems(checkout: Path, path: Path, own: dict[bytes, str]) -> Iterator[str]:
    """What is wrong with a file, in words. own: of own_secrets, which no file may contain."""
    if path.is_symlink():
        yield "a link; only files of this folder go up"
        return
    if links := [folder for folder in path.parents if folder.is_relative_to(checkout) and folder.is_symlink()]:
        yield f"lies in {links[0].relative_to(checkout)}, a link to another folder; only files of this folder go up"
        return
    data = path.read_bytes()
    if is_pickle(data) or OBJECTS.match(data):
        yield "a pickle, which runs code when it is opened"
    if zipfile.is_zipfile(path) or data.startswith(COMPRESSED):
        yield "a zip or another archive, in which a pickle can hide"
    found = dict(reversed(list(secrets(data, own))))  # of each kind the first
    for kind, position in sorted(found.items(), key=lambda item: item[1]):
        line = f"line {data.count(10, 0, position) + 1}"
        yield f"contains {kind} ({line})" if kind in own.values() else f"{line} contains what looks like {kind}"


def is_pickle(data: bytes) -> bool:
    """Of any protocol; 0 is plain text. Nothing is run."""
    names = set()
    try:
        for opcode, _, position in pickletools.genops(data):
            names.add(opcode.name)
            if opcode.name == "STOP":
                return bool(names & RUNS_CODE) or (len(names) > 2 and not data[(position or 0) + 1 :].strip())
    except Exception:  # whatever a parser of pickles raises for something else
        return data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05" and len(names) > 2  # cut short
    return False


def secrets(data: bytes, own: dict[bytes, str]) -> Iterator[tuple[str, int]]:
    """What kind of secret, and where in the file it begins."""
    for start, width, text in readable_parts(data):
        yield from ((kind, start + width * position) for kind, position in plain_secrets(text, own))
        for run in ENCODED.finditer(text):
            for decoded in decodings(run[0]):
                found = plain_secrets(decoded.replace(b"\0", b""), own)
                yield from ((kind, start + width * run.start()) for kind, _ in found)


def readable_parts(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Where text begins in a file of any kind, its bytes per letter, and the text; weights have little of it."""
    if not BINARY.search(data):
        yield 0, 1, data
        return
    yield from ((match.start(), 1, match[0]) for match in READABLE.finditer(data))
    for match in WIDE.finditer(data):
        text = match[0].replace(b"\0", b"")
        yield match.start(), round(len(match[0]) / len(text)), text


def plain_secrets(data: bytes, own: dict[bytes, str]) -> Iterator[tuple[str, int]]:
    for value, name in own.items():
        if (position := data.find(value)) >= 0:
            yield name, position
    for kind, pattern in SECRETS.items():
        if match := re.search(pattern, data):
            yield kind, match.start()
    for match in RANDOM.finditer(data):
        line = data[data.rfind(b"\n", 0, match.start()) + 1 : (data + b"\n").find(b"\n", match.end())]
        if looks_random(match[0]) and not CHECKSUM.search(line):
            yield "a key: a long random text", match.start()


def looks_random(text: bytes) -> bool:
    digits, small, large = (any(low <= byte <= high for byte in text) for low, high in (b"09", b"az", b"AZ"))
    if re.fullmatch(rb"[0-9a-f]+|[0-9A-F]+", text):
        return digits and (small or large) and len(text) != 64  # a SHA-256, as int8 graphs name their weights by
    counts = [text.count(byte) / len(text) for byte in set(text)]
    return digits and small and large and -sum(share * log2(share) for share in counts) >= RANDOM_BITS


def decodings(run: bytes) -> Iterator[bytes]:
    """What a run of letters is if it is base64, wherever that begins, or hexadecimal."""
    letters = run.translate(bytes.maketrans(b"-_", b"+/"))
    for start in range(4):
        length = len(letters) - start - ((len(letters) - start) % 4 == 1)
        yield base64.b64decode(letters[start : start + length] + b"=" * (-length % 4))
    with suppress(ValueError):
        yield bytes.fromhex(run.decode())
