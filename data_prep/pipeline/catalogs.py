"""Rows of a table: a column of paths or of images, and one of classes; also the metadata tables of the Hub."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

from app.errors import UserError
from app.images import ImageError
from app.taxonomy import PATH_SEPARATOR
from data_prep.pipeline.class_folders import clean_label, hidden_note, printable
from data_prep.pipeline.copies import Copies
from data_prep.pipeline.file_names import file_key
from data_prep.pipeline.image_cells import IMAGE_COLUMNS, read_cell, usual_column
from data_prep.pipeline.schema import NOT_STATED, Row
from data_prep.pipeline.tables import check_header, open_table, text_of
from data_prep.pipeline.trees import HUB_TABLES, SPLIT_NAMES, Tree

LABEL_COLUMNS = ("label", "labels", "category", "class", "articletype", "article_type", "product_type", "category_path")
SPLIT_COLUMN = "split"  # of the Hub
MAX_NAME_LENGTH = 1000
MAX_NAMES_SHOWN = 300


@dataclass(slots=True, frozen=True)
class Columns:
    """The name of each column of the table, empty for one that it does not have. help: of its option.

    An empty image or label is found by the usual names.
    """

    image: str = field(default="", metadata={"help": "column of the table with the path of the image, or its bytes"})
    label: str = field(default="", metadata={"help": "column with the class"})
    id: str = field(default="", metadata={"help": "column with a unique id (default: the path)"})
    title: str = field(default="", metadata={"help": "column with the title; equal titles stay together"})
    group: str = field(default="", metadata={"help": "rows with an equal value (a person, ...) stay together"})
    split: str = field(default="", metadata={"help": "column with train, validation or test"})


@dataclass(slots=True, frozen=True)
class Catalog:
    """A table on the disk, and where its images are: in the folder `inside` of a tree, or in its own cells."""

    path: Path
    tree: Tree
    copies: Copies
    columns: Columns = Columns()
    encoding: str = ""
    inside: str = ""
    label_columns: Sequence[str] = ()  # of the levels, broad first, instead of columns.label
    attribute_columns: Sequence[str] = ()  # further label columns


def read_catalog(catalog: Catalog) -> tuple[list[Row], list[str]]:
    """A row for each line of the table, in its order, and remarks for the card."""
    more = [*catalog.label_columns, *catalog.attribute_columns]
    needed = [*(name for name in astuple(catalog.columns) if name), *more]
    table = open_table(catalog.path, catalog.encoding, needed)
    given = replace(catalog.columns, label=catalog.label_columns[-1]) if catalog.label_columns else catalog.columns
    columns = with_usual_names(given, table.header, catalog.path)
    check_header(table, [columns.image, columns.label])
    rows: list[Row] = []
    first_lines: dict[str, tuple[int, str]] = {}
    names = list(dict.fromkeys([*(name for name in astuple(columns) if name), *more]))
    for record in table.records([table.header.index(name) for name in names]):
        values = dict(zip(names, record.values, strict=False))
        row = Row(file=f"{catalog.path.name}, line {record.number}", reject=record.problem)
        if not row.reject:
            fill_row(row, record.number, values, columns, catalog, table.class_names)
        if not columns.id and not row.reject:
            number, label = first_lines.setdefault(row.file, (record.number, row.labels["label"]))
            if label != row.labels["label"]:
                row.reject = f"image listed with two labels: line {number} says {label!r} and is kept"
            elif number != record.number:
                row.reject = f"image listed twice: line {number} is kept"
        rows.append(row)
    guessed = "" if catalog.encoding else table.encoding
    name = catalog.path.name
    return rows, [f"{name} is not UTF-8; it was read as {guessed} (--encoding names another)."] if guessed else []


def with_usual_names(columns: Columns, header: Sequence[str], path: Path) -> Columns:
    """Columns with the names of image and label. Raises UserError where there is no usual one."""
    for name, usual in (("image", IMAGE_COLUMNS), ("label", LABEL_COLUMNS)):
        if getattr(columns, name):
            continue
        place = usual_column(header, usual)
        if place is None:
            choice = ", ".join(header)[:MAX_NAMES_SHOWN]
            raise UserError(
                f"{path} has no column called {' or '.join(usual[:4])}: give --{name}_column, one of {choice}"
            )
        columns = replace(columns, **{name: header[place]})
    return columns


def fill_row(
    row: Row,
    number: int,
    values: Mapping[str, object],
    columns: Columns,
    catalog: Catalog,
    class_names: Mapping[str, Sequence[str]],
) -> None:
    """What line `number` of the table says. values: by column. class_names: of the columns that hold numbers."""
    name, embedded = read_cell(values[columns.image])
    if isinstance(embedded, ImageError):
        row.file, row.reject = printable(name) or row.file, str(embedded)
    elif embedded is None and not name:
        row.reject = "no image named"
    elif len(name) > MAX_NAME_LENGTH or "\n" in name or "\r" in name:
        row.reject = f"not a file name: {name[:40]!r}..., {len(name)} characters; is a quote missing?"
    if row.reject:
        return
    cells = {column: text_of(value) for column, value in values.items() if column != columns.image}
    row.title, row.group = cells.get(columns.title, ""), cells.get(columns.group, "")
    levels = catalog.label_columns or [columns.label]
    labels = (class_name(cells.get(level, name), class_names.get(level, ())) for level in levels)
    attributes = {name: clean_label(cells[name]) or NOT_STATED for name in catalog.attribute_columns}
    row.labels = {"label": PATH_SEPARATOR.join(map(clean_label, labels)), **attributes}
    split = cells.get(columns.split, "")
    row.split = SPLIT_NAMES.get(split.casefold(), split)
    if embedded is None:
        row.file = path_below(name, catalog)
        row.image = catalog.tree.image(row.file)
    else:
        row.file = printable(name) or f"{catalog.path.name}#{number}"
        row.image = catalog.copies.add([embedded], f"{file_key(str(catalog.path))}|{number}")
    row.id = cells.get(columns.id, name) if columns.id else row.file


def class_name(text: str, names: Sequence[str]) -> str:
    """names: of the classes, where the column holds their numbers."""
    return names[int(text)] if text.isdecimal() and int(text) < len(names) else text


def path_below(name: str, catalog: Catalog) -> str:
    """A path of the table with forward slashes, relative to the root where it is below; anything else as it is."""
    name = name.replace("\\", "/")
    if os.path.isabs(name):
        return catalog.tree.relative(name)
    name = name.removeprefix("./")
    return catalog.tree.existing(catalog.inside + name) if is_below(name) else name


def is_below(name: str) -> bool:
    """Whether a name can lead nowhere but below its folder, so that looking for its ending is safe."""
    return ".." not in name.split("/") and "://" not in name and len(name) < MAX_NAME_LENGTH


# --- metadata.csv and metadata.jsonl of the Hub ----------------------------------------------------------------------


def hub_tables(tree: Tree) -> list[str]:
    """The Hub's tables in a tree, or in its folders of splits."""
    splits = [name for name in tree.listing().folders if name.casefold() in SPLIT_NAMES]
    places = [f"{folder}/{name}" for folder in splits for name in HUB_TABLES]
    names = set(tree.listing().files)
    return [name for name in (*HUB_TABLES, *places) if name in names]


def read_hub_tables(tree: Tree, tables: Sequence[str], copies: Copies) -> tuple[list[Row], list[str]]:
    """The rows of all of them, as the Hub's own loader reads them: names are relative to the table's folder.

    A file that no table names is listed among what was left out.
    """
    found = tree.listing()
    rows: list[Row] = []
    notes = [*found.notes, *hidden_note(found), f"Labels come from {', '.join(tables)}."]
    for name in tables:
        path = tree.file(name)
        assert path, "listed"
        header = open_table(path).header
        if usual_column(header, LABEL_COLUMNS) is None:
            raise UserError(
                f"{name} in {tree.path} has no column {' or '.join(LABEL_COLUMNS[:4])} but "
                f"{', '.join(header)[:MAX_NAMES_SHOWN]}: give --csv {name} --label_column NAME"
            )
        inside = name.rpartition("/")[0]
        columns = Columns(image="file_name", split=SPLIT_COLUMN if SPLIT_COLUMN in header else "")
        listed, more = read_catalog(Catalog(path, tree, copies, columns, inside=f"{inside}/" if inside else ""))
        for row in listed:
            row.split = row.split or SPLIT_NAMES.get(inside.casefold(), "")
        rows += listed
        notes += more
    named = {*tables, *(row.file for row in rows)}
    rows += [Row(printable(name), reject=reason) for name, reason in found.rejected]
    return [*rows, *unnamed(found.files, named)], notes


def unnamed(files: Sequence[str], named: set[str]) -> Iterator[Row]:
    for name in files:
        if name not in named:
            yield Row(printable(name), reject="not named in a metadata table")
