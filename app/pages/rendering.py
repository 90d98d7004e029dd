"""HTML from templates/: every value is escaped unless it is markup, so no file name or label can become a tag."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from .display_names import attribute_name, display

TEMPLATES = Path(__file__).resolve().parent / "templates"


def render(template: str, **values: object) -> Markup:
    """templates/TEMPLATE.html with these values."""
    return Markup(_environment.get_template(f"{template}.html").render(values))


def percent(confidence: float | None) -> str:
    """Whole percent: never "100%" for what is not certain, and nothing for what is below 1%."""
    if confidence is None or confidence < 0.01:
        return ""
    return "100%" if confidence == 1 else f"{min(99, round(100 * confidence))}%"


def data_url(image: Image.Image, longest: int, quality: int = 80) -> str:
    """A JPEG of at most `longest` pixels per side."""
    image = image.copy()
    image.thumbnail((longest, longest))
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=quality)
    return jpeg_url(stream.getvalue())


def jpeg_url(content: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


def count(number: int, thing: str) -> str:
    """ "1 image", "1,200 images"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


_environment = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["percent"] = percent
_environment.filters["display"] = display
_environment.filters["attribute_name"] = attribute_name
