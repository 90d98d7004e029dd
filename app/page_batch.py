"""The tab Batch: many images or a zip at once, a table to sort and filter, and the same as CSV."""

import base64
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gradio as gr

from . import cards, limits
from .batches import Batch
from .classifier import Prediction
from .images import ImageError
from .limits import RequestError
from .safe_gradio import Files, show_user_errors
from .service import Service

HEADER = ("file", "verdict", "category", "confidence", "best_label", "best_confidence", "error")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
LIMITS = (
    f"Up to {limits.MAX_BATCH_FILES:,} images or {limits.megabytes(limits.MAX_BATCH_BYTES)} at a time, "
    "as files or in a zip."
)
EMPTY = cards.message("empty", "No images yet", LIMITS)

Seen = Callable[[str, Path | bytes | ImageError, Prediction], None]


def add_batch(service: Service, seen: Seen | None = None) -> None:
    """Build the tab's content where it is called. seen: is told of each image, for the review."""
    files = Files(
        label="Images or a zip",
        file_count="multiple",
        file_types=["image", ".zip"],
        height=200,
        elem_id="batch-files",
    )
    model = gr.Dropdown(service.names, value=service.default, label="Model", visible=len(service.names) > 1)
    start = gr.Button("Classify all", variant="primary", elem_id="batch-start")
    result = gr.HTML(EMPTY, elem_id="batch-result")

    @show_user_errors
    def classify(files: list[tuple[str, Path]], model: str, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        try:
            batch = Batch(files)
            rows = classified(service, batch, model, progress, seen)
        except RequestError as error:
            return cards.message("error", "This did not work", str(error))
        calibrated = getattr(service.classifier(model), "calibration", None) is not None
        return summary(rows, calibrated) + cards.batch_table(rows, calibrated)

    start.click(classify, [files, model], result, api_visibility="private")


def classified(
    service: Service, batch: Batch, model: str, progress: gr.Progress, seen: Seen | None = None
) -> list[cards.Row]:
    """A row an image. Raises RequestError."""
    waiting: list[tuple[str, str, Path | bytes | ImageError]] = []

    def sources() -> Iterator[Path | bytes | ImageError]:
        for name, source in batch:
            waiting.append((name, cards.thumbnail(source), source if seen else b""))
            yield source

    rows = []
    for prediction in service.classify_each(sources(), model):
        name, image, source = waiting[len(rows)]
        waiting[len(rows)] = ("", "", b"")  # the images of a zip would stay in memory
        rows.append(cards.Row(name, image, prediction))
        if seen:
            seen(name, source, prediction)
        progress((len(rows), batch.count), desc="Classifying", unit="images")
    return rows


def summary(rows: Sequence[cards.Row], calibrated: bool) -> str:
    """How many images there are, and the table as CSV to take away, which needs no file on the server."""
    data = base64.b64encode(csv_text(rows, calibrated).encode("utf-8-sig")).decode()
    count = "1 image" if len(rows) == 1 else f"{len(rows):,} images"
    return (
        f'<div class="summary"><strong>{count} classified</strong>'
        f'<a class="download" download="snapshelf.csv" href="data:text/csv;base64,{data}">Download CSV</a></div>'
    )


def csv_text(rows: Sequence[cards.Row], calibrated: bool) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    for row in rows:
        said = row.prediction
        best = said.top_k[0] if said.top_k else None
        cells = [
            row.name,
            cards.status_name(said, calibrated),
            " > ".join(said.category_path),
            _number(said.confidence),
        ]
        cells += [best.label if best else "", _number(best.confidence if best else None), said.error or ""]
        writer.writerow([_harmless(cell) for cell in cells])
    return stream.getvalue()


def _number(confidence: float | None) -> str:
    return "" if confidence is None else f"{confidence:.4f}"


def _harmless(cell: str) -> str:
    """A spreadsheet would run a file name that starts like a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
