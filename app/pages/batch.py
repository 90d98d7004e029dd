"""The tab Batch: many images or a zip at once, a table to sort and filter, and the same as CSV."""

import base64
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from .. import limits
from ..batches import Batch
from ..images import ImageError
from ..limits import BatchTime, RequestError
from ..prediction import CSV_COLUMNS, Prediction, attribute_columns
from ..service import DIGITS, Service
from . import cards
from .rendering import count, render
from .safe_gradio import Files, show_user_errors

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
LIMITS = (
    f"Up to {limits.MAX_BATCH_FILES:,} images or {limits.megabytes(limits.MAX_BATCH_BYTES)} at a time, "
    "as files or in a zip."
)
EMPTY = cards.message("empty", "No images yet", LIMITS)

Source = Path | bytes | ImageError
OnPrediction = Callable[[str, Source, Prediction], None]  # is given the name of the image too


def add_batch(service: Service, on_prediction: OnPrediction | None = None) -> None:
    """Build the tab's content where it is called. on_prediction: is called for each image, for the review."""
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
            rows = classified(service, Batch(files), model, progress, on_prediction)
        except RequestError as error:
            return cards.message("error", "This did not work", str(error))
        calibrated = service.classifier(model).calibration is not None
        return summary(rows) + cards.batch_table(rows, calibrated)

    start.click(classify, [files, model], result, api_visibility="private")


def classified(
    service: Service,
    batch: Batch,
    model: str,
    progress: Callable[..., object],
    on_prediction: OnPrediction | None = None,
) -> list[cards.Row]:
    """One row per image. Raises RequestError."""
    batch_time = BatchTime()
    waiting: list[tuple[str, Source]] = []

    def sources() -> Iterator[Source]:
        for image in batch.images(batch_time):
            waiting.append(image)
            yield image[1]

    rows: list[cards.Row] = []
    for prediction in service.classify_stream(sources(), model, batch_time=batch_time):
        name, source = waiting[len(rows)]
        waiting[len(rows)] = ("", b"")  # the images of a zip would stay in memory
        shown = prediction.status != "error" and not batch_time.over()
        rows.append(cards.Row(name, cards.thumbnail(source, service.decode) if shown else "", prediction))
        if on_prediction:
            on_prediction(name, source, prediction)
        progress((len(rows), batch.count), desc="Classifying", unit="images")
    return rows


def summary(rows: Sequence[cards.Row]) -> Markup:
    """How many images there are, and the table as CSV to download, which needs no file on the server."""
    data = base64.b64encode(csv_text(rows).encode("utf-8-sig")).decode()
    return render("batch_summary", classified=count(len(rows), "image"), csv=data)


def csv_text(rows: Sequence[cards.Row]) -> str:
    stream = io.StringIO()
    attributes = next((row.prediction.attributes for row in rows if row.prediction.attributes), {})
    columns = ("file", *CSV_COLUMNS, *attribute_columns(attributes))
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = {"file": row.name, **row.prediction.to_csv_row(DIGITS)}
        writer.writerow({column: _harmless(cell) for column, cell in cells.items()})
    return stream.getvalue()


def _harmless(cell: str | float | None) -> str | float | None:
    """A spreadsheet would run a file name that starts like a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
