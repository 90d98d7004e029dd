"""What the page and the API do, without gradio: classify one image or many, find the products on a screenshot.

    from app.service import Service

    service = Service()                                       # the models below app/models, each loaded when first used
    answer = service.classify(Path("shirt.jpg").read_bytes())
    print(answer.prediction.label, answer.seconds)

Every limit is checked here, whichever way an image came. Errors that a caller may see are RequestError (limits.py); at
most MAX_RUNNING requests are worked on at once, MAX_WAITING more wait, and any further one gets BusyError at once.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from . import limits
from .classifier import Classifier, ModelError, Prediction
from .images import ImageError, ImageSource, load_image
from .limits import BusyError, NotAnImageError, RequestError, TooLargeError, UnknownModelError, UnreadableError
from .tiles import cut, find_products

MODELS = Path(__file__).resolve().parent / "models"
PREFERRED = "fashion"  # the model that answers where a caller names none
TOP_K = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model says about one image. seconds: from the bytes to the answer, waiting not included."""

    prediction: Prediction
    model: str
    seconds: float

    def as_dict(self) -> dict:
        return {"model": self.model, **as_dict(self.prediction), "milliseconds": round(1000 * self.seconds, 1)}


@dataclass(frozen=True, slots=True)
class Product:
    """One product on a screenshot. box: x, y, width, height in pixels of the screenshot."""

    box: tuple[int, int, int, int]
    out_of_stock: bool
    image: Image.Image
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Products:
    """What was found on a screenshot. kind: "grid", "single" or "other" (no product image); page: RGB, upright."""

    kind: str
    page: Image.Image
    products: list[Product]
    model: str
    seconds: float

    def as_dict(self) -> dict:
        rows = [
            {"box": list(one.box), "out_of_stock": one.out_of_stock, **as_dict(one.prediction)} for one in self.products
        ]
        facts = {"model": self.model, "kind": self.kind, "width": self.page.width, "height": self.page.height}
        return {**facts, "products": rows, "milliseconds": round(1000 * self.seconds, 1)}


def as_dict(prediction: Prediction) -> dict:
    """For JSON. Confidences are rounded to what a reader can use."""
    unknown_score = getattr(prediction, "unknown_score", None)
    return {
        "status": prediction.status,
        "label": prediction.label,
        "confidence": _rounded(prediction.confidence),
        "category_path": list(prediction.category_path),
        "path_confidences": [_rounded(one) for one in prediction.path_confidences],
        "top_k": [{"label": one.label, "confidence": _rounded(one.confidence)} for one in prediction.top_k],
        "unknown_score": _rounded(unknown_score),
        "error": prediction.error,
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(float(number), 4)


class ConcurrencyLimiter:
    """Lets a few requests in at once and a few more wait; the others are told to come back later."""

    def __init__(self, running: int, waiting: int, seconds: float) -> None:
        self.places = threading.BoundedSemaphore(running + waiting)
        self.slots = threading.BoundedSemaphore(running)
        self.seconds = seconds

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Raises BusyError."""
        if not self.places.acquire(blocking=False):
            raise BusyError
        try:
            if not self.slots.acquire(timeout=self.seconds):
                raise BusyError
            try:
                yield
            finally:
                self.slots.release()
        finally:
            self.places.release()


class Service:
    """The models of a folder and what can be done with them. Methods may be called from several threads at once."""

    def __init__(self, models: Path = MODELS) -> None:
        """Raises ModelError where the folder holds no model; broken ones are found when they are first used."""
        self.folders = {path.parent.name: path.parent for path in sorted(models.glob("*/model.onnx"))}
        if not self.folders:
            raise ModelError(f"no model in {models}: each model is a folder there with a model.onnx")
        self.default = PREFERRED if PREFERRED in self.folders else next(iter(self.folders))
        self.limiter = ConcurrencyLimiter(limits.MAX_RUNNING, limits.MAX_WAITING, limits.MAX_WAIT_SECONDS)
        self._loaded: dict[str, Classifier] = {}
        self._loading = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The models' names, the default one first."""
        return sorted(self.folders, key=lambda name: (name != self.default, name))

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
            prediction = classifier.predict([source], top_k)[0]
            seconds = time.perf_counter() - start
        if prediction.status == "error":
            raise image_error(prediction.error or "it cannot be read")
        return Answer(prediction, model or self.default, seconds)

    def classify_each(
        self, sources: Iterable[ImageSource | ImageError], model: str | None = None, top_k: int = TOP_K
    ) -> Iterator[Prediction]:
        """Predictions in the order of `sources`, as they are made; a bad image costs its own row only.

        After MAX_BATCH_SECONDS the remaining images come out as rows that say so. Raises RequestError.
        """
        classifier, top_k = self.classifier(model), checked_top_k(top_k)
        with self.limiter():
            end = time.monotonic() + limits.MAX_BATCH_SECONDS
            yield from classifier.stream(_checked(sources, end), top_k)

    def classify_batch(
        self, sources: Iterable[ImageSource | ImageError], model: str | None = None, top_k: int = TOP_K
    ) -> list[Prediction]:
        """The same as a list."""
        return list(self.classify_each(sources, model, top_k))

    def find_products(self, source: ImageSource, model: str | None = None, top_k: int = TOP_K) -> Products:
        """The product images on a screenshot, from top to bottom, each one classified. Raises RequestError."""
        classifier, top_k = self.classifier(model), checked_top_k(top_k)
        with self.limiter():
            start = time.perf_counter()
            page = open_image(source)
            small = shrunk(page)
            found = find_products(small)
            tiles = found.tiles[: limits.MAX_TILES]
            images = [cut(small, tile) for tile in tiles]
            predictions = classifier.predict(images, top_k)
            factor = page.width / small.width
            boxes = [tuple(round(factor * side) for side in tile.box) for tile in tiles]
            rows = zip(boxes, tiles, images, predictions, strict=True)
            products = [Product(box, tile.out_of_stock, image, said) for box, tile, image, said in rows]
            return Products(found.kind, page, products, model or self.default, time.perf_counter() - start)

    def heat_map(self, source: ImageSource, model: str | None = None, label: str | None = None) -> Image.Image:
        """The image with the parts marked that speak for `label`, by default the model's best. Raises RequestError."""
        try:
            from . import explain
        except ImportError:
            raise RequestError("Heat maps are not installed here.") from None
        classifier = self.classifier(model)
        if label is not None and label not in classifier.labels:
            raise RequestError(f"The model has no category {str(label)[:40]!r}.")
        with self.limiter():
            image = open_image(source)
            heat = explain.heat_map(classifier, image, label)
            return explain.overlay(image, heat, classifier.preprocessor.get("do_pad_to_square", False))


def check_size(source: ImageSource) -> None:
    """Raises TooLargeError, before anything of the file is read."""
    if isinstance(source, Image.Image):
        return
    try:
        num_bytes = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    except (OSError, ValueError):  # load_image tells what is wrong with it
        return
    if num_bytes > limits.MAX_FILE_BYTES:
        found, allowed = limits.megabytes(num_bytes), limits.megabytes(limits.MAX_FILE_BYTES)
        raise TooLargeError(f"This file has {found}; at most {allowed} are allowed.")


def _checked(sources: Iterable[ImageSource | ImageError], end: float) -> Iterator[ImageSource | ImageError]:
    """The sources, those over a limit as the error that says so."""
    for source in sources:
        if time.monotonic() > end:
            yield ImageError(f"left out: the time for one batch ({limits.MAX_BATCH_SECONDS} s) was over")
            continue
        try:
            if not isinstance(source, ImageError):
                check_size(source)
            yield source
        except TooLargeError as error:
            yield ImageError(str(error))


def checked_top_k(top_k: int) -> int:
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= limits.MAX_TOP_K:
        raise RequestError(f"top_k must be a whole number from 1 to {limits.MAX_TOP_K}, not {str(top_k)[:20]}.")
    return top_k


def open_image(source: ImageSource) -> Image.Image:
    """RGB and upright, at full size. Raises RequestError."""
    check_size(source)
    try:
        return load_image(source)
    except ImageError as error:
        raise image_error(str(error)) from None


def shrunk(page: Image.Image) -> Image.Image:
    factor = (limits.MAX_PAGE_PIXELS / (page.width * page.height)) ** 0.5
    if factor >= 1:
        return page
    return page.resize((max(1, int(page.width * factor)), max(1, int(page.height * factor))))


def image_error(reason: str) -> RequestError:
    """The error of the right kind for the one line with which images.py refused an image."""
    for start, kind in (("not an image file", NotAnImageError), ("too ", TooLargeError)):
        if reason.startswith(start):
            return kind(f"This image cannot be used: {reason}.")
    return UnreadableError(f"This image cannot be used: {reason}.")
