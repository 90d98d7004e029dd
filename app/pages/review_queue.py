"""A prepared dataset that the operator reviews in the tab Sort, and the file for `data_prep --corrections`. No gradio.

It is inspected in chunks for the images that need a person: those where the model is not certain enough, and those
where it is certain of another label than the dataset's.
"""

import csv
import io
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import replacing
from ..images import ImageSource, load_image
from ..limits import RequestError
from ..prediction import Prediction
from ..service import Service

HEADER = ("id", "action", "column", "label", "reason")  # as data_prep/pipeline/corrections.py reads them
SPLITS = ("train", "validation")  # corrections leave the test split alone
CERTAIN = 0.8  # from here on another label than the dataset's is suspicious
ACTIONS = ("relabel", "quarantine", "")  # "" takes a decision back
IMAGE_SIDE = 512
MAX_ITEMS = 2000  # about 60 MB of images
CHUNK = 64  # rows of a dataset that are inspected at a time
MAX_CHUNKS = 30  # inspected in search of the next image, before the page says that there is none


@dataclass(frozen=True, slots=True)
class Item:
    """One image to review. image: a JPEG of at most IMAGE_SIDE; label, column: what the dataset says, or ""."""

    id: str
    image: bytes
    prediction: Prediction
    reason: str
    label: str = ""
    column: str = ""


class Corrections:
    """An append-only file with one line per decision; where an id occurs twice, the later line counts."""

    def __init__(self, path: Path) -> None:
        """Raises UserError for a file with other columns, before anybody has worked for nothing."""
        self.path = path
        self._lock = threading.Lock()
        self.ids: set[str] = set()
        if path.is_file() and path.stat().st_size:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) != HEADER:
                    raise UserError(f"{path} has other columns than {','.join(HEADER)}; give another file")
                self.ids = {row["id"] for row in reader}
        elif not path.resolve().parent.is_dir():
            raise UserError(f"there is no folder {path.resolve().parent} for the corrections; create it first")

    def append(self, item: Item, action: str, label: str, reason: str) -> None:
        """Write one line and make sure that it is on disk. Raises RequestError."""
        with self._lock, saving():
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                if not file.tell():
                    writer.writerow(HEADER)
                writer.writerow((item.id, action, item.column, label, reason))
                file.flush()
                os.fsync(file.fileno())
            self.ids.add(item.id)

    def take_back(self, item: Item) -> None:
        """Remove the lines of an image. Raises RequestError."""
        with self._lock, saving():
            if item.id not in self.ids:
                return
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                lines = [line for line in csv.reader(file) if line[:1] != [item.id]]
            with replacing(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(lines)
            self.ids.discard(item.id)


@contextmanager
def saving() -> Iterator[None]:
    """Raises RequestError where the disk does not take it."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"The correction could not be saved: {error.strerror}.") from None


class ReviewQueue:
    """The images of a dataset that are to be reviewed, shared by everybody who reviews."""

    def __init__(self, service: Service, corrections: Path, dataset: Path) -> None:
        """Raises UserError for a corrections file or a dataset that cannot be used."""
        self.service = service
        self.name = dataset.name
        self.corrections = Corrections(corrections)
        self.items: list[Item] = []
        self.num_inspected = 0
        self._known: set[str] = set(self.corrections.ids)
        self._lock = threading.Lock()
        self._rows: Iterator[DatasetRow] | None = dataset_rows(dataset, service.classifier().labels)

    def items_from(self, start: int, count: int) -> list[Item]:
        """The images from this number on; inspects more of the dataset for them. None are left: []."""
        with self._lock:
            chunks = 0
            while len(self.items) < start + count and self._rows is not None and chunks < MAX_CHUNKS:
                self._inspect_chunk()
                chunks += 1
            return self.items[start : start + count]

    def correct(self, decisions: Sequence[Any]) -> None:
        """Write down what was decided: each `id`, `action` of ACTIONS and `label`. Raises RequestError."""
        items, labels = {item.id: item for item in self.items}, set(self.service.classifier().labels)
        for decision in decisions:
            given = decision if isinstance(decision, dict) else {}
            name, action, label = (str(given.get(key, "")) for key in ("id", "action", "label"))
            if name not in items or action not in ACTIONS or (action == "relabel" and label not in labels):
                raise RequestError("This is not a decision about an image of the dataset.")
            self._write(items[name], action, label)

    def _write(self, item: Item, action: str, label: str) -> None:
        if action == "relabel":
            reason = "accepted by a person" if label == item.prediction.label else "picked by a person"
            self.corrections.append(item, action, label, reason)
        elif action == "quarantine":
            self.corrections.append(item, action, "", "not usable, says a person")
        else:
            self.corrections.take_back(item)

    def _inspect_chunk(self) -> None:
        rows = list(islice(self._rows or (), CHUNK))
        if not rows:
            self._rows = None
            return
        self.num_inspected += len(rows)
        predictions = self.service.classify_batch([row.image for row in rows])
        for row, prediction in zip(rows, predictions, strict=True):
            reason = review_reason(prediction, row.label)
            if reason and row.id not in self._known and len(self.items) < MAX_ITEMS:
                self._known.add(row.id)
                self.items.append(Item(row.id, small_jpeg(row.image), prediction, reason, row.label, row.column))


def review_reason(prediction: Prediction, label: str = "") -> str:
    """Why a person should look at an image; "" if nobody needs to. label: the dataset's, if it has one."""
    best = prediction.top_k[0] if prediction.top_k else None
    if prediction.status == "error" or best is None:
        return ""
    if label and best.label != label and best.confidence >= CERTAIN:
        return f"The data says {label}, the model is certain of {best.label}."
    if prediction.status == "unknown":
        return "It does not look like anything that the model has learned."
    if prediction.status == "review":
        return "The model is not certain."
    return ""


def small_jpeg(source: ImageSource) -> bytes:
    image = load_image(source, target_size=IMAGE_SIDE)
    image.thumbnail((IMAGE_SIDE, IMAGE_SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A row of a prepared dataset. image: the bytes of its file."""

    id: str
    image: bytes
    label: str
    column: str


def dataset_rows(folder: Path, labels: list[str]) -> Iterator[DatasetRow]:
    """The rows of a prepared dataset except its test split. Raises UserError where it does not fit the model."""
    import datasets  # only reviewing a dataset needs it

    if not (folder / "dataset_dict.json").is_file():
        raise UserError(f"{folder} is not a prepared dataset; a command of data_prep makes one")
    splits = datasets.load_from_disk(str(folder))
    first = next(iter(splits.values()))
    known = set(labels)
    columns = {
        name: len(known.intersection(feature.names)) / len(feature.names)
        for name, feature in first.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    column = max(columns, key=lambda name: columns[name], default="")
    if not columns.get(column):
        raise UserError(f"{folder} has no label column with labels of the model")
    return _rows(splits, column)


def _rows(splits: Any, column: str) -> Iterator[DatasetRow]:
    from datasets import Image

    for name in SPLITS:
        if name in splits:
            split = splits[name].select_columns(["image", "id", column]).cast_column("image", Image(decode=False))
            names = split.features[column].names
            for row in split:
                yield DatasetRow(row["id"], row["image"]["bytes"], names[row[column]], column)
