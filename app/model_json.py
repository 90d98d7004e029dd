"""Read the JSON of a model folder that may come from anybody: bounded, strict, and one line for whatever is wrong."""

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from .errors import UserError, one_line

MAX_JSON_BYTES = 32 * 2**20  # 21,000 labels with their paths take 2 MB
LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # may stand alone, and then nothing can print the text


def read_json(path: Path, error_type: type[UserError]) -> dict[str, Any]:
    """The JSON object in a file of a model folder. Raises error_type with one line that names the file."""
    try:
        content = json.loads(_read_text(path), parse_constant=_refuse_constant)
    except RecursionError:
        raise error_type(f"{path} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise error_type(f"{path} cannot be read: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise error_type(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def is_number(value: object, largest: float = 1e9) -> bool:
    """True for an int or float within bounds: not for true, NaN, infinity or a number with a thousand digits."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -largest <= value <= largest


def is_name(value: object) -> bool:
    """True for text that can be shown in one line."""
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def shown(value: object, limit: int = 80) -> str:
    """A value for a message, however large it is."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # ValueError: Python prints no number of more than 4,300 digits
        return f"a {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]}…"


def _read_text(path: Path) -> str:
    if not path.is_file():  # a named pipe would wait forever
        raise ValueError("not a regular file")
    with path.open("rb") as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"larger than {MAX_JSON_BYTES >> 20} MB, the maximum")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8; save it in that encoding") from None
    if LONE_SURROGATE.search(text):
        json.dumps(json.loads(text), ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")
