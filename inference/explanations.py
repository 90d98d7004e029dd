"""Draw which parts of an image support its label: `predict.py --explain DIR`."""

from pathlib import Path

from app.classifier import Classifier, image_of
from app.images import ImageError
from app.prediction import Prediction
from inference.readers.base import NamedImage

MAX_STEM_LENGTH = 60  # of an image's name in the name of its explanation


def draw_explanation(classifier: Classifier, image: NamedImage, prediction: Prediction, path: Path) -> None:
    """Nothing for an image that could not be read."""
    from app.explain import heat_map, overlay

    _, product = image
    source = image_of(product)
    if isinstance(source, ImageError) or prediction.error:  # which a title may have answered all the same
        return
    padded = classifier.preprocessor.get("do_pad_to_square", False)
    overlay(source, heat_map(classifier, source, prediction.top_k[0].label), padded).save(path)


def explanation_path(folder: Path, number: int, name: str) -> Path:
    """Numbered, because two folders may have images of one name."""
    stem = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in Path(name).stem)
    return folder / f"{number:04d}_{stem[:MAX_STEM_LENGTH]}.png"
