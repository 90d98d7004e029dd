"""What the page and the API do, without gradio: classify one picture or many, find the products on a screenshot.

    from app.service import Service

    service = Service()                                       # the models below app/models, each loaded when first used
    answer = service.classify(Path("shirt.jpg").read_bytes())
    print(answer.prediction.label, answer.seconds)

Every limit is checked here, whichever way a picture came. Errors that a caller may see are UserError (limits.py); at
most MAX_RUNNING requests are worked on at once, MAX_WAITING more wait, and any further one gets Busy at once.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

if __package__:
    from . import limits
    from .classifier import Classifier, ModelError, Prediction
    from .images import ImageError, ImageSource, load_image
    from .limits import Busy, NotAnImage, TooLarge, UnknownModel, Unreadable, UserError
    from .tiles import cut, find_products
else:  # pushed alone as a Space, the files of this folder are top-level modules
    import limits
    from classifier import Classifier, ModelError, Prediction
    from images import ImageError, ImageSource, load_image
    from limits import Busy, NotAnImage, TooLarge, UnknownModel, Unreadable, UserError
    from tiles import cut, find_products

MODELS = Path(__file__).resolve().parent / "models"
PREFERRED = "fashion"  # the model that answers where a caller names none
TOP_K = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model says about one picture. seconds: from the bytes to the answer, waiting not included."""

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
    picture: Image.Image
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Products:
    """What was found on a screenshot. kind: "grid", "single" or "other" (no product picture); page: RGB, upright."""

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


class Gate:
    """Lets a few requests in at once and a few more wait; the others are told to come back later."""

    def __init__(self, running: int, waiting: int, seconds: float) -> None:
        self.places = threading.BoundedSemaphore(running + waiting)
        self.slots = threading.BoundedSemaphore(running)
        self.seconds = seconds

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Raises Busy."""
        if not self.places.acquire(blocking=False):
            raise Busy
        try:
            if not self.slots.acquire(timeout=self.seconds):
                raise Busy
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
        self.gate = Gate(limits.MAX_RUNNING, limits.MAX_WAITING, limits.MAX_WAIT_SECONDS)
        self._loaded: dict[str, Classifier] = {}
        self._loading = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The models' names, the default one first."""
        return sorted(self.folders, key=lambda name: (name != self.default, name))

    def classifier(self, model: str | None = None) -> Classifier:
        """The model of this name, the default one for None or "". Raises UnknownModel."""
        name = model or self.default
        if not isinstance(name, str) or name not in self.folders:
            raise UnknownModel(f"There is no model {str(name)[:40]!r}. Choose one of: {', '.join(self.names)}.")
        with self._loading:
            if name not in self._loaded:
                try:
                    self._loaded[name] = Classifier.load(self.folders[name], workers=1)
                except ModelError as error:
                    raise ModelError(f"model {name}: {error}") from None
            return self._loaded[name]

    def classify(self, source: ImageSource, model: str | None = None, top_k: int = TOP_K) -> Answer:
        """One picture, as a path, the bytes of a file or an open image. Raises UserError."""
        classifier, top_k = self.classifier(model), checked_top_k(top_k)
        with self.gate():
            start = time.perf_counter()
            check_size(source)
            prediction = classifier.predict([source], top_k)[0]
            seconds = time.perf_counter() - start
        if prediction.status == "error":
            raise picture_error(prediction.error or "it cannot be read")
        return Answer(prediction, model or self.default, seconds)

    def classify_each(
        self, sources: Iterable[ImageSource | ImageError], model: str | None = None, top_k: int = TOP_K
    ) -> Iterator[Prediction]:
        """Predictions in the order of `sources`, as they are made; a bad picture costs its own row only.

        After MAX_BATCH_SECONDS the remaining pictures come out as rows that say so. Raises UserError.
        """
        classifier, top_k = self.classifier(model), checked_top_k(top_k)
        with self.gate():
            end = time.monotonic() + limits.MAX_BATCH_SECONDS
            yield from classifier.stream(_checked(sources, end), top_k)

    def classify_batch(
        self, sources: Iterable[ImageSource | ImageError], model: str | None = None, top_k: int = TOP_K
    ) -> list[Prediction]:
        """The same as a list."""
        return list(self.classify_each(sources, model, top_k))

    def find_products(self, source: ImageSource, model: str | None = None, top_k: int = TOP_K) -> Products:
        """The product pictures on a screenshot, from top to bottom, each one classified. Raises UserError."""
        classifier, top_k = self.classifier(model), checked_top_k(top_k)
        with self.gate():
            start = time.perf_counter()
            page = open_picture(source)
            small = shrunk(page)
            found = find_products(small)
            tiles = found.tiles[: limits.MAX_TILES]
            pictures = [cut(small, tile) for tile in tiles]
            predictions = classifier.predict(pictures, top_k)
            factor = page.width / small.width
            boxes = [tuple(round(factor * side) for side in tile.box) for tile in tiles]
            rows = zip(boxes, tiles, pictures, predictions, strict=True)
            products = [Product(box, tile.out_of_stock, picture, said) for box, tile, picture, said in rows]
            return Products(found.kind, page, products, model or self.default, time.perf_counter() - start)

    def heat_map(self, source: ImageSource, model: str | None = None, label: str | None = None) -> Image.Image:
        """The picture with the parts marked that speak for `label`, by default the model's best. Raises UserError."""
        try:
            if __package__:
                from . import explain
            else:
                import explain
        except ImportError:
            raise UserError("Heat maps are not installed here.") from None
        classifier = self.classifier(model)
        if label is not None and label not in classifier.labels:
            raise UserError(f"The model has no category {str(label)[:40]!r}.")
        with self.gate():
            picture = open_picture(source)
            heat = explain.heat_map(classifier, picture, label)
            return explain.overlay(picture, heat, classifier.preprocessor.get("do_pad_to_square", False))


def check_size(source: ImageSource) -> None:
    """Raises TooLarge, before anything of the file is read."""
    if isinstance(source, Image.Image):
        return
    try:
        num_bytes = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    except (OSError, ValueError):  # load_image tells what is wrong with it
        return
    if num_bytes > limits.MAX_FILE_BYTES:
        found, allowed = limits.megabytes(num_bytes), limits.megabytes(limits.MAX_FILE_BYTES)
        raise TooLarge(f"This file has {found}; at most {allowed} are allowed.")


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
        except TooLarge as error:
            yield ImageError(str(error))


def checked_top_k(top_k: int) -> int:
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= limits.MAX_TOP_K:
        raise UserError(f"top_k must be a whole number from 1 to {limits.MAX_TOP_K}, not {str(top_k)[:20]}.")
    return top_k


def open_picture(source: ImageSource) -> Image.Image:
    """RGB and upright, at full size. Raises UserError."""
    check_size(source)
    try:
        return load_image(source)
    except ImageError as error:
        raise picture_error(str(error)) from None


def shrunk(page: Image.Image) -> Image.Image:
    factor = (limits.MAX_PAGE_PIXELS / (page.width * page.height)) ** 0.5
    if factor >= 1:
        return page
    return page.resize((max(1, int(page.width * factor)), max(1, int(page.height * factor))))


def picture_error(reason: str) -> UserError:
    """The error of the right kind for the one line with which images.py refused a picture."""
    for start, kind in (("not an image file", NotAnImage), ("too ", TooLarge)):
        if reason.startswith(start):
            return kind(f"This picture cannot be used: {reason}.")
    return Unreadable(f"This picture cannot be used: {reason}.")
