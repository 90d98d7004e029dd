"""Classify images with a model folder: onnxruntime, Pillow and NumPy, no torch.

    from app.classifier import Classifier

    classifier = Classifier.load("app/models/fashion")
    for prediction in classifier.predict(["shirt.jpg", "shoe.png"], top_k=3):
        print(prediction.label, prediction.confidence, prediction.category_path)
    classifier.predict(["shirt.jpg"], titles=["Puma Men Logo T-shirt"])     # where the folder has titles.onnx

`stream` yields the same predictions one by one, for any number of images in constant memory; `stream_scores` yields
the arrays behind them.

A model folder holds model.onnx, config.json (`id2label`, optionally `taxonomy`) and preprocessor_config.json;
optionally model.int8.onnx, the same graph quantized, and calibration.json, which says how confident an answer must be.
A graph reads `pixel_values` and returns `logits`, and if export.py found them `embeddings` (batch, dim) and
`class_maps` (batch, labels, h, w). A folder must not hold a pickle: opening one runs whatever code its author put in.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import onnxruntime

from .calibration import Decision, decide, normalized
from .images import ErrorKind, ImageError, ImageSource, load_image, preprocess, target_size
from .model_files import ModelError, ModelFiles
from .prediction import Prediction, ScoredLabel
from .probabilities import Softmax
from .titled import IMAGE, TITLES_SETTINGS, Joined, TitledImage
from .views import MAX_TTA as MAX_TTA
from .views import read_views

if TYPE_CHECKING:
    from .titles import Titles

BATCH_SIZE = 4  # on a CPU larger batches fall out of its cache: 1 to 8 are equally fast, 32 is slower
MAX_THREADS_PER_WORKER = 8
NO_TITLES = "make what reads them with: python -m training.titles --model FOLDER --dataset DATASET --title_column NAME"
NO_IMAGE = "a product without an image"
NOT_FINITE = "the model gave no finite numbers for this image"

Product = ImageSource | ImageError | TitledImage  # what can be classified, or why it cannot
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The numbers behind a prediction.

    probabilities: (labels,) float64, calibrated, in the order of the model's labels; None where `error` is set.
    unknown_score, error, error_kind: as in Prediction. joined: what a title made of it; None for an image alone.
    attributes: (labels of all attributes,) float64, as in Attributes.probabilities; None for a model without.
    """

    probabilities: np.ndarray | None = None
    unknown_score: float | None = None
    error: str | None = None
    error_kind: ErrorKind | None = None
    joined: Joined | None = None
    attributes: np.ndarray | None = None


class Classifier:
    """A loaded model. Its methods may be called from several threads at once.

    name: the folder's. labels: in the order of the logits. image_size: (height, width). target_size: what to ask of
    load_image for `read`. precision: "fp32" or "int8".
    calibration, attributes: None if the folder has none. model_card: the text of README.md, "" without one.
    """

    def __init__(self, files: ModelFiles, workers: int) -> None:
        """Use Classifier.load instead."""
        self.folder = files.folder
        self.name = files.name
        self.session = files.session
        self.precision = files.precision
        self.preprocessor = files.preprocessor
        self.labels = files.labels
        self.taxonomy = files.taxonomy
        self.calibration = files.calibration
        self.attributes = files.attributes
        self.model_card = files.model_card
        self.workers = workers
        self.image_size = (self.preprocessor["size"]["height"], self.preprocessor["size"]["width"])
        self.target_size = target_size(self.preprocessor)
        self.outputs = {node.name for node in self.session.get_outputs()}
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True  # class maps cost nothing unless asked for
        self._buffers = threading.local()

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        workers: int | None = None,
        precision: str = "auto",
        device: str = "cpu",
        calibrated: bool = True,
    ) -> "Classifier":
        """Load and check a model folder.

        workers: how many batches are worked on at the same time, each decoding, then running the model. The default,
            one per CPU core, gives the most images per second; 1 gives the quickest answer for a single image.
        precision: "fp32", "int8" or "auto": int8 if the folder has model.int8.onnx and the CPU has instructions for
            it (VNNI or AMX on x86, dot product on ARM).
        device: "cpu", or "cuda" with onnxruntime-gpu.
        calibrated: False ignores the folder's calibration.json and attributes.json.
        Raises ModelError.
        """
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = workers or cores
        threads = min(MAX_THREADS_PER_WORKER, max(1, cores // workers))
        return cls(ModelFiles.open(Path(folder), threads, precision, device, calibrated), workers)

    @cached_property
    def titles(self) -> "Titles | None":
        """What reads the products' titles, opened on first use; None if the folder has none. Raises ModelError."""
        if not (self.folder / TITLES_SETTINGS).exists():
            return None
        from .titles import Titles, TitlesError  # an answer from an image alone does not wait for them

        try:
            return Titles.load(self.folder, self.taxonomy)
        except TitlesError as error:
            raise ModelError(str(error)) from None

    def required_titles(self) -> "Titles":
        """Raises ModelError for a model that reads none."""
        if self.titles is None:
            raise ModelError(f"{self.name} does not read titles: {NO_TITLES}")
        return self.titles

    def predict(
        self,
        images: Iterable[ImageSource | None],
        top_k: int = 5,
        tta: int = 1,
        titles: Iterable[str | None] | None = None,
    ) -> list[Prediction]:
        """Classify images given as paths or as the bytes of files; a bad one fails only its own row.

        titles: those of the products, in the order of the images; None or "" for a product without one. With a title
        an image may be None. Raises ModelError if the model does not read titles.
        """
        if titles is None:
            products: Iterable[Product] = (ImageError(NO_IMAGE) if image is None else image for image in images)
        else:
            self.required_titles()
            products = (TitledImage(image, title) for image, title in zip(images, titles, strict=True))
        return list(self.stream(products, top_k, tta=tta))

    def stream(
        self, images: Iterable[Product], top_k: int = 5, batch_size: int = BATCH_SIZE, tta: int = 1
    ) -> Iterator[Prediction]:
        """Predictions in the order of `images`, as they are made.

        top_k: how many labels a prediction lists. The other arguments are those of stream_scores.
        """
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        return (self.prediction(scores, top_k) for scores in self.stream_scores(images, batch_size, tta))

    def stream_scores(self, images: Iterable[Product], batch_size: int = BATCH_SIZE, tta: int = 1) -> Iterator[Scores]:
        """The numbers behind the predictions, in the order of `images`, as they are made.

        `images` is read only a few batches ahead, so it may be endless and memory stays constant. An ImageError among
        them stands for an image that could not be fetched and comes out as its Scores.
        tta: test-time augmentation, the mean probabilities over this many views of an image: 1 is the image itself, 2
            adds its mirror image, up to MAX_TTA add crops; each view costs one run of the model.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if not 1 <= tta <= MAX_TTA:
            raise ValueError(f"tta must be 1 (the image alone) to {MAX_TTA} views, not {tta}")
        return self.in_batches(images, batch_size, lambda batch: self._score_batch(batch, tta))

    def embed(self, images: Iterable[ImageSource], batch_size: int = BATCH_SIZE) -> np.ndarray:
        """The features that the last layer reads: (images, dim) float32 of length 1; (0, 0) for no images.

        Images of similar products have a large dot product. Raises ImageError for a bad image, naming its position,
        and ModelError if the graph has no embeddings.
        """
        self._require("embeddings")
        rows = [row for (row,) in self.run_many(images, ["embeddings"], batch_size)]
        return normalized(np.array(rows, dtype=np.float32)) if rows else np.empty((0, 0), dtype=np.float32)

    def run_many(
        self, images: Iterable[ImageSource], outputs: Sequence[str], batch_size: int = BATCH_SIZE
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """The graph's named outputs for each image, in order. Raises ImageError, naming the position."""
        return self.in_batches(enumerate(images), batch_size, lambda batch: self._run_batch(batch, outputs))

    def read(self, image: ImageSource, out: np.ndarray | None = None) -> np.ndarray:
        """An image as the model sees it: (3, height, width) float32, into `out` if given. Raises ImageError."""
        return preprocess(load_image(image, self.target_size), self.preprocessor, out)

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """(batch, 3, height, width) float32 -> (batch, labels) float32."""
        return self.run(pixels, ["logits"])[0]

    def class_maps(self, pixels: np.ndarray) -> np.ndarray:
        """(batch, labels, h, w) float32: the evidence for each label at each place of the last feature map.

        pixels: (batch, 3, height, width) float32. Raises ModelError if the graph has no class maps.
        """
        self._require("class_maps")
        return self.run(pixels, ["class_maps"])[0]

    def run(self, pixels: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """The graph's named outputs for (batch, 3, height, width) float32."""
        return self.session.run(list(outputs), {"pixel_values": pixels}, self._run_options)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated softmax, (batch, labels) float32 -> the same in float64: sums over a category are exact."""
        return (self.calibration.softmax if self.calibration else Softmax())(logits)

    def scores(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Calibrated probabilities (batch, labels) float64, unknown scores (batch,) and attributes' probabilities.

        The last two are None without a calibration or attributes.
        """
        detector = self.calibration.unknown if self.calibration else None
        reads_embeddings = self.attributes is not None or (detector is not None and detector.embedding_size is not None)
        logits, *rest = self.run(pixels, ["logits", "embeddings"] if reads_embeddings else ["logits"])
        unknown = detector.scores(logits, rest[0] if rest else None) if detector else None
        attributes = self.attributes.probabilities(rest[0], self.colors(pixels)) if self.attributes else None
        return self.probabilities(logits), unknown, attributes

    def colors(self, pixels: np.ndarray) -> np.ndarray:
        """What attributes read beside the embedding. pixels: (batch, 3, height, width) float32, from `read`."""
        from .attributes import color_histograms

        return color_histograms(pixels, self.preprocessor["image_mean"], self.preprocessor["image_std"])

    def predict_read(
        self, products: Sequence[Product], read: Sequence[np.ndarray | ImageError], top_k: int = 5
    ) -> list[Prediction]:
        """What to say about products whose images `read` has read, (3, height, width) float32 each, or could not."""
        pixels = [item for item in read if not isinstance(item, ImageError)]
        of_pixels = iter(self._score_views(np.stack(pixels), 1) if pixels else [])
        scores = [failed(item) if isinstance(item, ImageError) else next(of_pixels) for item in read]
        return [self.prediction(row, top_k) for row in self._with_titles(scores, products)]

    def prediction(self, scores: Scores, top_k: int = 5) -> Prediction:
        """What to say about an image with these scores."""
        probabilities, unknown_score = scores.probabilities, scores.unknown_score
        if probabilities is None:
            return Prediction("error", error=scores.error, error_kind=scores.error_kind)
        joined = scores.joined
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        top = [ScoredLabel(self.labels[i], float(probabilities[i])) for i in best]
        label_id = int(best[0])
        status, published_path, published_confidences = self._decide(scores, probabilities)
        return Prediction(
            status=status,
            label=top[0].label,
            confidence=top[0].confidence,
            category_path=self.taxonomy.paths[label_id],
            path_confidences=self.taxonomy.path_confidences(probabilities, label_id),
            published_path=published_path,
            published_confidences=published_confidences,
            top_k=top,
            unknown_score=unknown_score,
            prediction_set=self._prediction_set(probabilities)
            if joined is None or joined.answered_from == IMAGE
            else [],
            error=scores.error,
            answered_from=joined.answered_from if joined else None,
            attributes={}
            if self.attributes is None or scores.attributes is None
            else self.attributes.answers(scores.attributes, status),
        )

    def with_title(self, scores: Scores, title: str | None) -> Scores:
        """The same product when its title is looked at too. Raises ModelError for a model that reads none."""
        temperature = self.calibration.temperature if self.calibration else 1.0
        joined = self.required_titles().join(scores.probabilities, temperature, title)
        return replace(scores, probabilities=joined.probabilities, joined=joined) if joined else scores

    def _decide(self, scores: Scores, probabilities: np.ndarray) -> Decision:
        joined, unknown_score = scores.joined, scores.unknown_score
        if joined is None or joined.answered_from == IMAGE:
            return decide(self.calibration, self.taxonomy, probabilities, unknown_score)
        detector = self.calibration.unknown if self.calibration else None
        looks_unknown = detector is not None and unknown_score is not None and unknown_score >= detector.threshold
        return self.required_titles().decide(joined, looks_unknown)

    def _prediction_set(self, probabilities: np.ndarray) -> list[str]:
        if self.calibration is None or self.calibration.prediction_set_quantile is None:
            return []
        return [self.labels[i] for i in self.calibration.prediction_set(probabilities)]

    def in_batches(
        self, items: Iterable[Item], batch_size: int, work: Callable[[list[Item]], list[Result]]
    ) -> Iterator[Result]:
        """What `work` makes of the items, in their order, several batches at the same time and few ahead."""
        remaining = iter(items)
        pool = ThreadPoolExecutor(self.workers)
        pending: deque[Future[list[Result]]] = deque()
        try:
            while batch := list(islice(remaining, batch_size)):
                pending.append(pool.submit(work, batch))
                if len(pending) > 2 * self.workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _score_batch(self, batch: list[Product], tta: int) -> list[Scores]:
        """One batch on one worker, from files and titles to scores."""
        return self._with_titles(self._score_images([image_of(product) for product in batch], tta), batch)

    def _with_titles(self, scores: Sequence[Scores], products: Sequence[Product]) -> list[Scores]:
        return [
            self.with_title(row, product.title) if isinstance(product, TitledImage) else row
            for row, product in zip(scores, products, strict=True)
        ]

    def _score_images(self, batch: list[ImageSource | ImageError], tta: int) -> list[Scores]:
        buffer = self._buffer(len(batch) * tta)
        errors: list[ImageError | None] = []
        for image in batch:
            try:
                if isinstance(image, ImageError):
                    raise image
                first = errors.count(None) * tta
                self._read_views(image, buffer[first : first + tta])
                errors.append(None)
            except ImageError as error:
                errors.append(error)
        scores = iter(self._score_views(buffer[: errors.count(None) * tta], tta))
        return [failed(error) if error else next(scores) for error in errors]

    def _score_views(self, pixels: np.ndarray, tta: int) -> list[Scores]:
        """pixels: (images * tta, 3, height, width), the views of an image one after the other."""
        if not len(pixels):
            return []
        view_probabilities, view_unknown, view_attributes = self.scores(pixels)
        probabilities = view_probabilities.reshape(-1, tta, len(self.labels)).mean(axis=1)
        unknown: Iterable[float | None] = repeat(None, len(probabilities))
        if view_unknown is not None:
            unknown = view_unknown.reshape(-1, tta).mean(axis=1).tolist()
        attributes: Iterable[np.ndarray | None] = repeat(None, len(probabilities))
        if view_attributes is not None:
            attributes = view_attributes.reshape(len(probabilities), tta, -1).mean(axis=1)
        return [
            Scores(row, unknown_score, attributes=of_row) if np.isfinite(row).all() else Scores(error=NOT_FINITE)
            for row, unknown_score, of_row in zip(probabilities, unknown, attributes, strict=True)
        ]

    def _read_views(self, image: ImageSource, out: np.ndarray) -> None:
        read_views(image, self.preprocessor, self.target_size, out)

    def _run_batch(self, batch: list[tuple[int, ImageSource]], outputs: Sequence[str]) -> list[tuple[np.ndarray, ...]]:
        buffer = self._buffer(len(batch))
        for (position, image), out in zip(batch, buffer, strict=True):
            try:
                self.read(image, out)
            except ImageError as error:
                raise ImageError(f"image {position}: {error}") from error
        return list(zip(*self.run(buffer, outputs), strict=True))

    def _require(self, output: str) -> None:
        if output not in self.outputs:
            raise ModelError(
                f"the graph of {self.name or 'this model'} has no {output}; python export.py --model FOLDER writes them"
            )

    def _buffer(self, rows: int) -> np.ndarray:
        """This thread's (rows, 3, height, width) float32, kept because fresh memory is slow to touch."""
        pixels: np.ndarray | None = getattr(self._buffers, "pixels", None)
        if pixels is None or len(pixels) < rows:
            pixels = self._buffers.pixels = np.empty((rows, 3, *self.image_size), dtype=np.float32)
        return pixels[:rows]


def failed(error: ImageError) -> Scores:
    return Scores(error=str(error), error_kind=error.kind)


def image_of(product: Product) -> ImageSource | ImageError:
    """The image of what is to be classified, or why there is none."""
    if not isinstance(product, TitledImage):
        return product
    return ImageError(NO_IMAGE) if product.image is None else product.image
