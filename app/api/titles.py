"""The products' titles of a request to /v1/classify: the form field `title`, once for each file, or `titles`, JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence

from starlette.datastructures import FormData

from .. import limits
from ..classifier import Product
from ..images import ImageError, ImageSource
from ..limits import RequestError
from ..titled import TitledImage

TITLE, TITLES = "title", "titles"
NOT_A_LIST = f'The form field {TITLES!r} must be a JSON list of texts, one for each file: ["Blue T-shirt", null]'
SCHEMA: dict[str, object] = {  # without types: in a form every value is text
    TITLE: {
        "description": "of the product, for a model that reads titles; one for each file, in their order, or one "
        "without a file"
    },
    TITLES: {"description": "the same for many files, as a JSON list of texts or null"},
}


class TitlesOfOthersError(RequestError):
    """Titles that do not belong to the files."""


def read_titles(form: FormData) -> list[str | None]:
    """Empty for a form without any. Raises RequestError."""
    texts = [value for value in form.getlist(TITLES) if isinstance(value, str) and value.strip()]
    if texts:
        try:
            titles = json.loads(texts[0])
        except (ValueError, RecursionError):
            raise RequestError(NOT_A_LIST) from None
        if not isinstance(titles, list) or not all(title is None or isinstance(title, str) for title in titles):
            raise RequestError(NOT_A_LIST)
        return titles
    titles = [value for value in form.getlist(TITLE) if isinstance(value, str)]
    return titles if any(title.strip() for title in titles) else []


def check_titles(titles: Sequence[str | None], num_images: int) -> None:
    """Raises RequestError unless there is one for each image, or titles alone. num_images: 0 for a form without."""
    if num_images and titles and len(titles) != num_images:
        raise TitlesOfOthersError(
            f"These are {len(titles)} titles for {num_images} images; send one for each image, in their order."
        )
    if not num_images and len(titles) > limits.MAX_BATCH_FILES:
        raise TitlesOfOthersError(f"At most {limits.MAX_BATCH_FILES} titles are allowed in one request.")


def titled(images: Iterable[tuple[str, ImageSource | ImageError]], titles: Sequence[str | None]) -> Iterator[Product]:
    """images: with their names."""
    for number, (_, image) in enumerate(images):
        yield TitledImage(image, titles[number]) if titles else image
