"""The tab Sort: many images at once, each to be accepted, changed or set aside by a person, then downloaded.

The list itself lives in the visitor's browser (assets/workbench*.js): images, answers and decisions stay there, survive
a reload there, and nobody else sees them. The server answers one private function, which classifies a few uploads at a
time and forgets them. With a prepared dataset to review it also hands out that dataset's rows and writes down what the
operator decides (review_queue.py).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from .. import limits
from ..batches import MAX_ENTRIES, check_batch
from ..images import ImageError
from ..limits import BatchTime, RequestError
from ..model_files import read_categories
from ..prediction import Prediction
from ..service import DIGITS, Service, check_reads_titles
from ..titled import TitledImage
from ..zip_names import decode_together
from .display_names import attribute_name, model_title
from .rendering import data_url, jpeg_url, render
from .review_queue import Item, ReviewQueue
from .safe_gradio import Files, show_user_errors
from .safe_routes import store

CHUNK_FILES = 16  # uploads that are classified together
CHUNK_BYTES = 16 * 2**20
CANDIDATES = limits.MAX_TOP_K  # also what images are compared by, so more than a person reads
THUMBNAIL, THUMBNAIL_QUALITY = 640, 80  # of what the browser cannot show itself
TITLES, THUMBNAILS = "titles", "thumbnails"  # what may be sent beside the files
NOT_NAMES = f"names must be a list of at most {MAX_ENTRIES:,} texts, each a letter per byte."
NOT_A_LIST = "titles and thumbnails must each be a list with one item per file."
Row = dict[str, Any]


def add_workbench(service: Service, queue: ReviewQueue | None = None) -> None:
    """Build the tab's content where it is called. queue: the prepared dataset that the operator reviews."""
    gr.HTML(render("workbench", settings=json.dumps(settings(service, queue))), elem_id="workbench", container=False)
    files = Files(visible=False, label="files", file_count="multiple")
    model = gr.Dropdown(service.names, value=service.default, visible=False, label="model")
    details, answer, button = gr.JSON(visible=False), gr.JSON(visible=False), gr.Button(visible=False)

    @show_user_errors
    def sort(files: list[tuple[str, Path]], model: str, details: Any) -> Row:
        """Rows for some uploads, in their order; they are deleted. details: see `classified`."""
        try:
            return classified(service, files, model, details if isinstance(details, dict) else {})
        finally:
            for _, path in files:
                store.discard(path)

    @show_user_errors
    def names(raw: Any) -> Row:
        """What names in a zip mean that do not say their encoding; the browser unpacks zips but cannot guess."""
        return {"names": guessed_names(raw)}

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    button.click(sort, [files, model, details], answer, api_name="workbench_sort", **private)
    button.click(names, details, answer, api_name="workbench_names", **private)
    if queue:
        add_review(queue, details, answer, button, private)


def add_review(
    queue: ReviewQueue, details: gr.JSON, answer: gr.JSON, button: gr.Button, private: dict[str, Any]
) -> None:
    """What only the operator's page has: the dataset's rows, and the file of corrections."""

    @show_user_errors
    def review(start: Any) -> Row:
        items = queue.items_from(start if type(start) is int and start >= 0 else 0, CHUNK_FILES)
        return {"rows": [review_row(item) for item in items]}

    @show_user_errors
    def correct(decisions: Any) -> Row:
        queue.correct(decisions if isinstance(decisions, list) else [])
        return {"decided": len(queue.corrections.ids)}

    button.click(review, details, answer, api_name="workbench_review", **private)
    button.click(correct, details, answer, api_name="workbench_correct", **private)


def settings(service: Service, queue: ReviewQueue | None) -> dict[str, Any]:
    """What the scripts need to know about this server."""
    return {
        "models": [model_settings(service, name) for name in service.names],
        "model": service.default,
        "chunk_files": min(CHUNK_FILES, limits.MAX_BATCH_FILES),
        "chunk_bytes": min(CHUNK_BYTES, limits.MAX_BATCH_BYTES),
        "file_bytes": limits.MAX_FILE_BYTES,
        "dataset": queue.name if queue else "",
        "corrections": queue.corrections.path.name if queue else "",
    }


def model_settings(service: Service, name: str) -> dict[str, Any]:
    labels, taxonomy = read_categories(service.folders[name])
    return {
        "name": name,
        "title": model_title(name, len(labels)),
        "reads_titles": service.reads_titles(name),
        "labels": list(zip(labels, taxonomy.paths, strict=True)),
    }


def classified(
    service: Service, files: Sequence[tuple[str, Path]], model: str, details: dict[str, Any]
) -> dict[str, Any]:
    """The rows of some files, each an image.

    details: `titles`, for a model that reads them, and `thumbnails`, whether to send a small image back, each with one
    item per file. Raises RequestError.
    """
    classifier = service.classifier(model)
    if not files:
        raise RequestError("Choose some images first.")
    check_batch(len(files), sum(path.stat().st_size for _, path in files))
    titles = one_for_each(files, details.get(TITLES), str)
    thumbnails = one_for_each(files, details.get(THUMBNAILS), bool)
    if any(titles):
        check_reads_titles(classifier, titles)
    batch_time, rows = BatchTime(), []
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for _, path in files]
    sources = [
        TitledImage(path, title) if any(titles) else path for (_, path), title in zip(files, titles, strict=True)
    ]
    predictions = service.classify_stream(sources, model, CANDIDATES, batch_time)
    for (name, path), sha256, wants_thumbnail, prediction in zip(files, hashes, thumbnails, predictions, strict=True):
        is_error = prediction.status == "error"
        thumbnail = thumbnail_of(service, path) if wants_thumbnail and not is_error else ""
        late = is_error and bool(batch_time.over())
        row = {"file": name, "sha256": sha256, "thumbnail": thumbnail, "late": late}
        rows.append({**row, **prediction_row(prediction)})
    return {"rows": rows}


def guessed_names(raw: Any) -> list[str]:
    """raw: names of one zip, a letter per byte (Latin-1). Raises RequestError."""
    if not isinstance(raw, list) or len(raw) > MAX_ENTRIES or not all(isinstance(name, str) for name in raw):
        raise RequestError(NOT_NAMES)
    try:
        return decode_together([name.encode("latin-1") for name in raw])[0]
    except UnicodeEncodeError:
        raise RequestError(NOT_NAMES) from None


def one_for_each(files: Sequence[object], values: Any, kind: type) -> list[Any]:
    """Nothing for each file where nothing was sent. Raises RequestError."""
    if values is None:
        return [kind()] * len(files)
    if not isinstance(values, list) or len(values) != len(files):
        raise RequestError(NOT_A_LIST)
    if not all(value is None or isinstance(value, kind) for value in values):
        raise RequestError(NOT_A_LIST)
    return [value or kind() for value in values]


def prediction_row(prediction: Prediction) -> Row:
    """What the list shows of an answer, and in `cells` the columns of its download."""
    answer = prediction.to_dict(DIGITS)
    shown = ("status", "label", "confidence", "published_path", "top_k", "error")
    return {
        **{name: answer[name] for name in shown},
        "path": answer["category_path"],
        "attributes": {attribute_name(name): value for name, value in answer.get("attributes", {}).items()},
        "cells": prediction.to_csv_row(DIGITS),
    }


def review_row(item: Item) -> Row:
    sha256 = hashlib.sha256(item.image).hexdigest()
    row = {"file": item.id, "sha256": sha256, "thumbnail": jpeg_url(item.image), "late": False}
    review = {"id": item.id, "column": item.column, "given": item.label, "reason": item.reason}
    return {**row, **prediction_row(item.prediction), "review": review}


def thumbnail_of(service: Service, path: Path) -> str:
    """A data-URL, "" for what cannot be decoded."""
    try:
        return data_url(service.decode(path, THUMBNAIL), THUMBNAIL, THUMBNAIL_QUALITY)
    except ImageError:
        return ""
