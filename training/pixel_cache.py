"""Whether a file of decoded images still is what was written into it: its note beside it holds its shape and hash."""

import hashlib
import json
from pathlib import Path

import numpy as np

from app.files import write_json


def seal(path: Path) -> None:
    """Write the note of a finished file."""
    write_json(_note(path), {"shape": list(np.load(path, mmap_mode="r").shape), "sha256": _digest(path)})


def fault(path: Path, shape: tuple[int, ...], deep: bool = True) -> str:
    """Why the file does not hold uint8 images of this shape, or an empty string. deep: read all of it too."""
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        pixels = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return "not complete"
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        return f"{len(pixels):,} images of {_size(pixels.shape)}, not {shape[0]:,} of {_size(shape)}"
    if not isinstance(note, dict) or note.get("shape") != list(shape):
        return "not complete"
    if deep and note.get("sha256") != _digest(path):
        return "changed since they were written"
    return ""


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[1:3])) or "no size"
