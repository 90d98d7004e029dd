"""Files that appear under their name only when they are complete."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside the wanted one to write to; it gets the wanted name when the block ends without an error."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_section(path: Path, start: str, end: str, section: str, new: str) -> None:
    """Replace what stands between two markers; a text without them gets them at its end. new: for a missing file."""
    text = path.read_text(encoding="utf-8") if path.exists() else new
    before, _, rest = text.partition(start)
    after = rest.partition(end)[2].removeprefix("\n")
    write_text(path, f"{before.rstrip()}\n\n{start}\n{section.rstrip()}\n{end}\n{after}")
