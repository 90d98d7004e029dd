"""From what a shop has, a folder, an archive or a table, to a prepared dataset that train.py reads.

    dataset, columns = prepared_dataset("photos/", OwnData(), Wanted(), command="python train.py --dataset photos/")

What is prepared lies in data/NAME and is used again by the next training, as long as neither the input nor the options
have changed. Which column has the labels is guessed only where one alone can be meant.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers.hf_argparser import HfArg

from app.errors import UserError
from app.files import write_json
from data_prep.image_folder import Input, prepare
from data_prep.pipeline.card import CARD_NAME, DatasetError, read_card
from data_prep.pipeline.catalogs import LABEL_COLUMNS, SPLIT_COLUMN, Columns
from data_prep.pipeline.class_folders import LAYOUTS
from data_prep.pipeline.command import available_cores
from data_prep.pipeline.file_names import IMAGE_SUFFIXES
from data_prep.pipeline.image_cells import IMAGE_COLUMNS, usual_column
from data_prep.pipeline.report import print_summary
from data_prep.pipeline.schema import Options, Row
from data_prep.pipeline.splits import SPLITS
from data_prep.pipeline.tables import open_table, read_table
from data_prep.pipeline.trees import SPLIT_NAMES, TABLE_SUFFIXES

PREPARED = Path("data")
SURE_LABELS = ("label", "labels", "class")  # a column called so is meant, whatever else could be
TITLE_COLUMN = "title"  # of what is prepared here
MADE_FROM = "made_from.json"  # beside a dataset that was prepared here: which input and options it came from
LINES_LOOKED_AT = 5000
MIN_PER_CLASS = 2  # images in a column of labels, on average
SHOWN = 5


@dataclass(frozen=True)
class OwnData:
    """How to read a --dataset that is not prepared yet."""

    image_root: str | None = HfArg(default=None, help="folder or archive of the images that a table names")
    image_column: str = HfArg(default="", help="column of a table with the images or their paths (default: found)")
    label_columns: list[str] = HfArg(
        default_factory=list, help="columns of a table with the levels of the categories, the broadest first"
    )
    taxonomy: str | None = HfArg(
        default=None, help="JSON or table: for each label its path, such as Food > Fruit > Apple"
    )
    layout: str = HfArg(
        default="auto",
        help="of class folders; nested: folders in them are narrower classes",
        metadata={"choices": list(LAYOUTS)},
    )


@dataclass(frozen=True)
class Wanted:
    """The columns that the user named, where they are named for a prepared dataset too; empty for none."""

    label: str = ""
    title: str = ""
    attributes: Sequence[str] = ()


def prepared_dataset(dataset: str, own: OwnData, wanted: Wanted, command: str) -> tuple[str, Wanted]:
    """The prepared folder, written where it is missing, and its columns. Raises UserError.

    command: for the dataset's card.
    """
    path = Path(dataset)
    if "://" in dataset or (path / CARD_NAME).is_file():
        refuse_reading_options(dataset, own)
        return dataset, replace(wanted, label=chosen_label(path, wanted.label))
    if not path.exists():
        raise UserError(f"--dataset {dataset}: there is no such folder, archive or table, and no prepared dataset")
    given = reading_of(path, own, wanted)
    output, is_current = place_for(path, given)
    if not is_current:
        options = Options(output, num_proc=available_cores(), overwrite=output.exists(), command=command)
        print(f"preparing {path} as {output}", file=sys.stderr)
        print_summary(prepare(given, options, check=check_enough))
        write_json(output / MADE_FROM, identity_of(path, given))
    else:
        print(f"{output} was prepared from {path} before and is used again", file=sys.stderr)
    title = TITLE_COLUMN if wanted.title else ""
    return str(output), replace(wanted, label=chosen_label(output, ""), title=title)


def refuse_reading_options(dataset: str, own: OwnData) -> None:
    """Raises UserError for options that say how to read what is read already."""
    given = [name for name, value in asdict(own).items() if value != asdict(OwnData())[name]]
    if given:
        raise UserError(f"--{given[0]}: {dataset} is prepared already; give the folder, archive or table it came from")


def chosen_label(dataset: Path, label: str) -> str:
    """The user's label column, else the leaf of the taxonomy, else the only one. Raises DatasetError."""
    try:
        card = read_card(dataset)
    except (DatasetError, OSError):
        return label or "label"  # shards at an address; what reads them will say what is wrong
    columns = card.get("label_columns") or ["label"]
    if label:
        return label
    if levels := card.get("taxonomy_levels"):
        return levels[-1]
    if len(columns) == 1 or "label" in columns:
        return "label" if "label" in columns else columns[0]
    raise DatasetError(f"{dataset} has the label columns {', '.join(columns)}: choose one with --label")


# --- what is given --------------------------------------------------------------------------------------------------


def reading_of(path: Path, own: OwnData, wanted: Wanted) -> Input:
    """How to read the path. Raises UserError where a column is not clear."""
    taxonomy = Path(own.taxonomy) if own.taxonomy else None
    if path.is_dir() or path.suffix.lower() not in TABLE_SUFFIXES:
        refuse = [f"--{name}" for name in ("image_root", "image_column", "label_columns") if getattr(own, name)]
        refuse += ["--title_column"] if wanted.title else []
        refuse += ["--attributes"] if wanted.attributes else []
        if refuse:
            raise UserError(f"{', '.join(refuse)}: only used with a table as --dataset, and {path} is not one")
        return Input(path, layout=own.layout, taxonomy=taxonomy)
    if own.layout != "auto":
        raise UserError(f"--layout {own.layout}: {path} is a table, and has no class folders")
    root = Path(own.image_root) if own.image_root else path.parent
    columns, label_columns = columns_of(path, own, wanted)
    names = {"label_columns": label_columns, "attribute_columns": tuple(wanted.attributes)}
    return Input(root, path, columns, taxonomy=taxonomy, **names)


def columns_of(path: Path, own: OwnData, wanted: Wanted) -> tuple[Columns, Sequence[str]]:
    """The columns of a table, those that nobody named found by their names, else by what is in them."""
    header = open_table(path).header
    cells = []
    for line in read_table(path, header):
        if not line.problem and len(cells) < LINES_LOOKED_AT:
            cells.append(line.cells)
    image = own.image_column or named_or_found(header, IMAGE_COLUMNS, images_in(header, cells), path, "--image_column")
    named = [*own.label_columns, *([wanted.label] if wanted.label else [])]
    if not named:
        labels = labels_in([name for name in header if name not in (image, wanted.title, *wanted.attributes)], cells)
        named = [named_or_found(header, SURE_LABELS, labels, path, "--label_columns")]
    label = named[0] if len(named) == 1 else ""
    columns = Columns(image=image, label=label, title=wanted.title, split=split_in(header, cells))
    return columns, named if len(named) > 1 else ()


def named_or_found(header: Sequence[str], usual: Sequence[str], found: Sequence[str], path: Path, option: str) -> str:
    """A column with a usual name that was found, else the only one that was. Raises UserError that lists them."""
    if (place := usual_column([name if name in found else "" for name in header], usual)) is not None:
        return header[place]
    if len(found) == 1:
        return found[0]
    several = f"{len(found)} columns that can be meant, {', '.join(found)}" if found else "no column that can be meant"
    raise UserError(f"{path} has {several}: choose with {option}; its columns are {', '.join(header)[:500]}")


def images_in(header: Sequence[str], cells: Sequence[dict[str, str]]) -> list[str]:
    """The columns that hold names of image files, or that are called so where images lie in the cells."""
    suffixes = tuple(IMAGE_SUFFIXES)
    by_content = [
        name for name in header if cells and sum(row[name].lower().endswith(suffixes) for row in cells) > len(cells) / 2
    ]
    return by_content or [name for name in header if name.lower() in IMAGE_COLUMNS]


def labels_in(header: Sequence[str], cells: Sequence[dict[str, str]]) -> list[str]:
    """The columns whose values repeat as those of classes do, and are not numbers."""
    found = []
    for name in header:
        counts = Counter(row[name] for row in cells if row[name])
        numbers = all(value.replace(".", "", 1).replace("-", "", 1).isdecimal() for value in counts)
        few = len(counts) > 1 and counts.total() >= MIN_PER_CLASS * len(counts)
        is_split = {value.casefold() for value in counts} <= set(SPLIT_NAMES)
        if few and not is_split and (not numbers or name.lower() in LABEL_COLUMNS):
            found.append(name)
    return found


def split_in(header: Sequence[str], cells: Sequence[dict[str, str]]) -> str:
    """The column called `split`, if train, validation and test are what it says; empty for none."""
    for name in header:
        values = {row[name].casefold() for row in cells if row[name]}
        if name.lower() in (SPLIT_COLUMN, "subset", "set") and values and values <= set(SPLIT_NAMES):
            return name
    return ""


def check_enough(rows: Sequence[Row], label: str) -> None:
    """Say before any work what so few images do not allow. Raises UserError where nothing could be learned."""
    counts = Counter(row.labels[label] for row in rows if not row.reject and row.labels.get(label))
    if len(counts) < 2:
        one = f"all {counts.total()} images are of one class, {next(iter(counts), None)}"
        what = one if counts else "no image has a label"
        raise UserError(
            f"{what}, and a classifier needs at least two: one folder per class, or a column that tells them apart"
        )
    single = sorted(name for name, count in counts.items() if count == 1)
    if single:
        shown = ", ".join(single[:SHOWN]) + (", …" if len(single) > SHOWN else "")
        print(
            f"note: {len(single)} of {len(counts)} classes have a single image ({shown}): it trains, and nobody can "
            "tell how well; add images, or join such classes",
            file=sys.stderr,
        )
    if max(counts.values()) < len(SPLITS):
        print(
            "note: no class has images for train, validation and test: the model trains on all images and is scored by "
            "cross-validation",
            file=sys.stderr,
        )


# --- where it is prepared --------------------------------------------------------------------------------------------


def identity_of(path: Path, given: Input) -> dict:
    """What a dataset was made from: a later training may use it as long as this is the same."""
    options = {name: str(value) for name, value in asdict(given).items()}
    beside = given.path == path.parent  # a table's own folder may hold anything
    return {"input": str(path.resolve()), "options": options, "state": state_of(path, None if beside else given.path)}


def state_of(*places: Path | None) -> str:
    """A hash of names, sizes and times of the files, which changes when they do."""
    lines = []
    for place in places:
        files = sorted(place.rglob("*")) if place and place.is_dir() else [place] if place else []
        stats = ((file, file.stat()) for file in files if file.is_file())
        lines += [f"{file}|{stat.st_size}|{stat.st_mtime_ns}" for file, stat in stats]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def place_for(path: Path, given: Input) -> tuple[Path, bool]:
    """The folder to prepare to, and whether it was made from this already. Raises UserError."""
    identity = identity_of(path, given)
    stem = path.resolve().name.split(".")[0] or "own"
    key = hashlib.sha256(json.dumps([identity["input"], identity["options"]]).encode()).hexdigest()[:4]
    for name in (stem, f"{stem}-{key}"):
        output = PREPARED / name
        note = output / MADE_FROM
        if not output.exists():
            return output, False
        before = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        if {**before, "state": ""} == {**identity, "state": ""}:  # else it was made from something else
            return output, before == identity
    raise UserError(f"{output} is in the way: it was not prepared from {path}; move it or rename the input")
