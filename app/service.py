"""What the page and the API do, without gradio: classify one image or many, find the products on a screenshot.

    from app.service import Service

    service = Service()                                       # the models in app/models, each loaded on first use
    answer = service.classify(Path("shirt.jpg").read_bytes())
    print(answer.prediction.label, answer.seconds)

Every limit is checked here, wherever an image came from. Errors that a caller may see are RequestError (limits.py).
At most MAX_RUNNING requests are processed at once and MAX_WAITING more wait; any further one gets BusyError at once.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import explain, limits
from .classifier import BATCH_SIZE, Classifier
from .images import ErrorKind, ImageError, ImageSource, load_image
from .limits import BusyError, NotAnImageError, RequestError, TooLargeError, UnknownModelError, UnreadableError
from .model_files import ModelError
from .prediction import Prediction
from .screenshots import PAGE_MODEL, Screenshot, read_page

MODELS = Path(__file__).resolve().parent / "models"
PREFERRED = "fashion"  # the model that answers where a caller names none
TOP_K = 5
DIGITS = 4  # of confidences: what a reader can use
Decode = Callable[[ImageSource, int | None], Image.Image]  # the file, and about how large it has to be; or ImageError
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


class ConcurrencyLimiter:
    """Lets a few requests in at once and a few more wait; the others are told to come back later."""

    def __init__(self, running: int, waiting: int, seconds: float) -> None:
        self.places = threading.BoundedSemaphore(running + waiting)
        self.slots = threading.BoundedSemaphore(running)
        self.seconds = seconds
        self.waiting = 0  # at this moment; a figure for operators, so it needs no lock

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Raises BusyError."""
        if not self.places.acquire(blocking=False):
            raise BusyError
        try:
            self.waiting += 1
            try:
                if not self.slots.acquire(timeout=self.seconds):
                    raise BusyError
            finally:
                self.waiting -= 1
            try:
                yield
            finally:
                self.slots.release()
        finally:
            self.places.release()


class Service:
    """The models of a folder and what can be done with them. Methods may be called from several threads at once."""

    def __init__(self, models: Path = MODELS, decode: Decode = load_image) -> None:
        """decode: how to read an image; a server gives DecodePool.load, so that a decoder's fault costs one image.

        Raises UserError where the folder holds no model; a broken model is noticed on first use.
        """
        self.decode = decode
        limits.check_environment()
        self.folders = {path.parent.name: path.parent for path in sorted(models.glob("*/model.onnx"))}
        if not self.folders:
            raise ModelError(f"no model in {models}: each model is a folder there with a model.onnx")
        self.default = PREFERRED if PREFERRED in self.folders else next(iter(self.folders))
        self.limiter = ConcurrencyLimiter(limits.MAX_RUNNING, limits.MAX_WAITING, limits.MAX_WAIT_SECONDS)
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
                    self._loaded[name] = Classifier.load(self.folders[name], workers=1)
                except ModelError as error:
                    raise ModelError(f"model {name}: {error}") from None
            return self._loaded[name]

    def classify(self, source: ImageSource, model: str | None = None, top_k: int = TOP_K) -> Answer:
        """One image, as a path, the bytes of a file or an open image. Raises RequestError."""
        classifier, top_k = self.classifier(model), checked_top_k(top_k)
        with self.limiter():
            start = time.perf_counter()
            check_size(source)
            prediction = next(self._stream(classifier, [source], top_k, float("inf")))
            seconds = time.perf_counter() - start
        self._tell(model, prediction)
        if prediction.status == "error":
            raise image_error(prediction.error, prediction.error_kind)
        return Answer(prediction, model or self.default, seconds)

    def classify_stream(
        self,
        sources: Iterable[ImageSource | ImageError],
        model: str | None = None,
        top_k: int = TOP_K,
        end: float | None = None,
    ) -> Iterator[Prediction]:
        """Predictions in the order of `sources`, as they are made; a bad image fails only its own row.

        After MAX_BATCH_SECONDS the remaining images come out as rows that say so. end: when that is, on the clock of
        time.monotonic(), by default counted from this call. Raises RequestError.
        """
        classifier, top_k = self.classifier(model), checked_top_k(top_k)
        end = time.monotonic() + limits.MAX_BATCH_SECONDS if end is None else end
        with self.limiter():
            for prediction in self._stream(classifier, sources, top_k, end):
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
        self, classifier: Classifier, sources: Iterable[ImageSource | ImageError], top_k: int, end: float
    ) -> Iterator[Prediction]:
        """Image by image, so that the time is looked at before each and few are in memory at once."""
        remaining = iter(sources)
        while batch := list(islice(remaining, BATCH_SIZE)):
            read = [self._read(classifier, source, end) for source in batch]
            pixels = [item for item in read if not isinstance(item, ImageError)]
            predictions = iter(classifier.predict_pixels(np.stack(pixels), top_k) if pixels else [])
            for item in read:
                if isinstance(item, ImageError):
                    yield Prediction("error", error=str(item), error_kind=item.kind)
                else:
                    yield next(predictions)

    def _read(self, classifier: Classifier, source: ImageSource | ImageError, end: float) -> np.ndarray | ImageError:
        """(3, height, width) float32 or what is wrong with the image."""
        if isinstance(source, ImageError):
            return source
        if time.monotonic() > end:
            return ImageError(limits.out_of_time())
        try:
            check_size(source)
            return classifier.read(self.decode(source, max(classifier.image_size)))
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
        with self.limiter():
            start = time.perf_counter()
            page = self._read_page(source)
            predictions = classifier.predict([found.image for found in page.products], top_k)
            for prediction in predictions:
                self._tell(name, prediction)
            products = [
                Product(found.box, found.out_of_stock, found.image, prediction)
                for found, prediction in zip(page.products, predictions, strict=True)
            ]
            return Products(page, products, name, time.perf_counter() - start)

    def _read_page(self, source: ImageSource) -> Screenshot:
        """Raises RequestError."""
        check_size(source)
        try:
            return read_page(source, self.decode)
        except ImageError as error:
            raise image_error(str(error), error.kind) from None

    def heat_map(self, source: ImageSource, model: str | None = None, label: str | None = None) -> Image.Image:
        """The image with the regions marked that speak for `label`, by default the model's best.

        Raises RequestError.
        """
        classifier = self.classifier(model)
        if label is not None and label not in classifier.labels:
            raise RequestError(f"The model has no category {str(label)[:40]!r}.")
        with self.limiter():
            image = self.open_image(source)
            heat = explain.heat_map(classifier, image, label)
            return explain.overlay(image, heat, classifier.preprocessor.get("do_pad_to_square", False))


def check_size(source: ImageSource) -> None:
    """Raises TooLargeError, before anything of the file is read."""
    try:
        if isinstance(source, bytes):
            num_bytes = len(source)
        elif isinstance(source, (str, os.PathLike)):
            num_bytes = Path(source).stat().st_size
        else:
            return
    except (OSError, ValueError):  # load_image says what is wrong with it
        return
    if num_bytes > limits.MAX_FILE_BYTES:
        size, allowed = limits.megabytes(num_bytes), limits.megabytes(limits.MAX_FILE_BYTES)
        raise TooLargeError(f"This file has {size}; at most {allowed} are allowed.")


def checked_top_k(top_k: int) -> int:
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= limits.MAX_TOP_K:
        raise RequestError(f"top_k must be a whole number from 1 to {limits.MAX_TOP_K}, not {str(top_k)[:20]}.")
    return top_k


def image_error(reason: str | None, kind: ErrorKind | None) -> RequestError:
    """What a caller is told about an image that cannot be used."""
    return ERRORS[kind or "unreadable"](f"This image cannot be used: {reason}.")
