"""Screenshots of shops as the input of predict.py: a row for each product on a page, with its box.

    python predict.py --screenshots --image_path pages/ shop.zip --output products.csv

A page without products is one row with the status `no_products`. Pages are read a few ahead and never kept, so memory
stays constant. In the journal the name of a row is the JSON of Found without the image: with --resume the pages whose
products are all there are not opened again.
"""

import csv
import json
import os
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from app.ensemble import load_models
from app.files import replacing
from app.images import ImageError
from app.prediction import CSV_COLUMNS, Prediction
from app.screenshots import Box, Screenshot, read_page
from inference.journal import Journal, Row
from inference.options import PredictOptions
from inference.readers.base import InputError, NamedImage
from inference.report import report_error, with_progress
from inference.writers import NAME_COLUMN, ROWS_PER_GROUP, describe, open_text, printable, safe_cell, standard_output
from inference.writers import answer_schema as image_schema

NO_PRODUCTS = "no_products"
NO_PRODUCTS_TEXT = "no products found on this page"
NAME_WIDTH = 30


@dataclass(frozen=True, slots=True)
class Found:
    """One product of a page, or the page itself where it has none. number: from 1 to total; both 0 without products."""

    page: str
    number: int = 0
    total: int = 0
    box: Box | None = None
    out_of_stock: bool | None = None

    def to_name(self) -> str:
        return json.dumps([self.page, self.number, self.total, self.box, self.out_of_stock])

    @classmethod
    def from_name(cls, name: str) -> "Found":
        page, number, total, box, out_of_stock = json.loads(name)
        return cls(page, number, total, tuple(box) if box else None, out_of_stock)

    def status(self, prediction: Prediction) -> str:
        return NO_PRODUCTS if not self.total and prediction.status != "error" else prediction.status


Product = tuple[Found, Prediction]


def run(options: PredictOptions) -> Counter[str]:
    """Find, classify and write; returns the number of rows by status."""
    if options.output:
        return to_file(options, options.output)
    counts: Counter[str] = Counter()
    with standard_output() as output:
        write_text(counted(classified(options, chain.from_iterable(options.readers)), counts), output, options)
    return counts


def to_file(options: PredictOptions, path: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    with Journal(path.with_name(f"{path.name}.partial"), options.row_settings(), options.resume) as journal:
        done = (Found.from_name(name) for name, _ in islice(journal.rows(), journal.done)) if journal.done else ()
        written: list[int] = []  # how many rows the last page of an interrupted run has
        rows = classified(options, skip_pages(options, done, written, journal.path))
        try:
            for found, prediction in rows:
                if written and found.number <= written[0]:
                    continue
                written.clear()
                journal.append(found.to_name(), prediction)
                report_error(found.page, prediction, journal.counts)
        except KeyboardInterrupt:
            print(f"stopped after {journal.done:,} rows; the same command with --resume goes on", file=sys.stderr)
            raise
        with replacing(path) as partial:
            write(counted(map(as_product, journal.rows()), counts), partial, options)
        journal.remove()
    return counts


def as_product(row: Row) -> Product:
    return Found.from_name(row[0]), row[1]


def skip_pages(
    options: PredictOptions, done: Iterable[Found], written: list[int], journal: Path
) -> Iterator[NamedImage]:
    """The pages that are not complete. Raises InputError where the input is no longer the same."""
    pages = chain.from_iterable(options.readers)
    page: NamedImage = ("", b"")
    last = Found("")
    for found in done:
        if last.number == last.total:  # the row before was the last of its page
            page = next(pages, ("the end of the input", b""))
        if page[0] != found.page:
            raise InputError(
                f"--resume: the next page was {found.page} and is now {page[0]}; restore the input, or delete "
                f"{journal} and start again"
            )
        last = found
    if last.number != last.total:
        written.append(last.number)
        yield page
    yield from pages


def classified(options: PredictOptions, pages: Iterable[NamedImage]) -> Iterator[Product]:
    """A row per product, page by page. Raises ModelError."""
    model = load_models(options.models, options.precision, options.device)
    for name, page in with_progress(read_ahead(pages), options.readers, options.output is not None, 0):
        if isinstance(page, ImageError):
            yield Found(name), Prediction("error", error=str(page), error_kind=page.kind)
        elif not page.products:
            yield Found(name), Prediction("unknown")
        else:
            images = [product.image for product in page.products]
            answers = model.stream(images, options.top_k, options.batch_size, options.tta)
            for number, (product, answer) in enumerate(zip(page.products, answers, strict=True), start=1):
                yield Found(name, number, len(images), product.box, product.out_of_stock), answer


def read_ahead(pages: Iterable[NamedImage]) -> Iterator[tuple[str, Screenshot | ImageError]]:
    """The pages in their order, as many at the same time as there are cores."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ahead: deque[tuple[str, Future[Screenshot | ImageError]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for name, source in pages:
            ahead.append((name, pool.submit(read, source)))
            if len(ahead) > workers:
                yield ahead[0][0], ahead.popleft()[1].result()
        while ahead:
            yield ahead[0][0], ahead.popleft()[1].result()
    finally:
        pool.shutdown(cancel_futures=True)


def read(source: Any) -> Screenshot | ImageError:
    if isinstance(source, ImageError):
        return source
    try:
        return read_page(source)
    except ImageError as error:
        return error


def counted(rows: Iterable[Product], counts: Counter[str]) -> Iterator[Product]:
    for found, prediction in rows:
        counts[found.status(prediction)] += 1
        yield found, prediction


def write(rows: Iterable[Product], path: Path, options: PredictOptions) -> None:
    if options.format == "parquet":
        write_parquet(rows, path, options)
        return
    with open_text(path) as output:
        write_text(rows, output, options)


def write_text(rows: Iterable[Product], output: TextIO, options: PredictOptions) -> None:
    if options.format == "csv":
        write_csv(rows, output, options.extra_columns)
    elif options.format == "jsonl":
        for row in rows:
            print(json.dumps(as_object(row, options.top_k), ensure_ascii=False), file=output, flush=True)
    else:
        write_table(rows, output)


def as_object(row: Product, top_k: int) -> dict[str, Any]:
    found, prediction = row
    answer = prediction.to_dict(top_k=top_k) | {"status": found.status(prediction)}
    box = list(found.box) if found.box else None
    return {NAME_COLUMN: found.page, "box": box, "out_of_stock": found.out_of_stock} | answer


def write_csv(rows: Iterable[Product], output: TextIO, extra: Sequence[str]) -> None:
    """The box is one cell, x,y,width,height."""
    writer = csv.DictWriter(output, (NAME_COLUMN, "box", "out_of_stock", *CSV_COLUMNS, *extra), lineterminator="\n")
    writer.writeheader()
    for found, prediction in rows:
        cells: dict[str, Any] = {
            NAME_COLUMN: found.page,
            "box": ",".join(map(str, found.box or ())),
            "out_of_stock": found.out_of_stock,
        }
        cells.update(prediction.to_csv_row())
        cells["status"] = found.status(prediction)
        writer.writerow({column: safe_cell(value) for column, value in cells.items()})
        output.flush()


def write_table(rows: Iterable[Product], output: TextIO) -> None:
    print(f"{'page':<{NAME_WIDTH}}  {'x,y,width,height':<20}  category and confidence", file=output)
    for found, prediction in rows:
        name = printable(found.page)
        name = name if len(name) <= NAME_WIDTH else "…" + name[1 - NAME_WIDTH :]
        text = NO_PRODUCTS_TEXT if found.status(prediction) == NO_PRODUCTS else describe(prediction)
        stock = " (out of stock)" if found.out_of_stock else ""
        print(
            f"{name:<{NAME_WIDTH}}  {','.join(map(str, found.box or ())):<20}  {text}{stock}", file=output, flush=True
        )


def write_parquet(rows: Iterable[Product], path: Path, options: PredictOptions) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    box = pa.field("box", pa.list_(pa.int64()))
    schema = image_schema(options.extra_columns).insert(1, box).insert(2, pa.field("out_of_stock", pa.bool_()))
    objects = (as_object(row, options.top_k) | row[1].attribute_cells() for row in rows)
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(objects, ROWS_PER_GROUP)):
            for row in group:
                row[NAME_COLUMN] = row[NAME_COLUMN].encode("utf-8", "backslashreplace").decode("utf-8")
            writer.write_table(pa.Table.from_pylist(group, schema))
