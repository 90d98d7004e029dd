"""The engine of `predict.py` on one machine: all its cores, images read a few batches ahead."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice, tee

from app.classifier import Classifier
from app.ensemble import load_models
from inference.explanations import draw_explanation, explanation_path
from inference.journal import Row
from inference.options import PredictOptions
from inference.readers.base import NamedImage


def classify(options: PredictOptions, images: Iterable[NamedImage], done: int) -> Iterator[Row]:
    """A row per image, in their order. done: how many images came before them. Raises ModelError."""
    images = iter(images)
    first = list(islice(images, 2))
    workers = 1 if len(first) == 1 else None  # the quickest answer, or the most images per second
    model = load_models(options.models, options.precision, options.device, workers)
    images = chain(first, images)
    if options.lookup.title_column and isinstance(model, Classifier):
        model.required_titles()
    if any(reader.is_remote for reader in options.readers):
        from inference.readers.object_store import fetch_ahead

        images = fetch_ahead(images)
    named, fetched = tee(images)
    predictions = model.stream((source for _, source in fetched), options.top_k, options.batch_size, options.tta)
    if options.explain:
        options.explain.mkdir(parents=True, exist_ok=True)
    for number, (image, prediction) in enumerate(zip(named, predictions, strict=True), start=done + 1):
        if options.explain and isinstance(model, Classifier):
            draw_explanation(model, image, prediction, explanation_path(options.explain, number, image[0]))
        yield image[0], prediction
