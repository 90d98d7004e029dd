"""Classify images with a model folder: onnxruntime, Pillow and NumPy, no torch.

    from app.classifier import Classifier

    classifier = Classifier.load("app/models/fashion")
    for prediction in classifier.predict(["shirt.jpg", "shoe.png"], top_k=3):
        print(prediction.label, prediction.confidence, prediction.category_path)

`stream` gives the same predictions one by one for any number of images in constant memory.

A model folder holds model.onnx, config.json (`id2label` and perhaps `taxonomy`) and preprocessor_config.json; perhaps
model.int8.onnx, the same graph quantised, and calibration.json, which says from which confidence on an answer is sure.
A graph reads `pixel_values` and gives `logits`, and where export.py found them `embeddings` (batch, dim) and
`class_maps` (batch, labels, h, w). A folder must hold no pickle: opening one runs whatever code its author put in.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from .calibration import normalized
from .images import ImageError, ImageSource, load_image, preprocess, resize
from .model_files import ModelError, ModelFiles

TTA_SCALE = 1.125  # test-time crops are cut from an image this much larger than what the model reads
TTA_CORNERS = ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0))  # where, as a share of what is cut away
MAX_TTA = 2 + 2 * len(TTA_CORNERS)
BATCH_SIZE = 4  # on a CPU larger batches fall out of its cache: 1 to 8 are equally fast, 32 is slower
MAX_THREADS_PER_WORKER = 8


class ScoredLabel(NamedTuple):
    """A label and its probability in [0, 1]."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says about one image.

    status: "ok": `label` is sure enough to publish; everything is, where the model has no calibration. "review": it is
        not; `label` is the deepest category that is, None where none is. "unknown": no product that the model knows;
        `label` is None. "error": the image cannot be read; there is only `error`, one line with the reason.
    confidence: of `label`; of the model's best label where `label` is None.
    category_path: the path through the taxonomy down to `label`, broad to narrow; [label] where the model has none.
    path_confidences: for each level of category_path the sum of the confidences of all labels below it.
    top_k: the model's most probable labels whatever the status, best first.
    unknown_score: in [0, 1], the higher the less the image looks like those that the model learnt; None without
        calibration.
    prediction_set: the labels that hold the true one with the coverage that calibrate.py --coverage was given.
    """

    status: str = "ok"
    label: str | None = None
    confidence: float | None = None
    category_path: list[str] = field(default_factory=list)
    path_confidences: list[float] = field(default_factory=list)
    top_k: list[ScoredLabel] = field(default_factory=list)
    unknown_score: float | None = None
    prediction_set: list[str] = field(default_factory=list)
    error: str | None = None


class Classifier:
    """A loaded model. Its methods may be called from several threads at once.

    name: the folder's. labels: in the order of the logits. image_size: (height, width). precision: "fp32" or "int8".
    calibration: None where the folder has none. model_card: the text of the folder's README.md, "" without one.
    """

    def __init__(self, files: ModelFiles, workers: int) -> None:
        """Use Classifier.load instead."""
        self.name = files.name
        self.session = files.session
        self.precision = files.precision
        self.preprocessor = files.preprocessor
        self.labels = files.labels
        self.taxonomy = files.taxonomy
        self.calibration = files.calibration
        self.model_card = files.model_card
        self.workers = workers
        self.image_size = (self.preprocessor["size"]["height"], self.preprocessor["size"]["width"])
        self.outputs = {node.name for node in self.session.get_outputs()}
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True  # class maps cost nothing where nobody asks for them
        self._buffers = threading.local()

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike,
        workers: int | None = None,
        precision: str = "auto",
        device: str = "cpu",
        calibrated: bool = True,
    ) -> "Classifier":
        """Load and check a model folder.

        workers: how many batches are worked on at the same time, each decoding, then running the model. The default,
            one a CPU core, gives the most images a second; 1 gives the quickest answer for a single image.
        precision: "fp32", "int8" or "auto": int8 where the folder has model.int8.onnx and the CPU has instructions for
            it (VNNI or AMX on x86, dot product on ARM).
        device: "cpu", or "cuda" with onnxruntime-gpu.
        calibrated: False leaves the folder's calibration.json aside.
        Raises ModelError.
        """
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = workers or cores
        threads = min(MAX_THREADS_PER_WORKER, max(1, cores // workers))
        return cls(ModelFiles.open(Path(folder), threads, precision, device, calibrated), workers)

    def predict(self, images: Iterable[ImageSource], top_k: int = 5, tta: int = 1) -> list[Prediction]:
        """Classify images given as paths or as the bytes of files; a bad one costs its own row only."""
        return list(self.stream(images, top_k, tta=tta))

    def stream(
        self,
        images: Iterable[ImageSource | ImageError],
        top_k: int = 5,
        batch_size: int = BATCH_SIZE,
        tta: int = 1,
    ) -> Iterator[Prediction]:
        """Predictions in the order of `images`, as they are made.

        `images` is read a few batches ahead only, so it may be endless and memory stays constant. An ImageError among
        them stands for an image that could not be fetched and comes out as its row.
        tta: test-time augmentation, the mean probabilities of so many views of an image: 1 the image, 2 and its
            mirror image, up to MAX_TTA with crops; each view costs a run of the model.
        """
        if top_k < 1 or batch_size < 1:
            raise ValueError(f"top_k and batch_size must be at least 1, not {top_k} and {batch_size}")
        if not 1 <= tta <= MAX_TTA:
            raise ValueError(f"tta must be 1 (the image alone) to {MAX_TTA} views, not {tta}")
        return self._in_batches(images, batch_size, lambda batch: self._classify(batch, top_k, tta))

    def embed(self, images: Iterable[ImageSource], batch_size: int = BATCH_SIZE) -> np.ndarray:
        """The features of each image that the last layer reads: (images, dim) float32 of length 1; (0, 0) for none.

        Images of similar products have a large dot product. Raises ImageError for a bad image, naming its position,
        and ModelError where the graph has no embeddings.
        """
        self._require("embeddings")
        rows = [row for (row,) in self.run_many(images, ["embeddings"], batch_size)]
        return normalized(np.array(rows, dtype=np.float32)) if rows else np.empty((0, 0), dtype=np.float32)

    def run_many(
        self, images: Iterable[ImageSource], outputs: Sequence[str], batch_size: int = BATCH_SIZE
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """The graph's outputs of these names for each image, in order. Raises ImageError, naming the position."""
        return self._in_batches(enumerate(images), batch_size, lambda batch: self._run_batch(batch, outputs))

    def read(self, image: ImageSource, out: np.ndarray | None = None) -> np.ndarray:
        """What the model sees of an image: (3, height, width) float32, into `out` if given. Raises ImageError."""
        return preprocess(load_image(image, target_size=max(self.image_size)), self.preprocessor, out)

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """(batch, 3, height, width) float32 -> (batch, labels) float32."""
        return self.run(pixels, ["logits"])[0]

    def class_maps(self, pixels: np.ndarray) -> np.ndarray:
        """(batch, labels, h, w) float32: what each place of the last feature map says for each label.

        pixels: (batch, 3, height, width) float32. Raises ModelError where the graph has no class maps.
        """
        self._require("class_maps")
        return self.run(pixels, ["class_maps"])[0]

    def run(self, pixels: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """The graph's outputs of these names for (batch, 3, height, width) float32."""
        return self.session.run(list(outputs), {"pixel_values": pixels}, self._run_options)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated softmax, (batch, labels) float32 -> the same in float64: sums over a category are exact."""
        logits = logits.astype(np.float64) / (self.calibration.temperature if self.calibration else 1.0)
        with np.errstate(invalid="ignore"):  # a row that is not finite stays so, and is reported with its image
            exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def scores(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Calibrated probabilities (batch, labels) float64 and unknown scores (batch,), None without calibration."""
        detector = self.calibration.unknown if self.calibration else None
        wanted = ["logits", "embeddings"] if detector and detector.centers is not None else ["logits"]
        logits, *more = self.run(pixels, wanted)
        return self.probabilities(logits), detector.scores(logits, more[0] if more else None) if detector else None

    def prediction(self, probabilities: np.ndarray, unknown_score: float | None = None, top_k: int = 5) -> Prediction:
        """What to say of an image with these calibrated probabilities, (labels,) float64."""
        if not np.isfinite(probabilities).all():
            return Prediction("error", error="the model gave no finite numbers for this image")
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        top = [ScoredLabel(self.labels[i], float(probabilities[i])) for i in best]
        status, depth, label = self._decide(probabilities, unknown_score)
        path = self.taxonomy.paths[label][:depth]
        confidences = self.taxonomy.path_confidences(probabilities, label)[:depth]
        whole = depth == len(self.taxonomy.levels)
        named = (self.labels[label] if whole else path[-1]) if path else None
        return Prediction(
            status=status,
            label=named,
            confidence=float(probabilities[label]) if whole else confidences[-1] if path else top[0].confidence,
            category_path=path,
            path_confidences=confidences,
            top_k=top,
            unknown_score=None if unknown_score is None else float(unknown_score),
            prediction_set=self._prediction_set(probabilities),
        )

    def _decide(self, probabilities: np.ndarray, unknown_score: float | None) -> tuple[str, int, int]:
        """The status, how many levels of the path are sure, and the label whose path it is."""
        levels, calibration = len(self.taxonomy.levels), self.calibration
        if calibration is None:
            return "ok", levels, int(probabilities.argmax())
        if calibration.unknown and unknown_score is not None and unknown_score >= calibration.unknown.threshold:
            return "unknown", 0, int(probabilities.argmax())
        for level in reversed(range(levels)):
            label, confidence = self.taxonomy.best(probabilities, level)
            least = calibration.thresholds[level][self.taxonomy.paths[label][level]]
            if least is not None and confidence >= least:
                return "ok" if level == levels - 1 else "review", level + 1, label
        return "review", 0, int(probabilities.argmax())

    def _prediction_set(self, probabilities: np.ndarray) -> list[str]:
        if self.calibration is None or self.calibration.prediction_set_quantile is None:
            return []
        return [self.labels[i] for i in self.calibration.prediction_set(probabilities)]

    def _in_batches(self, items: Iterable, batch_size: int, work: Callable[[list], list]) -> Iterator:
        """What `work` makes of the items, in their order, some batches at the same time and few ahead."""
        items = iter(items)
        pool = ThreadPoolExecutor(self.workers)
        pending = deque()
        try:
            while batch := list(islice(items, batch_size)):
                pending.append(pool.submit(work, batch))
                if len(pending) > 2 * self.workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _classify(self, batch: list[ImageSource | ImageError], top_k: int, tta: int) -> list[Prediction]:
        """One batch on one worker, from files to predictions."""
        buffer = self._buffer(len(batch) * tta)
        errors: list[str | None] = []
        for image in batch:
            try:
                if isinstance(image, ImageError):
                    raise image
                first = errors.count(None) * tta
                self._read_views(image, buffer[first : first + tta])
                errors.append(None)
            except ImageError as error:
                errors.append(str(error))
        answers = iter(self._answers(buffer[: errors.count(None) * tta], top_k, tta))
        return [Prediction("error", error=error) if error else next(answers) for error in errors]

    def _answers(self, pixels: np.ndarray, top_k: int, tta: int) -> list[Prediction]:
        """pixels: (images * tta, 3, height, width), the views of an image one after the other."""
        if not len(pixels):
            return []
        probabilities, unknown = self.scores(pixels)
        probabilities = probabilities.reshape(-1, tta, len(self.labels)).mean(axis=1)
        unknown = [None] * len(probabilities) if unknown is None else unknown.reshape(-1, tta).mean(axis=1)
        return [self.prediction(row, score, top_k) for row, score in zip(probabilities, unknown, strict=True)]

    def _read_views(self, image: ImageSource, out: np.ndarray) -> None:
        """The image, its mirror image, then crops of it and theirs, into (tta, 3, height, width)."""
        if len(out) == 1:
            self.read(image, out[0])
            return
        height, width = self.image_size
        loaded = load_image(image, target_size=max(self.image_size))
        preprocess(loaded, self.preprocessor, out[0])
        if len(out) > 2:
            larger = (round(TTA_SCALE * width), round(TTA_SCALE * height))
            pad = self.preprocessor.get("do_pad_to_square", False)
            loaded = resize(loaded, larger, self.preprocessor.get("resample", 2), pad)
        for view in range(2, len(out), 2):
            x, y = TTA_CORNERS[view // 2 - 1]
            left, top = round(x * (loaded.width - width)), round(y * (loaded.height - height))
            preprocess(loaded.crop((left, top, left + width, top + height)), self.preprocessor, out[view])
        for view in range(1, len(out), 2):
            out[view] = out[view - 1, :, :, ::-1]

    def _run_batch(self, batch: list[tuple[int, ImageSource]], outputs: Sequence[str]) -> list[tuple]:
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
        pixels = getattr(self._buffers, "pixels", None)
        if pixels is None or len(pixels) < rows:
            pixels = self._buffers.pixels = np.empty((rows, 3, *self.image_size), dtype=np.float32)
        return pixels[:rows]
