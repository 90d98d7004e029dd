"""Classify product images from the command line.

    python predict.py --image_path shirt.jpg
    python predict.py --image_path photos/ shop.zip @more.txt --output results.jsonl
    python predict.py --image_path catalogue.parquet --output results.parquet --resume
    python predict.py --image_path test.csv --submission sample_submission.csv --output submission.csv

The first prints the category path with the confidence at each level; every option is explained by --help.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy then loads 0.07 s sooner; nothing here needs its threads

import argparse
import hashlib
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice, tee
from pathlib import Path

from app.classifier import Classifier, ModelError
from app.ensemble import load_models
from inference.journal import Journal, Row
from inference.options import can_be_read_twice, parse_arguments
from inference.readers.find import Input, InputError, Source, find_images, is_address, is_archive
from inference.writers import WRITERS, printable, replacing, save, save_text, standard_output

FEW_IMAGES = 8  # no progress bar for so few
MAX_REPORTED_ERRORS = 20
MAX_KINDS = 6
MAX_STEM = 60  # characters of an image's name in the name of its explanation
MODEL_FILES = ("model*.onnx", "*.json")  # what an answer depends on
STATUS_WORDS = {"ok": "ok", "review": "to check", "unknown": "not known to the model", "error": "failed"}
EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0 all images were classified, 1 some failed, 2 wrong usage or an unusable model."""
    parser, args = parse_arguments(argv, __doc__.splitlines()[0])
    try:
        counts = run(args)
    except (ModelError, InputError) as error:
        parser.exit(EXIT_USAGE, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains while it exits
        return EXIT_BROKEN_PIPE
    except OSError as error:  # a full disk
        parser.exit(EXIT_SOME_FAILED, f"{parser.prog}: error: the results could not be written: {error}\n")
    return EXIT_SOME_FAILED if counts["error"] else 0


def run(args: argparse.Namespace) -> Counter:
    """Classify and write; returns the number of images by status."""
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # remarks on metadata that is not used
    left_out = Counter()
    inputs = find_images(args.image_path, left_out, args.image_column)
    counts = to_file(args, inputs) if args.output else to_standard_output(args, inputs)
    print_summary(left_out, counts)
    return counts


def to_standard_output(args: argparse.Namespace, inputs: Iterable[Input]) -> Counter:
    counts = Counter()
    with standard_output() as output:
        WRITERS[args.format](counted(classified(args, inputs), counts), output, args.top_k)
    return counts


def to_file(args: argparse.Namespace, inputs: Iterable[Input]) -> Counter:
    """Row by row into the journal, which survives an interruption, and from there into the file."""
    sample = read_sample(args)
    with Journal(args.output.with_name(f"{args.output.name}.partial"), settings(args), args.resume) as journal:
        try:
            for name, prediction in classified(args, journal.skip_done(inputs), journal.done):
                journal.append(name, prediction)
                report(name, prediction, journal.counts)
        except KeyboardInterrupt:
            print(f"stopped after {journal.done:,} images; the same command with --resume goes on", file=sys.stderr)
            raise
        if sample is None:
            save(journal.rows(), args.output, args.format, args.top_k)
        else:
            journal.counts["error"] = write_submission(sample, journal, args.output)
        journal.remove()
        return journal.counts


def read_sample(args: argparse.Namespace):
    """The checked submission.Sample of --submission, None without."""
    if args.submission is None:
        return None
    from inference.submission import Sample

    sample = Sample(args.submission)
    if can_be_read_twice(args):
        sample.check_names(name for name, _ in find_images(args.image_path, Counter(), args.image_column))
    return sample


def write_submission(sample, journal: Journal, path: Path) -> int:
    """Returns how many ids have no answer."""
    with replacing(path) as partial:
        failed = save_text(lambda output: sample.write(journal.rows(), output), partial)
    print(f"{path.name}: {len(sample.labels):,} rows in the order of {sample.path}", file=sys.stderr)
    if failed:
        names = ", ".join(failed[:MAX_KINDS])
        print(f"{len(failed)} ids without an answer keep the sample's label: {names}", file=sys.stderr)
    return len(failed)


def settings(args: argparse.Namespace) -> dict:
    """What a row depends on besides its image."""
    names = ("top_k", "tta", "precision", "image_column")
    return {"model": [fingerprint(model) for model in args.models]} | {name: getattr(args, name) for name in names}


def fingerprint(model: Path) -> str:
    """The folder's name with a short hash of the files that make its answers."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in MODEL_FILES for path in model.glob(pattern)):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{model.resolve().name} {digest.hexdigest()[:12]}"


def classified(args: argparse.Namespace, inputs: Iterable[Input], done: int = 0) -> Iterator[Row]:
    """Each image's name with what the model says, in the order of `inputs`. done: how many came before."""
    if args.engine == "ray":
        from inference.ray_engine import classify_on_cluster

        return with_progress(classify_on_cluster(args, inputs, done), args, done)
    inputs = iter(inputs)
    peeked = list(islice(inputs, FEW_IMAGES + 1))
    rows = classify(args, chain(peeked, inputs), len(peeked) == 1, done)
    return with_progress(rows, args, done) if len(peeked) > FEW_IMAGES else rows


def classify(args: argparse.Namespace, inputs: Iterable[Input], is_single: bool, done: int) -> Iterator[Row]:
    model = load_models(args.models, args.precision, args.device, workers=1 if is_single else None)
    if any(map(is_address, args.image_path)):
        from inference.readers.object_store import fetch_ahead

        inputs = fetch_ahead(inputs)
    given, images = tee(inputs)
    predictions = model.stream((source for _, source in images), args.top_k, args.batch_size, args.tta)
    numbers = count(done + 1)
    if args.explain:
        args.explain.mkdir(parents=True, exist_ok=True)
    for (name, source), prediction in zip(given, predictions, strict=True):
        number = next(numbers)
        if args.explain and prediction.top_k:
            draw_explanation(model, source, prediction.top_k[0].label, explanation_path(args.explain, number, name))
        yield name, prediction


def draw_explanation(classifier: Classifier, source: Source, label: str, path: Path) -> None:
    from app.explain import heat_map, overlay

    padded = classifier.preprocessor.get("do_pad_to_square", False)
    overlay(source, heat_map(classifier, source, label), padded).save(path)


def explanation_path(folder: Path, number: int, name: str) -> Path:
    """Numbered, because two folders may hold images of one name."""
    stem = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in Path(name).stem)
    return folder / f"{number:04d}_{stem[:MAX_STEM]}.png"


def counted(rows: Iterable[Row], counts: Counter) -> Iterator[Row]:
    for name, prediction in rows:
        counts[prediction.status] += 1
        yield name, prediction


def report(name: str, prediction, counts: Counter) -> None:
    """Show the first errors where the rows go to a file."""
    if prediction.error and counts["error"] <= MAX_REPORTED_ERRORS:
        clear_line = "\r\x1b[K" if sys.stderr.isatty() else ""  # there may be half a progress bar
        print(f"{clear_line}{printable(name)}: {prediction.error}", file=sys.stderr)


def with_progress(rows: Iterable[Row], args: argparse.Namespace, done: int) -> Iterable[Row]:
    """A progress bar where somebody watches and the rows themselves are not on the screen."""
    if not sys.stderr.isatty() or (args.output is None and sys.stdout.isatty()):
        return rows
    from tqdm import tqdm  # takes as long to import as an image to classify

    return tqdm(rows, total=count_images(args), initial=done, unit=" images")


def count_images(args: argparse.Namespace) -> int | None:
    """None where counting would mean to read everything."""
    slow = (argument for argument in args.image_path if is_address(argument) or is_archive(argument))
    if not can_be_read_twice(args) or any(not argument.lower().endswith(".zip") for argument in slow):
        return None
    return sum(1 for _ in find_images(args.image_path, Counter(), args.image_column))


def print_summary(left_out: Counter, counts: Counter) -> None:
    """What is not in the rows: files that were not looked at, and how many images came out how."""
    kinds = [f"{number:,} {kind}" for kind, number in left_out.most_common() if number]
    if kinds:
        more = f" and {len(kinds) - MAX_KINDS} other kinds" if len(kinds) > MAX_KINDS else ""
        print(f"left out: {', '.join(kinds[:MAX_KINDS])}{more}", file=sys.stderr)
    if counts.total() > 1:
        parts = [f"{counts[status]:,} {words}" for status, words in STATUS_WORDS.items() if counts[status]]
        print(f"{counts.total():,} images: {', '.join(parts)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
