"""The tab Batch: many pictures or a zip at once, a table to sort and filter, and the same as CSV."""

import base64
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gradio as gr

if __package__:
    from . import cards, limits
    from .batches import Batch
    from .classifier import Prediction
    from .images import ImageError
    from .limits import UserError
    from .safe_gradio import Files, polite
    from .service import Service
else:  # pushed alone as a Space, the files of this folder are top-level modules
    import cards
    import limits
    from batches import Batch
    from classifier import Prediction
    from images import ImageError
    from limits import UserError
    from safe_gradio import Files, polite
    from service import Service

HEADER = ("file", "verdict", "category", "confidence", "best_label", "best_confidence", "error")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
LIMITS = (
    f"Up to {limits.MAX_BATCH_FILES:,} pictures or {limits.megabytes(limits.MAX_BATCH_BYTES)} at a time, "
    "as files or in a zip."
)
EMPTY = cards.message("empty", "No pictures yet", LIMITS)

Seen = Callable[[str, Path | bytes | ImageError, Prediction], None]


def add_batch(service: Service, seen: Seen | None = None) -> None:
    """Build the tab's content where it is called. seen: is told of each picture, for the review."""
    files = Files(
        label="Pictures or a zip",
        file_count="multiple",
        file_types=["image", ".zip"],
        height=200,
        elem_id="batch-files",
    )
    model = gr.Dropdown(service.names, value=service.default, label="Model", visible=len(service.names) > 1)
    start = gr.Button("Classify all", variant="primary", elem_id="batch-start")
    result = gr.HTML(EMPTY, elem_id="batch-result")

    @polite
    def classify(files: list[tuple[str, Path]], model: str, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        try:
            batch = Batch(files)
            rows = classified(service, batch, model, progress, seen)
        except UserError as error:
            return cards.message("error", "This did not work", str(error))
        calibrated = getattr(service.classifier(model), "calibration", None) is not None
        return summary(rows, calibrated) + cards.batch_table(rows, calibrated)

    start.click(classify, [files, model], result, api_visibility="private")


def classified(
    service: Service, batch: Batch, model: str, progress: gr.Progress, seen: Seen | None = None
) -> list[cards.Row]:
    """A row a picture. Raises UserError."""
    waiting: list[tuple[str, str, Path | bytes | ImageError]] = []

    def sources() -> Iterator[Path | bytes | ImageError]:
        for name, source in batch:
            waiting.append((name, cards.thumbnail(source), source if seen else b""))
            yield source

    rows = []
    for prediction in service.classify_each(sources(), model):
        name, picture, source = waiting[len(rows)]
        waiting[len(rows)] = ("", "", b"")  # the pictures of a zip would stay in memory
        rows.append(cards.Row(name, picture, prediction))
        if seen:
            seen(name, source, prediction)
        progress((len(rows), batch.count), desc="Classifying", unit="pictures")
    return rows


def summary(rows: Sequence[cards.Row], calibrated: bool) -> str:
    """How many pictures there are, and the table as CSV to take away, which needs no file on the server."""
    data = base64.b64encode(csv_text(rows, calibrated).encode("utf-8-sig")).decode()
    count = "1 picture" if len(rows) == 1 else f"{len(rows):,} pictures"
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
