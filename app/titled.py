"""A product's image with its title, and what an answer came from: all that a model without titles needs of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from .images import ImageError, ImageSource

TITLES_FILE = "titles.onnx"
TITLES_SETTINGS = "titles.json"
IMAGE, TITLE, BOTH = "image", "title", "both"  # what an answer came from


@dataclass(frozen=True, slots=True)
class TitledImage:
    """An image with the title of its product, to be given where an image may be.

    image: None for a product without one, which its title alone then answers. title: None or "" for a product without.
    """

    image: "ImageSource | ImageError | None"
    title: str | None = None


class Joined(NamedTuple):
    """An answer for which a title was looked at.

    probabilities: (labels,) float64. answered_from: IMAGE, TITLE or BOTH. of_title: the probabilities by the title
    alone, None from the image. contradicts: whether the title says something else than the image.
    """

    probabilities: "np.ndarray"
    answered_from: str
    of_title: "np.ndarray | None" = None
    contradicts: bool = False
