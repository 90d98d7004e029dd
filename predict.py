"""Classify product images from the command line.

    python predict.py --image_path shirt.jpg
    python predict.py --image_path photos/ shop.zip @more.txt --output results.jsonl
    python predict.py --screenshots --image_path pages/ --output products.csv
    python predict.py --image_path catalogue.xlsx --image_root photos/ --output answers.xlsx
    python predict.py --image_path catalogue.csv --title_column name --output answers.csv
    python predict.py --image_path catalogue.parquet --output results.parquet --resume
    python predict.py --image_path photos/ --embed --output embeddings.parquet
    python predict.py --image_path test.csv --submission sample_submission.csv --output submission.csv

The first prints the category path with the confidence at each level, after 0.3 s; folders run at 322 images/s (both
measured on 2 cores of an Intel Xeon with the shipped int8 model). Every option is explained by --help.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy then loads 0.07 s sooner; nothing here needs its threads

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import EXIT_FAILED, EXIT_INTERRUPTED, one_line_errors
from inference.journal import Journal, Row
from inference.local_engine import classify
from inference.options import PredictOptions, build_parser, parse_options
from inference.readers.base import NamedImage
from inference.report import print_summary, report_error, with_progress
from inference.writers import WRITERS, save, standard_output

if TYPE_CHECKING:
    from inference.submission import Sample

EXIT_BROKEN_PIPE = 141


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0 all images were classified, 1 some failed, 2 wrong usage or an unusable model."""
    parser = build_parser(__doc__.splitlines()[0])
    with one_line_errors(parser):
        try:
            counts = run(parse_options(parser, argv))
        except KeyboardInterrupt:  # an interrupted run has already said how to go on
            return EXIT_INTERRUPTED
        except BrokenPipeError:  # the reader of the output, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains while it exits
            return EXIT_BROKEN_PIPE
    return EXIT_FAILED if counts["error"] else 0


def run(options: PredictOptions) -> Counter[str]:
    """Classify and write; returns the number of images by status."""
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # remarks on metadata that is not used
    if options.screenshots:
        from inference.screenshots import run as find_products

        counts = find_products(options)
    elif options.embed:
        from inference.embeddings import run as write_embeddings

        counts = write_embeddings(options)
    else:
        counts = to_file(options, options.output) if options.output else to_standard_output(options)
    print_summary(options.readers, counts)
    return counts


def to_standard_output(options: PredictOptions) -> Counter[str]:
    counts: Counter[str] = Counter()
    rows = counted(classified(options, chain.from_iterable(options.readers)), counts)
    with standard_output() as output:
        WRITERS[options.format](rows, output, options.top_k, options.extra_columns)
    return counts


def to_file(options: PredictOptions, path: Path) -> Counter[str]:
    """Row by row into the journal, which survives an interruption, and from there into the file."""
    sample = read_sample(options)
    counts: list[int] = []
    images: Iterable[NamedImage] = chain.from_iterable(options.readers)
    if options.keeps_columns:
        from inference.table_output import counted as counted_by_reader
        from inference.table_output import save_joined

        images = counted_by_reader(options.readers, counts)
    with Journal(path.with_name(f"{path.name}.partial"), options.row_settings(), options.resume) as journal:
        try:
            for name, prediction in classified(options, journal.skip_done(images), journal.done):
                journal.append(name, prediction)
                report_error(name, prediction, journal.counts)
        except KeyboardInterrupt:
            print(f"stopped after {journal.done:,} images; the same command with --resume goes on", file=sys.stderr)
            raise
        if options.keeps_columns:
            save_joined(options, counts, journal.rows(), path)
        elif sample is None:
            save(journal.rows(), path, options.format, options.top_k, options.extra_columns)
        else:
            journal.counts["error"] = len(sample.save(journal.rows(), path))
        journal.remove()
        return journal.counts


def read_sample(options: PredictOptions) -> "Sample | None":
    """The sample of --submission, checked against the names of the images."""
    if options.submission is None:
        return None
    from inference.submission import Sample

    sample = Sample(options.submission)
    if all(reader.is_repeatable for reader in options.readers):
        sample.check_names(name for name, _ in chain.from_iterable(options.readers))
    return sample


def classified(options: PredictOptions, images: Iterable[NamedImage], done: int = 0) -> Iterable[Row]:
    """A row per image, in their order. done: how many images came before them."""
    if options.engine == "ray":
        from inference.ray_engine import classify_on_cluster

        rows = classify_on_cluster(options, images, done)
    else:
        rows = classify(options, images, done)
    return with_progress(rows, options.readers, options.output is not None, done)


def counted(rows: Iterable[Row], counts: Counter[str]) -> Iterator[Row]:
    for row in rows:
        counts[row[1].status] += 1
        yield row


if __name__ == "__main__":
    sys.exit(main())
