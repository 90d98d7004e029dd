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

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from app.errors import UserError
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.card import DatasetError
from data_prep.pipeline.command import dataset_command, dataset_parser
from data_prep.pipeline.prepared import OWN_COLUMNS, PreparedDataset, open_prepared
from data_prep.pipeline.report import print_summary
from data_prep.pipeline.schema import Options, Report, Row, Source
from data_prep.pipeline.splits import SPLITS
from data_prep.pipeline.tables import read_table

ANY_LABEL = "*"
SOURCE_COLUMN = "source"
MAPPING_COLUMNS = ("source", "label", "target")
NAMES_SHOWN = 20


def main(argv: list[str] | None = None) -> None:
    """Check the command line, join the datasets, say what was done."""
    parser = dataset_parser("data_prep.merge", __doc__, "data/merged")
    parser.add_argument("inputs", nargs="+", metavar="FOLDER[:COLUMN]", help="prepared datasets")
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="CSV: source,label,target")
    parser.add_argument("--label", default="", metavar="COLUMN", help="label column of the inputs that have it")
    with dataset_command(parser, argv) as (args, options):
        inputs = open_inputs(args.inputs, args.label)
        mapping = read_mapping(args.mapping, inputs) if args.mapping else {}
        print_summary(merge(inputs, mapping, options))


def merge(inputs: Sequence[PreparedDataset], mapping: Mapping[tuple[str, str], str], options: Options) -> Report:
    """Write the joined dataset. `mapping` is `{(source, label): target}`."""
    features, notes = extra_features(inputs)
    licenses = sorted({str(dataset.card["license"]) for dataset in inputs})
    source = Source(
        name=" + ".join(dataset.name for dataset in inputs),
        origin="; ".join(f"{dataset.name}: {dataset.card['source']}" for dataset in inputs),
        license=licenses[0] if len(licenses) == 1 else "other",
        features=features,
        cut_missing_splits=False,
        notes=[*map(describe_input, inputs), *notes],
    )
    return write_dataset(join_rows(inputs, mapping, list(features)), source, options)


def describe_input(dataset: PreparedDataset) -> str:
    """Where a part of the merged dataset comes from."""
    card = dataset.card
    count = f"{sum(card['splits'].values())} images, label column {dataset.label}"
    return f"{dataset.name}: {count}, license {card['license']}, fingerprint {card['fingerprint']}."


# --- the inputs ------------------------------------------------------------------------------------------------------


def open_inputs(texts: Sequence[str], label: str) -> list[PreparedDataset]:
    """The inputs of the command line. Raises UserError for anything that is not a prepared dataset."""
    inputs = [open_input(text, label) for text in texts]
    [(name, count)] = Counter(dataset.name for dataset in inputs).most_common(1)
    if count > 1:
        raise UserError(f"two inputs are called {name}; the name tells them apart, so rename one of the folders")
    if label and all(dataset.label != label for dataset in inputs):
        raise UserError(f"--label {label}: no input has this label column")
    return inputs


def open_input(text: str, label: str) -> PreparedDataset:
    """FOLDER or FOLDER:COLUMN."""
    folder, column = Path(text), ""
    if not folder.exists() and ":" in text:
        path, column = text.rsplit(":", 1)
        folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"no folder {text}")
    dataset = open_prepared(folder, column)
    columns = dataset.card["label_columns"]
    if label in columns and not column:
        return replace(dataset, label=label)
    if label and not column and len(columns) > 1:
        raise DatasetError(
            f"{folder} has no label column {label!r} but {', '.join(columns)}; name one as {folder}:{columns[0]}"
        )
    return dataset


def extra_features(inputs: Sequence[PreparedDataset]) -> tuple[dict, list[str]]:
    """Features of the columns beside the common ones, `source` among them, and remarks about those left out."""
    import datasets

    features: dict[str, object] = {}
    dropped = set()
    for dataset in inputs:
        labels = set(dataset.card["label_columns"])
        dropped |= labels - {dataset.label}
        for name, feature in dataset.split("train").features.items():
            if name not in labels | {*OWN_COLUMNS, SOURCE_COLUMN} and features.setdefault(name, feature) != feature:
                dropped.add(name)
    dropped |= features.keys() & {"label"}
    kept = {name: feature for name, feature in features.items() if name not in dropped}
    notes = [f"Columns of the inputs that were not taken over: {', '.join(sorted(dropped))}."] if dropped else []
    return {SOURCE_COLUMN: datasets.Value("string"), **kept}, notes


# --- labels and rows -------------------------------------------------------------------------------------------------


def read_mapping(path: Path, inputs: Sequence[PreparedDataset]) -> dict[tuple[str, str], str]:
    """`{(source, label): target}`. Raises UserError for a line that cannot mean anything: it would be a typo."""
    known = {dataset.name: dataset.class_names() for dataset in inputs}
    mapping: dict[tuple[str, str], str] = {}
    for line in read_table(path, MAPPING_COLUMNS):
        where = f"{path}, line {line.number}"
        if line.problem:
            raise UserError(f"{where}: {line.problem}")
        source, label, target = (line.cells[name] for name in MAPPING_COLUMNS)
        if source not in known:
            raise UserError(f"{where}: no input is called {source!r}; the inputs are {', '.join(known)}")
        if label != ANY_LABEL and label not in known[source]:
            names = ", ".join(known[source][:NAMES_SHOWN]) + (", ..." if len(known[source]) > NAMES_SHOWN else "")
            raise UserError(f"{where}: {source} has no label {label!r}; it has {names}")
        if mapping.setdefault((source, label), target) != target:
            raise UserError(
                f"{where}: {label!r} of {source} has two targets, {mapping[source, label]!r} and {target!r}"
            )
    return mapping


def join_rows(
    inputs: Sequence[PreparedDataset], mapping: Mapping[tuple[str, str], str], columns: Sequence[str]
) -> Iterator[Row]:
    """The rows of all inputs with one label column, `columns` beside it, and ids that are different."""
    clashing = clashing_ids(inputs)
    for dataset in inputs:
        for row in dataset.rows():
            label = row.labels[dataset.label]
            target = mapping.get((dataset.name, label), mapping.get((dataset.name, ANY_LABEL), label))
            if not target:
                row.reject = f"left out by the mapping: {label}"
            row.file = "/".join([dataset.name, row.id, *([] if row.id.endswith(row.file) else [row.file])])
            row.id = f"{dataset.name}:{row.id}" if row.id in clashing else row.id
            row.group = f"{dataset.name}:{row.group}" if row.group else ""
            row.labels = {"label": target}
            row.extra = {name: row.extra.get(name) for name in columns} | {SOURCE_COLUMN: dataset.name}
            yield row


def clashing_ids(inputs: Sequence[PreparedDataset]) -> set[str]:
    """Ids that more than one input has."""
    ids = [{key for split in SPLITS for key in dataset.split(split).data["id"].to_pylist()} for dataset in inputs]
    return {key for key, count in Counter(chain.from_iterable(ids)).items() if count > 1}


if __name__ == "__main__":
    main()
