"""Join prepared datasets: labels by name or by a mapping file, splits kept, duplicates between the inputs found anew.

python -m data_prep.merge data/clothing data/scraped --output data/both
python -m data_prep.merge data/kaggle_fashion:articleType data/clothing --mapping mapping.csv --output data/worn

mapping.csv has the columns source,label,target; source is the name of a folder:
    kaggle_fashion,Tshirts,t-shirt     this label becomes t-shirt
    kaggle_fashion,Night suits,        an empty target leaves its images out (listed in rejected.csv)
    kaggle_fashion,*,                  all labels of this source that have no line of their own
A label without a line keeps its name. FOLDER:COLUMN or --label COLUMN says which label column counts; the first of the
dataset's card does otherwise. An image whose duplicate is in a stricter split (test before validation before train) of
any input is left out. The column `source` names the input; ids that clash become SOURCE:ID. A single input is fine: its
labels can be renamed, joined or left out by a mapping. 43,912 rows take 20 s of processor time and 410 MB.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.pipeline import splits
from data_prep.pipeline.build import check_output, write_dataset
from data_prep.pipeline.card import read_card
from data_prep.pipeline.command import add_common_arguments, clear_errors, options_from, print_summary
from data_prep.pipeline.images import open_split, split_key
from data_prep.pipeline.schema import Options, Report, Row, Source
from data_prep.pipeline.storage import read_rows
from data_prep.pipeline.tables import read_table

ANY_LABEL = "*"
SOURCE_COLUMN = "source"
MAPPING_COLUMNS = ("source", "label", "target")
OWN_COLUMNS = ("image", "id", "title", "group", SOURCE_COLUMN)
NAMES_SHOWN = 20


@dataclass(slots=True)
class Input:
    """One prepared dataset, and the label column that counts."""

    name: str
    folder: Path
    column: str
    card: Mapping

    def part(self, split: str):
        """One split, its images undecoded."""
        return open_split(str(self.folder), split, split_key(str(self.folder), split))

    def labels(self) -> list[str]:
        """All class names."""
        return self.part("train").features[self.column].names


def main(argv: list[str] | None = None) -> None:
    """Check the command line, join the datasets, say what was done."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.merge", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_common_arguments(parser, "data/merged")
    parser.add_argument("inputs", nargs="+", metavar="FOLDER[:COLUMN]", help="prepared datasets")
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="CSV: source,label,target")
    parser.add_argument("--label", default="", metavar="COLUMN", help="label column of the inputs that have it")
    args = parser.parse_args(argv)
    with clear_errors(parser):
        options = options_from(args, "data_prep.merge", argv)
        check_output(options)
        inputs = open_inputs(args.inputs, args.label)
        mapping = read_mapping(args.mapping, inputs) if args.mapping else {}
        print_summary(merge(inputs, mapping, options))


def merge(inputs: Sequence[Input], mapping: Mapping[tuple[str, str], str], options: Options) -> Report:
    """Write the joined dataset. `mapping` is `{(source, label): target}`."""
    features, notes = extra_features(inputs)
    licenses = sorted({str(one.card["license"]) for one in inputs})
    source = Source(
        name=" + ".join(one.name for one in inputs),
        origin="; ".join(f"{one.name}: {one.card['source']}" for one in inputs),
        license=licenses[0] if len(licenses) == 1 else "other",
        features=features,
        cut_missing_splits=False,
        notes=[*map(describe_input, inputs), *notes],
    )
    return write_dataset(join_rows(inputs, mapping, list(features)), source, options)


def describe_input(one: Input) -> str:
    """Where a part of the merged dataset comes from."""
    card = one.card
    count = f"{sum(card['splits'].values())} images, label column {one.column}"
    return f"{one.name}: {count}, licence {card['license']}, fingerprint {card['fingerprint']}."


# --- the inputs ------------------------------------------------------------------------------------------------------


def open_inputs(texts: Sequence[str], label: str) -> list[Input]:
    """The inputs of the command line. Raises ValueError for anything that is no prepared dataset."""
    inputs = [open_input(text, label) for text in texts]
    names = Counter(one.name for one in inputs)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f"two inputs are called {twice[0]}; the name tells them apart, so rename one of the folders")
    if label and all(one.column != label for one in inputs):
        raise ValueError(f"--label {label}: no input has this label column")
    return inputs


def open_input(text: str, label: str) -> Input:
    """FOLDER or FOLDER:COLUMN."""
    folder, column = Path(text), ""
    if not folder.exists() and ":" in text:
        path, column = text.rsplit(":", 1)
        folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"no folder {text}")
    card = read_card(folder)
    missing = {"label_columns", "splits", "fingerprint", "license", "source"} - set(card)
    if missing:
        raise ValueError(f"the card of {folder} lacks {', '.join(sorted(missing))}; prepare the dataset again")
    one = Input(folder.resolve().name, folder, pick_column(folder, card["label_columns"], column, label), card)
    for split in splits.SPLITS:
        check_split(one, split)
    return one


def pick_column(folder: Path, columns: Sequence[str], own: str, common: str) -> str:
    """The label column that was asked for, or the only or first one."""
    if own and own not in columns:
        raise ValueError(f"{folder} has no label column {own!r}; it has {', '.join(columns)}")
    if common and not own and common not in columns and len(columns) > 1:
        raise ValueError(
            f"{folder} has no label column {common!r} but {', '.join(columns)}; name one as {folder}:{columns[0]}"
        )
    return own or (common if common in columns else columns[0])


def check_split(one: Input, split: str) -> None:
    """Raises ValueError unless the split can be opened and has the columns of a prepared dataset."""
    import datasets

    try:
        features = one.part(split).features
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{one.folder} cannot be opened ({error}); prepare it again") from error
    missing = [name for name in ("image", "id", "title", "group", *one.card["label_columns"]) if name not in features]
    if missing:
        raise ValueError(f"{one.folder}: the {split} split lacks the columns {', '.join(missing)}")
    if not isinstance(features[one.column], datasets.ClassLabel):
        raise ValueError(f"{one.folder}: {one.column} is no column of class labels")


def extra_features(inputs: Sequence[Input]) -> tuple[dict, list[str]]:
    """Features of the columns beside the common ones, `source` among them, and remarks about those left out."""
    import datasets

    found: dict[str, object] = {}
    dropped = set()
    for one in inputs:
        labels = set(one.card["label_columns"])
        dropped |= labels - {one.column}
        for name, feature in one.part("train").features.items():
            if name not in labels and name not in OWN_COLUMNS and found.setdefault(name, feature) != feature:
                dropped.add(name)
    dropped |= found.keys() & {"label"}
    features = {name: feature for name, feature in found.items() if name not in dropped}
    notes = [f"Columns of the inputs that were not taken over: {', '.join(sorted(dropped))}."] if dropped else []
    return {SOURCE_COLUMN: datasets.Value("string"), **features}, notes


# --- labels and rows -------------------------------------------------------------------------------------------------


def read_mapping(path: Path, inputs: Sequence[Input]) -> dict[tuple[str, str], str]:
    """`{(source, label): target}`. Raises ValueError for a line that cannot mean anything: it would be a typo."""
    known = {one.name: one.labels() for one in inputs}
    mapping: dict[tuple[str, str], str] = {}
    for line in read_table(path, MAPPING_COLUMNS):
        where = f"{path}, line {line.number}"
        if line.problem:
            raise ValueError(f"{where}: {line.problem}")
        source, label, target = (line.cells[name] for name in MAPPING_COLUMNS)
        if source not in known:
            raise ValueError(f"{where}: no input is called {source!r}; the inputs are {', '.join(known)}")
        if label != ANY_LABEL and label not in known[source]:
            names = ", ".join(known[source][:NAMES_SHOWN]) + (", ..." if len(known[source]) > NAMES_SHOWN else "")
            raise ValueError(f"{where}: {source} has no label {label!r}; it has {names}")
        if mapping.setdefault((source, label), target) != target:
            raise ValueError(
                f"{where}: {label!r} of {source} has two targets, {mapping[source, label]!r} and {target!r}"
            )
    return mapping


def join_rows(inputs: Sequence[Input], mapping: Mapping[tuple[str, str], str], columns: Sequence[str]) -> Iterator[Row]:
    """The rows of all inputs with one label column, `columns` beside it, and ids that are different."""
    clashing = clashing_ids(inputs)
    for one in inputs:
        for row in read_rows(one.folder):
            label = row.labels[one.column]
            target = mapping.get((one.name, label), mapping.get((one.name, ANY_LABEL), label))
            if not target:
                row.reject = f"left out by the mapping: {label}"
            row.file = "/".join([one.name, row.id, *([] if row.id.endswith(row.file) else [row.file])])
            row.id = f"{one.name}:{row.id}" if row.id in clashing else row.id
            row.group = f"{one.name}:{row.group}" if row.group else ""
            row.labels = {"label": target}
            row.extra = {name: row.extra.get(name) for name in columns} | {SOURCE_COLUMN: one.name}
            yield row


def clashing_ids(inputs: Sequence[Input]) -> set[str]:
    """Ids that more than one input has."""
    seen: set[str] = set()
    clashing: set[str] = set()
    for one in inputs:
        mine = {identity for split in splits.SPLITS for identity in one.part(split).data["id"].to_pylist()}
        clashing |= seen & mine
        seen |= mine
    return clashing


if __name__ == "__main__":
    main()
