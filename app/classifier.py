"""Classify pictures with a model folder: onnxruntime, Pillow and NumPy, no torch.

    from app.classifier import Classifier

    classifier = Classifier.load("app/models/fashion")
    for prediction in classifier.predict(["shirt.jpg", "shoe.png"], top_k=3):
        print(prediction.label, prediction.confidence, prediction.category_path)

`stream` gives the same predictions one by one for any number of pictures in constant memory.

A model folder holds model.onnx (input `pixel_values`, output `logits`), config.json (`id2label` and perhaps `taxonomy`)
and preprocessor_config.json. It must hold no pickle: opening one runs whatever code its author put in.
"""

import json
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

if __package__:
    from .images import ImageError, ImageSource, load_image, preprocess
else:  # pushed alone as a Space, the files of this folder are top-level modules
    from images import ImageError, ImageSource, load_image, preprocess

MODEL_FILE = "model.onnx"
CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
PICKLE_SUFFIXES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
BATCH_SIZE = 4  # on a CPU larger batches fall out of its cache: 1 to 8 are equally fast, 32 is slower
MAX_THREADS_PER_WORKER = 8


class ModelError(ValueError):
    """A model folder that cannot be used. The message is one line that says what is wrong and what to do."""


class ScoredLabel(NamedTuple):
    """A label and its probability in [0, 1]."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says about one picture; with status "error" there is only `error`, one line with the reason.

    category_path: the label's path through the taxonomy, broad to narrow; [label] where the model has none.
    path_confidences: for each level of category_path the sum of the confidences of all labels below it.
    top_k: the most probable labels, best first.
    """

    status: str = "ok"
    label: str | None = None
    confidence: float | None = None
    category_path: list[str] = field(default_factory=list)
    path_confidences: list[float] = field(default_factory=list)
    top_k: list[ScoredLabel] = field(default_factory=list)
    error: str | None = None


class Taxonomy:
    """Where each label sits in the category tree."""

    def __init__(self, paths: Sequence[Sequence[str]]) -> None:
        """paths: for each label, in the order of the logits, its path; all of the same length."""
        self.paths = [list(path) for path in paths]
        self.nodes = []  # for each level (labels,) int: the number of the category that holds the label
        for level in range(len(self.paths[0])):
            numbers: dict[tuple[str, ...], int] = {}
            prefixes = [tuple(path[: level + 1]) for path in self.paths]
            self.nodes.append(np.array([numbers.setdefault(prefix, len(numbers)) for prefix in prefixes]))

    def path_confidences(self, probabilities: np.ndarray, label: int) -> list[float]:
        """For each level the summed probability of the labels that share the category of `label`.

        probabilities: (labels,) float64.
        """
        return [min(1.0, float(probabilities[nodes == nodes[label]].sum())) for nodes in self.nodes]


class Classifier:
    """A loaded model. Its methods may be called from several threads at once."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        preprocessor: dict,
        labels: list[str],
        taxonomy: Taxonomy,
        workers: int,
    ) -> None:
        """Use Classifier.load instead, which checks that the parts fit together."""
        self.session = session
        self.preprocessor = preprocessor
        self.labels = labels
        self.taxonomy = taxonomy
        self.workers = workers
        self.image_size = (preprocessor["size"]["height"], preprocessor["size"]["width"])
        self._buffers = threading.local()

    @classmethod
    def load(cls, folder: str | os.PathLike, workers: int | None = None) -> "Classifier":
        """Load and check a model folder.

        workers: how many batches are worked on at the same time, each decoding, then running the model. The default,
            one a CPU core, gives the most images a second; 1 gives the quickest answer for a single picture.
        Raises ModelError.
        """
        folder = Path(folder)
        _check_folder(folder)
        config = _read_json(folder / CONFIG_FILE)
        preprocessor = _read_json(folder / PREPROCESSOR_FILE)
        _check_preprocessor(preprocessor, folder / PREPROCESSOR_FILE)
        labels = _labels(config, folder / CONFIG_FILE)
        taxonomy = _taxonomy(config, labels, folder / CONFIG_FILE)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = workers or cores
        session = _open_session(folder / MODEL_FILE, threads=min(MAX_THREADS_PER_WORKER, max(1, cores // workers)))
        _check_session(session, preprocessor["size"], len(labels), folder / MODEL_FILE)
        return cls(session, preprocessor, labels, taxonomy, workers)

    def predict(self, images: Iterable[ImageSource], top_k: int = 5) -> list[Prediction]:
        """Classify pictures given as paths or as the bytes of files; a bad one costs its own row only."""
        return list(self.stream(images, top_k))

    def stream(
        self, images: Iterable[ImageSource | ImageError], top_k: int = 5, batch_size: int = BATCH_SIZE
    ) -> Iterator[Prediction]:
        """Predictions in the order of `images`, as they are made.

        `images` is read a few batches ahead only, so it may be endless and memory stays constant. An ImageError among
        them stands for a picture that could not be fetched and comes out as its row.
        """
        if top_k < 1 or batch_size < 1:
            raise ValueError(f"top_k and batch_size must be at least 1, not {top_k} and {batch_size}")
        images = iter(images)
        pool = ThreadPoolExecutor(self.workers)
        pending = deque()
        try:
            while batch := list(islice(images, batch_size)):
                pending.append(pool.submit(self._classify, batch, top_k))
                if len(pending) > 2 * self.workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def read(self, image: ImageSource, out: np.ndarray | None = None) -> np.ndarray:
        """What the model sees of a picture: (3, height, width) float32, into `out` if given. Raises ImageError."""
        return preprocess(load_image(image, target_size=max(self.image_size)), self.preprocessor, out)

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """(batch, 3, height, width) float32 -> (batch, labels) float32."""
        return self.session.run(["logits"], {"pixel_values": pixels})[0]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Softmax, (batch, labels) float32 -> the same in float64, so that sums over a category stay exact."""
        logits = logits.astype(np.float64)
        with np.errstate(invalid="ignore"):  # a row that is not finite stays so, and is reported with its picture
            exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def _classify(self, batch: list[ImageSource | ImageError], top_k: int) -> list[Prediction]:
        """One batch on one worker, from files to predictions."""
        buffer = self._buffer(len(batch))
        errors: list[str | None] = []
        for image in batch:
            try:
                if isinstance(image, ImageError):
                    raise image
                self.read(image, out=buffer[errors.count(None)])
                errors.append(None)
            except ImageError as error:
                errors.append(str(error))
        readable = errors.count(None)
        rows = iter(self.probabilities(self.logits(buffer[:readable])) if readable else ())
        return [Prediction("error", error=error) if error else self._prediction(next(rows), top_k) for error in errors]

    def _buffer(self, batch_size: int) -> np.ndarray:
        """This thread's (batch_size, 3, height, width) float32, kept because fresh memory is slow to touch."""
        pixels = getattr(self._buffers, "pixels", None)
        if pixels is None or len(pixels) < batch_size:
            pixels = self._buffers.pixels = np.empty((batch_size, 3, *self.image_size), dtype=np.float32)
        return pixels[:batch_size]

    def _prediction(self, probabilities: np.ndarray, top_k: int) -> Prediction:
        """probabilities: (labels,) float64."""
        if not np.isfinite(probabilities).all():
            return Prediction("error", error="the model gave no finite numbers for this picture")
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        top = [ScoredLabel(self.labels[i], float(probabilities[i])) for i in best]
        return Prediction(
            label=top[0].label,
            confidence=top[0].confidence,
            category_path=list(self.taxonomy.paths[best[0]]),
            path_confidences=self.taxonomy.path_confidences(probabilities, best[0]),
            top_k=top,
        )


def _open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters arrives as an exception
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no public base class
        raise ModelError(f"{path} is not a usable ONNX model: {' '.join(str(error).split())[:300]}") from None


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"no model folder {str(folder)!r}")
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in PICKLE_SUFFIXES)
    if pickles:
        raise ModelError(
            f"{folder} holds {', '.join(pickles)}: such files are pickles, which can run code when opened. "
            "Delete them or use a folder with ONNX and safetensors only"
        )
    missing = [name for name in (MODEL_FILE, CONFIG_FILE, PREPROCESSOR_FILE) if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} is not a model folder: {', '.join(missing)} missing (train.py writes all of them)")


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def _check_preprocessor(preprocessor: dict, path: Path) -> None:
    size = preprocessor.get("size")
    sides = [size.get("height"), size.get("width")] if isinstance(size, dict) else []
    if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ModelError(f'{path}: size is {size!r}; it must be like {{"height": 224, "width": 224}}')
    for key in ("image_mean", "image_std"):
        values = preprocessor.get(key)
        if not (isinstance(values, list) and len(values) == 3 and all(isinstance(v, (int, float)) for v in values)):
            raise ModelError(f"{path}: {key} is {values!r}; it must be three numbers")
    if 0 in preprocessor["image_std"]:
        raise ModelError(f"{path}: image_std is {preprocessor['image_std']}; it must not contain 0")
    if not isinstance(preprocessor.get("rescale_factor", 1.0), (int, float)):
        raise ModelError(f"{path}: rescale_factor is {preprocessor['rescale_factor']!r}; it must be a number")
    if preprocessor.get("resample", 2) not in range(6):
        raise ModelError(f"{path}: resample is {preprocessor['resample']!r}; it must be 2 (bilinear), 3 (bicubic) …")


def _labels(config: dict, path: Path) -> list[str]:
    id2label = config.get("id2label")
    if not isinstance(id2label, dict) or not id2label:
        raise ModelError(f"{path} has no id2label, the names of the model's outputs")
    try:
        return [str(id2label[str(i)]) for i in range(len(id2label))]
    except KeyError as error:
        raise ModelError(f"{path}: id2label must count from 0 to {len(id2label) - 1}; {error} is missing") from None


def _taxonomy(config: dict, labels: list[str], path: Path) -> Taxonomy:
    """The label's own name is its whole path where the model has no taxonomy."""
    if "taxonomy" not in config:
        return Taxonomy([[label] for label in labels])
    try:
        levels, paths = config["taxonomy"]["levels"], config["taxonomy"]["paths"]
        wrong = [label for label in labels if label not in paths or len(paths[label]) != len(levels)]
    except (KeyError, TypeError):
        raise ModelError(f'{path}: taxonomy must be {{"levels": [names], "paths": {{label: [categories]}}}}') from None
    if wrong or not levels:
        raise ModelError(f"{path}: taxonomy has no path of {len(levels)} levels for {', '.join(wrong[:5])}")
    return Taxonomy([paths[label] for label in labels])


def _check_session(session: onnxruntime.InferenceSession, size: dict, num_labels: int, path: Path) -> None:
    inputs = {node.name: node.shape for node in session.get_inputs()}
    outputs = {node.name: node.shape for node in session.get_outputs()}
    if list(inputs) != ["pixel_values"] or "logits" not in outputs:
        names = f"{', '.join(inputs)} -> {', '.join(outputs)}"
        raise ModelError(f"{path} computes {names}; it must compute pixel_values -> logits")
    expected = [("batch", None), ("channels", 3), ("height", size["height"]), ("width", size["width"])]
    for (name, wanted), actual in zip(expected, inputs["pixel_values"], strict=False):
        if isinstance(actual, int) and actual != wanted:
            cure = "export it with a dynamic batch" if wanted is None else f"{PREPROCESSOR_FILE} gives {wanted}"
            raise ModelError(f"{path} takes a fixed {name} of {actual}: {cure}")
    if len(outputs["logits"]) != 2 or outputs["logits"][1] != num_labels:
        shape = outputs["logits"]
        raise ModelError(f"{path} gives logits of shape {shape}, but {CONFIG_FILE} names {num_labels} labels")
