"""The options of predict.py, and everything about them that can be checked before slow work starts."""

import argparse
import codecs
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from app.classifier import BATCH_SIZE, MAX_TTA
from app.errors import OneLineParser, add_version
from app.images import HEAD_BYTES, looks_like_image
from app.model_files import attribute_names
from app.prediction import ANSWERED_FROM, attribute_columns
from app.shipped import DEFAULT_MODEL, MODELS, PAGE_MODEL
from app.titled import TITLES_FILE
from inference.readers.base import InputError, Lookup, Reader
from inference.readers.parse import parse_readers
from inference.writers import FORMAT_FOR_SUFFIX, WRITERS, check_excel, check_parquet

MODEL_FILES = ("model*.onnx", TITLES_FILE, "*.json", "*.npy")  # what an answer depends on
TOP_K = {"table": 1, "jsonl": 5, "csv": 1, "xlsx": 1, "parquet": 5, "submission": 1}  # unless the user says how many
FORMATS = (*WRITERS, "xlsx", "parquet")
USAGE = "predict.py --image_path PATH [PATH ...] [options]; predict.py --help lists them"
ADDRESS = re.compile(r"auto|local|[\w.-]+:\d{1,5}|ray://[\w.-]+:\d{1,5}")


@dataclass(frozen=True)
class PredictOptions:
    """What predict.py was asked to do, checked.

    readers: one per argument of --image_path. models: folders, several for an ensemble. explain: the folder for
    explanations. format: a key of TOP_K. address: of the Ray cluster, None for the default.
    """

    readers: Sequence[Reader]
    lookup: Lookup
    models: Sequence[Path]
    precision: str
    device: str
    tta: int
    batch_size: int
    top_k: int
    format: str
    output: Path | None
    resume: bool
    submission: Path | None
    explain: Path | None
    screenshots: bool
    embed: bool
    engine: str
    address: str | None

    def row_settings(self) -> dict[str, Any]:
        """What a row depends on besides its image."""
        names = ("top_k", "tta", "precision", "screenshots")
        settings = {"model": [fingerprint(model) for model in self.models]}
        return settings | {name: getattr(self, name) for name in names} | asdict(self.lookup)

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """What the answers have beside CSV_COLUMNS. Raises ModelError for attributes that cannot be used."""
        titled = (ANSWERED_FROM,) if self.lookup.title_column else ()
        return (*titled, *attribute_columns(attribute_names(self.models[0])))

    @property
    def keeps_columns(self) -> bool:
        """Whether the rows of tables are written with their own columns."""
        if self.format == "xlsx":
            return True
        return self.format in ("csv", "parquet") and any(reader.as_table() for reader in self.readers)


def build_parser(description: str) -> argparse.ArgumentParser:
    parser = OneLineParser(prog="predict.py", usage=USAGE, description=description)
    add_version(parser)
    add_input_options(parser.add_argument_group("images"))
    add_screenshots_option(parser.add_argument_group("screenshots"))
    add_model_options(parser.add_argument_group("model"))
    results = parser.add_argument_group("results")
    add_output_options(results)
    add_embed_option(results)
    add_engine_options(parser.add_argument_group("engine"))
    return parser


def parse_options(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> PredictOptions:
    """Raises InputError for what argparse cannot know to be wrong."""
    args = parser.parse_args(argv)
    check_model_options(args)
    check_screenshot_options(args)
    check_engine_options(args)
    check_embed(args)
    default = PAGE_MODEL if args.screenshots else DEFAULT_MODEL
    option = "--ensemble" if args.ensemble else "--model"
    args.models = [find_model(name, option) for name in args.ensemble or [args.model or default]]
    args.format = check_output_options(args)
    args.output = args.output and args.output.resolve()
    args.top_k = args.top_k or TOP_K[args.format]
    args.lookup = check_lookup(args)
    args.readers = parse_readers(args.image_path, args.lookup)
    check_titles(args)
    if args.output:
        check_not_an_input(args.output, args.image_path, args.submission)
    return PredictOptions(**{field.name: getattr(args, field.name) for field in fields(PredictOptions)})


def add_input_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--image_path",
        nargs="+",
        action="extend",
        required=True,
        metavar="PATH",
        help="images; folders (searched recursively, without hidden files); .zip and .tar(.gz), read in place; "
        "tables (.csv, .tsv, .xlsx, .jsonl, .parquet); s3://, gs:// and hf:// addresses; @FILE, a text file of paths; "
        "- for standard input, an image or a list of paths",
    )
    group.add_argument(
        "--image_column",
        metavar="NAME",
        help="the column of a table with the paths, addresses or images (default: image_path, image, path, file …)",
    )
    group.add_argument(
        "--title_column",
        metavar="NAME",
        help="the column of a table with the products' titles, which a model with titles.onnx reads too",
    )
    group.add_argument(
        "--image_root", metavar="DIR", help="where the paths in tables and lists start (default: the table's folder)"
    )
    group.add_argument(
        "--encoding", default="", metavar="NAME", help="of tables and lists, such as cp932 or gb18030 (default: found)"
    )
    group.add_argument(
        "--fetch_urls", action="store_true", help="fetch http(s) addresses in tables and lists, public hosts only"
    )


def add_screenshots_option(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--screenshots",
        action="store_true",
        help="the images are pages of shops: find the products on them, a row for each with its box",
    )


def add_model_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model",
        help=f"a model folder, or the name of one in app/models (default: {DEFAULT_MODEL}, "
        f"with --screenshots {PAGE_MODEL})",
    )
    group.add_argument(
        "--ensemble", nargs="+", metavar="DIR", help="several models of the same labels: their mean probabilities"
    )
    group.add_argument(
        "--precision",
        choices=("auto", "fp32", "int8"),
        default="auto",
        help="int8 needs model.int8.onnx, see export.py --int8 (default: auto, int8 where it is available and faster)",
    )
    group.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda needs onnxruntime-gpu")
    group.add_argument(
        "--tta",
        type=positive_int,
        default=1,
        metavar="N",
        help=f"the mean over N views of an image, at most {MAX_TTA}: itself, its mirror image, crops (default: 1)",
    )


def add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--top_k",
        type=positive_int,
        help="labels per image in jsonl and parquet (default: 5) and in the table (default: 1); csv has one",
    )
    endings = ", ".join(FORMAT_FOR_SUFFIX)
    group.add_argument("--format", choices=FORMATS, help=f"default: by the ending of --output ({endings}), else table")
    group.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write here instead of to standard output; the file appears when it is complete",
    )
    group.add_argument(
        "--resume", action="store_true", help="go on with an interrupted run that has the same options and --output"
    )
    group.add_argument(
        "--submission",
        type=Path,
        metavar="SAMPLE",
        help="write --output as a Kaggle submission: the ids, order and columns of this sample_submission.csv",
    )
    group.add_argument(
        "--explain", type=Path, metavar="DIR", help="draw for each image which parts support its label, as DIR/*.png"
    )


def add_embed_option(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--embed", action="store_true", help="write what the last layer reads of each image to --output, a .parquet"
    )


def check_embed(args: argparse.Namespace) -> None:
    """Raises InputError for what has no embeddings or another output."""
    if not args.embed:
        return
    if not args.output or args.output.suffix.lower() != ".parquet":
        raise InputError("--embed writes Parquet: give --output a name that ends with .parquet")
    names = ("ensemble", "screenshots", "explain", "submission", "resume", "title_column")
    if given := [f"--{name}" for name in names if getattr(args, name)]:
        raise InputError(f"--embed is about single images and one model: leave out {', '.join(given)}")
    if args.engine != "local":
        raise InputError("--embed runs on this machine: leave out --engine ray")


def add_engine_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--batch_size",
        type=positive_int,
        default=BATCH_SIZE,
        help="images that a core works on at once (default: %(default)s)",
    )
    group.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: many machines, docs/scale.md")
    group.add_argument(
        "--address",
        metavar="ADDRESS",
        help="of the Ray cluster: auto, HOST:PORT, or local to start one here (default: auto)",
    )


def positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def check_model_options(args: argparse.Namespace) -> None:
    """Raises InputError for options that exclude each other."""
    if args.model and args.ensemble:
        raise InputError("--model and --ensemble exclude each other: name all models after --ensemble")
    if args.ensemble and len(args.ensemble) < 2:
        raise InputError("--ensemble needs at least two models; --model takes one")
    if args.tta > MAX_TTA:
        raise InputError(f"--tta {args.tta}: there are at most {MAX_TTA} views of an image")
    if args.explain and args.ensemble:
        raise InputError("--explain shows what one model looks at: use it with --model, not with --ensemble")
    if args.explain and args.explain.exists() and not args.explain.is_dir():
        raise InputError(f"--explain {args.explain} is not a folder")


def check_screenshot_options(args: argparse.Namespace) -> None:
    """Raises InputError for what needs one row per image."""
    if not args.screenshots:
        return
    if args.explain or args.submission or args.engine != "local":
        raise InputError("--screenshots gives a row per product: leave out --explain, --submission and --engine ray")
    if args.format == "xlsx" or (args.output and not args.format and args.output.suffix.lower() == ".xlsx"):
        raise InputError("--screenshots writes a table, jsonl, csv or parquet: give --output another ending than .xlsx")


def check_titles(args: argparse.Namespace) -> None:
    """Raises InputError for titles that nothing would read."""
    if not args.title_column:
        return
    if args.ensemble or args.screenshots:
        raise InputError("--title_column joins the answer of one model: leave out --ensemble and --screenshots")
    if not any(reader.as_table() for reader in args.readers):
        raise InputError(f"--title_column {args.title_column}: no table among --image_path has titles; give one")


def check_engine_options(args: argparse.Namespace) -> None:
    """Raises InputError for options that need the other engine."""
    if args.engine == "local":
        if args.address:
            raise InputError("--address is that of a Ray cluster: add --engine ray")
        return
    if args.explain or args.device == "cuda":
        raise InputError("--engine ray runs on CPUs and draws nothing: leave out --explain and --device cuda")
    if args.address and not ADDRESS.fullmatch(args.address):
        raise InputError(f"--address {args.address!r}: it must be auto, local or HOST:PORT")


def check_lookup(args: argparse.Namespace) -> Lookup:
    """Raises InputError for a folder, an encoding or packages that are not there."""
    if args.image_root is not None and not Path(args.image_root).is_dir():
        raise InputError(f"--image_root: there is no folder {args.image_root}")
    try:
        codecs.lookup(args.encoding or "utf-8")
    except LookupError:
        usual = "utf-8, utf-16, cp1252, gb18030, cp932"
        raise InputError(f"--encoding {args.encoding!r} is unknown; usual ones: {usual}") from None
    if args.fetch_urls:
        from inference.readers.references import check_fetching

        check_fetching()
    return Lookup(args.image_column, args.encoding, args.image_root, args.fetch_urls, args.title_column)


def check_output_options(args: argparse.Namespace) -> str:
    """The format of the results. Raises InputError where they cannot be written as the user wants."""
    if args.output is None:
        if args.resume or args.submission:
            raise InputError(f"--{'resume' if args.resume else 'submission'} needs --output, a file to write to")
        if args.format in ("parquet", "xlsx"):
            raise InputError(f"--format {args.format} needs --output, a file to write to")
        return args.format or "table"
    check_file(args.output)
    suffix = args.output.resolve().suffix.lower()
    if args.submission:
        if args.format or suffix != ".csv":
            raise InputError("--submission is a CSV file: give --output a name that ends with .csv, and no --format")
        return "submission"
    file_format = args.format or FORMAT_FOR_SUFFIX.get(suffix)
    if file_format is None:
        endings = ", ".join(FORMAT_FOR_SUFFIX)
        raise InputError(f"--output {args.output.name}: give --format, or a name that ends with {endings}")
    if file_format == "parquet":
        check_parquet()
    if file_format == "xlsx":
        check_excel()
    return file_format


def check_not_an_input(output: Path, inputs: Sequence[str], sample: Path | None) -> None:
    """Raises InputError where writing would destroy what is read: an input, its list, the sample, or an image."""
    if not output.exists():
        return
    for given in (*inputs, *(text[1:] for text in inputs if text.startswith("@")), *([str(sample)] if sample else [])):
        if os.path.exists(given) and os.path.samefile(output, given):
            raise InputError(f"--output {output.name} is one of the inputs: give it another name")
    with open(output, "rb") as file:
        if looks_like_image(file.read(HEAD_BYTES)):
            raise InputError(f"--output {output.name} is an image: give the results another name")


def check_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise InputError(f"--output {path} is not a regular file")
    if not path.resolve().parent.is_dir():
        raise InputError(f"--output: there is no folder {path.resolve().parent}; create it first")


def find_model(name: str, option: str) -> Path:
    """A folder as it is given, else the one of that name in app/models."""
    if Path(name).is_dir():
        return Path(name)
    if Path(name).name == name and (MODELS / name).is_dir():
        return MODELS / name
    shipped = sorted(folder.name for folder in MODELS.iterdir() if folder.is_dir()) if MODELS.is_dir() else []
    raise InputError(f"{option} {name!r}: no such folder; app/models has {', '.join(shipped) or 'none'}")


def files_of(model: Path) -> list[Path]:
    """The files of a model folder that an answer depends on."""
    return sorted(path for pattern in MODEL_FILES for path in model.glob(pattern))


def fingerprint(model: Path) -> str:
    """The folder's name with a short hash of the files that make its answers."""
    digest = hashlib.sha256()
    for path in files_of(model):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{model.resolve().name} {digest.hexdigest()[:12]}"
