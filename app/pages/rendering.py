"""HTML from templates/: every value is escaped unless it is markup, so no file name or label can become a tag."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

TEMPLATES = Path(__file__).resolve().parent / "templates"


def render(template: str, **values: object) -> Markup:
    """templates/TEMPLATE.html with these values."""
    return Markup(_environment.get_template(f"{template}.html").render(values))


def percent(confidence: float | None) -> str:
    """Never 100% unless it is: "99.97" must not look certain."""
    if confidence is None:
        return "–"
    share = 100 * confidence
    if share >= 99.95:
        return "100%" if share >= 99.995 else ">99.9%"
    return f"{share:.1f}%" if share >= 10 else f"{share:.2g}%" if share >= 0.1 else "<0.1%"


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
