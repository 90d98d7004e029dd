"""Classify product pictures from the command line.

    python predict.py --image_path shirt.jpg
    python predict.py --image_path photos/ @more.txt --format jsonl --output results.jsonl

The first prints the category path with the confidence at each level; every option is explained by --help.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy then loads 0.07 s sooner; nothing here needs its threads

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice, tee
from pathlib import Path

from app.classifier import BATCH_SIZE, Classifier, ModelError
from inputs import Input, ListError, check_list, find_images, is_list
from outputs import FORMAT_FOR_SUFFIX, WRITERS, Row, open_output, printable

MODELS = Path(__file__).resolve().parent / "app" / "models"
DEFAULT_MODEL = "fashion"
TOP_K = {"table": 1, "jsonl": 5, "csv": 1}  # unless the user says how many; csv has columns for one only
FEW_IMAGES = 8  # no progress bar for so few
MAX_REPORTED_ERRORS = 20
MAX_KINDS = 6
EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0 all pictures were classified, 1 some failed, 2 wrong usage or an unusable model."""
    parser = build_parser()
    args = parse_arguments(parser, argv)
    try:
        counts = run(args)
    except ModelError as error:
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
    """Classify and write; returns the number of pictures by status."""
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # remarks on metadata that is not used
    left_out, counts = Counter(), Counter()
    inputs = find_images(args.image_path, left_out)
    peeked = list(islice(inputs, FEW_IMAGES + 1))
    classifier = Classifier.load(args.model, workers=1 if len(peeked) == 1 else None)
    rows = classify(classifier, chain(peeked, inputs), args.top_k, args.batch_size)
    rows = report_errors(rows, counts, show=args.output is not None)
    with open_output(args.output) as output:
        WRITERS[args.format](with_progress(rows, args, len(peeked)), output, args.top_k)
    print_summary(left_out, counts)
    return counts


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="predict.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--image_path",
        nargs="+",
        action="extend",
        required=True,
        metavar="PATH",
        help="pictures, folders (searched to the bottom, hidden files left out) and @FILE, a text file of paths",
    )
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="a model folder, or the name of one in app/models (default: %(default)s)"
    )
    parser.add_argument(
        "--top_k",
        type=positive_int,
        help="labels per picture in jsonl (default: 5) and in the table (default: 1); csv has one",
    )
    parser.add_argument(
        "--format", choices=sorted(WRITERS), help="default: by the ending of --output (.jsonl, .csv, .txt), else table"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write here instead of to standard output; the file appears when complete",
    )
    parser.add_argument(
        "--batch_size",
        type=positive_int,
        default=BATCH_SIZE,
        help="pictures a core works on at once (default: %(default)s)",
    )
    return parser


def positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def parse_arguments(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Everything that can be checked before the model is loaded; args.model becomes a folder, args.format is set."""
    args = parser.parse_args(argv)
    for argument in args.image_path:
        try:
            if is_list(argument):
                check_list(argument)
        except ListError as error:
            parser.error(str(error))
    if args.output:
        check_output(parser, args)
    args.format = args.format or "table"
    args.top_k = args.top_k or TOP_K[args.format]
    args.model = find_model(parser, args.model)
    return args


def check_output(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    args.output = args.output.resolve()
    if args.output.exists() and not args.output.is_file():
        parser.error(f"--output {args.output} is not a regular file")
    if not args.output.parent.is_dir():
        parser.error(f"--output: there is no folder {args.output.parent}; make it first")
    args.format = args.format or FORMAT_FOR_SUFFIX.get(args.output.suffix.lower())
    if args.format is None:
        endings = ", ".join(FORMAT_FOR_SUFFIX)
        parser.error(f"--output {args.output.name}: give --format, or a name that ends with {endings}")


def find_model(parser: argparse.ArgumentParser, name: str) -> Path:
    """A folder as it is given, else the one of that name in app/models."""
    if Path(name).is_dir():
        return Path(name)
    if Path(name).name == name and (MODELS / name).is_dir():
        return MODELS / name
    shipped = sorted(folder.name for folder in MODELS.iterdir() if folder.is_dir()) if MODELS.is_dir() else []
    parser.error(f"--model {name!r}: no such folder; in app/models there is: {', '.join(shipped) or 'nothing'}")


def classify(classifier: Classifier, inputs: Iterable[Input], top_k: int, batch_size: int) -> Iterator[Row]:
    """Each picture's name with what the model says, in the order of `inputs`."""
    for_names, for_sources = tee(inputs)
    predictions = classifier.stream((source for _, source in for_sources), top_k, batch_size)
    return zip((name for name, _ in for_names), predictions, strict=True)


def report_errors(rows: Iterable[Row], counts: Counter, show: bool) -> Iterator[Row]:
    """Pass the rows on, count them by status, and show the first errors where the rows go to a file."""
    clear_line = "\r\x1b[K" if sys.stderr.isatty() else ""  # there may be half a progress bar
    for name, prediction in rows:
        counts[prediction.status] += 1
        if show and prediction.error and counts["error"] <= MAX_REPORTED_ERRORS:
            print(f"{clear_line}{printable(name)}: {prediction.error}", file=sys.stderr)
        yield name, prediction


def with_progress(rows: Iterable[Row], args: argparse.Namespace, peeked: int) -> Iterable[Row]:
    """A progress bar where somebody watches and the rows themselves are not on the screen."""
    if peeked <= FEW_IMAGES or not sys.stderr.isatty() or (args.output is None and sys.stdout.isatty()):
        return rows
    from tqdm import tqdm  # takes as long to import as a picture to classify

    return tqdm(rows, total=sum(1 for _ in find_images(args.image_path, Counter())), unit=" images")


def print_summary(left_out: Counter, counts: Counter) -> None:
    """What is not in the rows: files that were not looked at, and how many pictures failed."""
    kinds = [f"{number} {kind}" for kind, number in left_out.most_common() if number]
    if kinds:
        more = f" and {len(kinds) - MAX_KINDS} other kinds" if len(kinds) > MAX_KINDS else ""
        print(f"left out of the folders: {', '.join(kinds[:MAX_KINDS])}{more}", file=sys.stderr)
    if counts["error"]:
        print(f"{counts['error']} of {counts.total()} images failed", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
