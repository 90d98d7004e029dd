"""What the page and the API do, without gradio: classify one image or many, find the products on a screenshot.

    from app.service import Service

    service = Service()                                       # the models in app/models, each loaded on first use
    answer = service.classify(Path("shirt.jpg").read_bytes())
    print(answer.prediction.label, answer.seconds)

Every limit is checked here, wherever an image came from. Errors that a caller may see are RequestError (limits.py).
At most MAX_RUNNING requests are processed at once and MAX_WAITING more wait, in the order of turns.py; any further one
gets BusyError at once, or a dearer one that waits does.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import explain, limits
from .classifier import BATCH_SIZE, Classifier, image_of
from .classifier import Product as Photo
from .decode_cost import CostlyError, expected_seconds_of_bytes
from .decode_pool import DecodePool
from .images import ErrorKind, ImageError, ImageSource, load_image
from .limits import (
    BatchTime,
    BusyError,
    NotAnImageError,
    RequestError,
    TooLargeError,
    UnknownModelError,
    UnreadableError,
)
from .model_files import ModelError
from .prediction import Prediction
from .screenshots import Screenshot, read_page
from .shipped import DEFAULT_MODEL, MODELS, PAGE_MODEL
from .titled import TITLES_SETTINGS, TitledImage
from .turns import Turn, Turns

TOP_K = 5
DIGITS = 4  # of confidences: what a reader can use
HEAT_MAP_SECONDS = 1.0  # about
SECONDS_PER_PRODUCT = 0.01
ERRORS: dict[ErrorKind, type[RequestError]] = {
    "not_an_image": NotAnImageError,
    "too_large": TooLargeError,
    "unreadable": UnreadableError,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model says about one image. seconds: from the bytes to the answer, without waiting."""

    prediction: Prediction
    model: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model, **self.prediction.to_dict(DIGITS), "milliseconds": round(1000 * self.seconds, 1)}


@dataclass(frozen=True, slots=True)
class Product:
    """One product on a screenshot. box: x, y, width, height in pixels of the screenshot."""

    box: tuple[int, int, int, int]
    out_of_stock: bool
    image: Image.Image
    prediction: Prediction

    def to_dict(self) -> dict[str, Any]:
        return {"box": list(self.box), "out_of_stock": self.out_of_stock, **self.prediction.to_dict(DIGITS)}


@dataclass(frozen=True, slots=True)
class Products:
    """The products of a screenshot."""

    screenshot: Screenshot
    products: list[Product]
    model: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "kind": self.screenshot.kind,
            "width": self.screenshot.width,
            "height": self.screenshot.height,
            "products": [product.to_dict() for product in self.products],
            "milliseconds": round(1000 * self.seconds, 1),
        }


class Service:
    """The models of a folder and what can be done with them. Methods may be called from several threads at once."""

    def __init__(self, models: Path = MODELS, pool: DecodePool | None = None) -> None:
        """pool: where images are decoded, by default in this process; a server has one, so that a decoder's fault
        costs one image.

        Raises UserError where the folder holds no model; a broken model is noticed on first use.
        """
        self.decode = pool.load if pool else load_image
        self._decode_quickly = pool.load_quickly if pool else None
        self._decode_slowly = pool.load_slowly if pool else None
        limits.check_environment()
        self.folders = {path.parent.name: path.parent for path in sorted(models.glob("*/model.onnx"))}
        if not self.folders:
            raise ModelError(f"no model in {models}: each model is a folder there with a model.onnx")
        self.default = DEFAULT_MODEL if DEFAULT_MODEL in self.folders else next(iter(self.folders))
        self.turns = Turns(limits.MAX_RUNNING, limits.MAX_WAITING, limits.MAX_WAIT_SECONDS)
        self.observers: list[Callable[[str, Prediction], None]] = []  # are told the model and what it said
        self._loaded: dict[str, Classifier] = {}
        self._loading = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The models' names, the default one first."""
        return sorted(self.folders, key=lambda name: (name != self.default, name))

    @property
    def page_model(self) -> str:
        """The model for screenshots where a caller names none."""
        return PAGE_MODEL if PAGE_MODEL in self.folders else self.default

    def classifier(self, model: str | None = None) -> Classifier:
        """The model of this name, the default one for None or "". Raises UnknownModelError."""
        name = model or self.default
        if not isinstance(name, str) or name not in self.folders:
            raise UnknownModelError(f"There is no model {str(name)[:40]!r}. Choose one of: {', '.join(self.names)}.")
        with self._loading:
            if name not in self._loaded:
                try:
                    self._loaded[name] = Classifier.load(self.folders[name], workers=limits.MAX_RUNNING)
                except ModelError as error:
                    raise ModelError(f"model {name}: {error}") from None
            return self._loaded[name]

    def reads_titles(self, model: str) -> bool:
        return (self.folders[model] / TITLES_SETTINGS).is_file()

    def classify(
        self, source: ImageSource | None, model: str | None = None, top_k: int = TOP_K, title: str | None = None
    ) -> Answer:
        """One image, as a path, the bytes of a file or an open image. Raises RequestError.

        title: of the product, for a model that reads titles; then the image may be missing.
        """
        answer = self.classify_by(self.classifier(model), source, top_k, title, model or self.default)
        self._tell(model, answer.prediction)
        if answer.prediction.status == "error":
            raise image_error(answer.prediction.error, answer.prediction.error_kind)
        return answer

    def classify_by(
        self, classifier: Classifier, source: ImageSource | None, top_k: int, title: str | None = None, name: str = ""
    ) -> Answer:
        """The same by any classifier, also one that is not served, whose answer may be an error. Raises RequestError.

        name: of the model, for the answer.
        """
        product, top_k = with_title(classifier, source, title), checked_top_k(top_k)
        check_size(source)
        with self.turns.request(expected_of(source)) as turn:
            prediction = next(self._stream(turn, classifier, [product], top_k, BatchTime()))
        return Answer(prediction, name or classifier.name, turn.spent)

    def classify_stream(
        self,
        sources: Iterable[Photo],
        model: str | None = None,
        top_k: int = TOP_K,
        batch_time: BatchTime | None = None,
        expected: float = 0.0,
    ) -> Iterator[Prediction]:
        """Predictions in the order of `sources`, as they are made; a bad image fails only its own row.

        When its time is over, the remaining images come out as rows that say so. batch_time: counted from this call by
        default. expected: seconds of work, as far as that is known. Raises RequestError.
        """
        classifier, top_k = self.classifier(model), checked_top_k(top_k)
        with self.turns.request(expected) as turn:
            for prediction in self._stream(turn, classifier, sources, top_k, batch_time or BatchTime()):
                self._tell(model, prediction)
                yield prediction

    def classify_batch(
        self, sources: Iterable[ImageSource | ImageError], model: str | None = None, top_k: int = TOP_K
    ) -> list[Prediction]:
        """The same as a list."""
        return list(self.classify_stream(sources, model, top_k))

    def open_image(self, source: ImageSource) -> Image.Image:
        """RGB and upright, at full size. Raises RequestError."""
        check_size(source)
        try:
            return self.decode(source, None)
        except ImageError as error:
            raise image_error(str(error), error.kind) from None

    def _stream(
        self,
        turn: Turn,
        classifier: Classifier,
        sources: Iterable[Photo],
        top_k: int,
        batch_time: BatchTime,
    ) -> Iterator[Prediction]:
        """A few images in each turn, so that others get theirs and few images are in memory at once."""
        remaining, begun = iter(sources), False
        while True:
            batch: list[Photo] = []
            try:
                predictions = self._next(turn, classifier, remaining, batch, top_k, batch_time)
            except BusyError:
                if not begun:
                    raise
                batch_time.give_way()
                predictions = [failed(ImageError(batch_time.over())) for _ in batch]
                predictions += [failed(ImageError(batch_time.over())) for _ in remaining]
            begun = True
            yield from predictions
            if len(batch) < BATCH_SIZE:  # these were the last; to find that out in a turn of its own would take a wait
                return

    def _next(
        self,
        turn: Turn,
        classifier: Classifier,
        remaining: Iterator[Photo],
        batch: list[Photo],
        top_k: int,
        batch_time: BatchTime,
    ) -> list[Prediction]:
        """Of the next images, which are added to `batch`. Raises BusyError."""
        with turn():
            batch += islice(remaining, BATCH_SIZE)
            read = [self._read(classifier, source, batch_time) for source in batch]
            if not any(isinstance(item, CostlyError) for item in read):
                return classifier.predict_read(batch, read, top_k)
        for number, item in enumerate(read):
            if isinstance(item, CostlyError):
                with turn(item.seconds):
                    read[number] = self._read(classifier, batch[number], batch_time, slowly=True)
        with turn():
            return classifier.predict_read(batch, read, top_k)

    def _read(
        self, classifier: Classifier, photo: Photo, batch_time: BatchTime, slowly: bool = False
    ) -> np.ndarray | ImageError:
        """(3, height, width) float32 or what is wrong with the image; CostlyError where that needs `slowly`."""
        source = image_of(photo)
        if isinstance(source, ImageError):
            return source
        if late := batch_time.over():
            return ImageError(late)
        decode = (self._decode_slowly if slowly else self._decode_quickly) or self.decode
        try:
            check_size(source)
            return classifier.read(decode(source, classifier.target_size))
        except TooLargeError as error:
            return ImageError(str(error), "too_large")
        except ImageError as error:
            return error

    def _tell(self, model: str | None, prediction: Prediction) -> None:
        for observer in self.observers:
            observer(model or self.default, prediction)

    def find_products(self, source: ImageSource, model: str | None = None, top_k: int = TOP_K) -> Products:
        """The product images on a screenshot, from top to bottom, each one classified. Raises RequestError.

        model: by default the one that knows shop pages.
        """
        name = model or self.page_model
        classifier, top_k = self.classifier(name), checked_top_k(top_k)
        with self.turns.request(expected_of(source)) as turn:
            page = self._read_page(turn, source)
            with turn(SECONDS_PER_PRODUCT * len(page.products)):
                predictions = classifier.predict([found.image for found in page.products], top_k)
            for prediction in predictions:
                self._tell(name, prediction)
            products = [
                Product(found.box, found.out_of_stock, found.image, prediction)
                for found, prediction in zip(page.products, predictions, strict=True)
            ]
            return Products(page, products, name, turn.spent)

    def _read_page(self, turn: Turn, source: ImageSource) -> Screenshot:
        """Raises RequestError."""
        check_size(source)
        try:
            try:
                with turn():
                    return read_page(source, self._decode_quickly or self.decode)
            except CostlyError as costly:
                with turn(costly.seconds):
                    return read_page(source, self._decode_slowly or self.decode)
        except ImageError as error:
            raise image_error(str(error), error.kind) from None

    def heat_map(self, source: ImageSource, model: str | None = None, label: str | None = None) -> Image.Image:
        """The image with the regions marked that speak for `label`, by default the model's best.

        Raises RequestError.
        """
        classifier = self.classifier(model)
        if label is not None and label not in classifier.labels:
            raise RequestError(f"The model has no category {str(label)[:40]!r}.")
        with self.turns.request(HEAT_MAP_SECONDS) as turn, turn(HEAT_MAP_SECONDS):
            image = self.open_image(source)
            heat = explain.heat_map(classifier, image, label)
            return explain.overlay(image, heat, classifier.preprocessor.get("do_pad_to_square", False))


def failed(error: ImageError) -> Prediction:
    return Prediction("error", error=str(error), error_kind=error.kind)


def with_title(classifier: Classifier, source: ImageSource | None, title: str | None) -> Photo:
    """What to classify. Raises RequestError where there is nothing, or a title that the model cannot read."""
    if not title or not title.strip():
        if source is None:
            raise RequestError("Send an image.")
        return source
    check_reads_titles(classifier, [title])
    return TitledImage(source, title)


def check_reads_titles(classifier: Classifier, titles: Sequence[str | None]) -> None:
    """Raises RequestError for titles that the model cannot read."""
    if titles and classifier.titles is None:
        raise RequestError(f"The model {classifier.name} does not read titles: leave the title out.")


def expected_of(source: ImageSource | None) -> float:
    """Seconds of work, by the size of the file."""
    return expected_seconds_of_bytes(num_bytes_of(source) or 0)


def num_bytes_of(source: ImageSource | None) -> int | None:
    """None where that is not known before it is opened."""
    try:
        if isinstance(source, bytes):
            return len(source)
        if isinstance(source, (str, os.PathLike)):
            return Path(source).stat().st_size
    except (OSError, ValueError):  # load_image says what is wrong with it
        return None
    return None


def check_size(source: ImageSource | None) -> None:
    """Raises TooLargeError, before anything of the file is read."""
    num_bytes = num_bytes_of(source)
    if num_bytes is not None and num_bytes > limits.MAX_FILE_BYTES:
        size, allowed = limits.megabytes(num_bytes), limits.megabytes(limits.MAX_FILE_BYTES)
        raise TooLargeError(f"This file has {size}; at most {allowed} are allowed.")


def checked_top_k(top_k: int) -> int:
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= limits.MAX_TOP_K:
        raise RequestError(f"top_k must be a whole number from 1 to {limits.MAX_TOP_K}, not {str(top_k)[:20]}.")
    return top_k


def image_error(reason: str | None, kind: ErrorKind | None) -> RequestError:
    """What a caller is told about an image that cannot be used."""
    return ERRORS[kind or "unreadable"](f"This image cannot be used: {reason}.")
