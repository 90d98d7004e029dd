"""Write a copy of a prepared dataset whose training split is balanced; validation and test stay as they are.

    python -m data_prep.balance data/kaggle_fashion --label articleType --strategy oversample --target 200 --describe
    python -m data_prep.balance data/kaggle_fashion --label articleType --strategy augment --target 200 --cap 1000

Strategies: `none` copies the training split, `cap` keeps at most --cap images a class, `oversample` repeats images of
small classes until each class has --target (default: as many as the largest), `augment` does the same with rotated,
flipped and scaled copies, marked in the boolean column `augmented`. --cap also works with oversample and augment.
A copy has the id ORIGINAL+NUMBER and the group of its original, so that cross-validation keeps them together.
--describe only prints what would be done. Weights and samplers, which change no data, belong to train.py.

The second command makes 17,503 changed copies and writes 48,515 images in 34 s on 2 cores.
"""

import argparse
import csv
import hashlib
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from data_prep.pipeline.augmented_copies import CopyStore, CopyTask, StoredCopy, make_copies
from data_prep.pipeline.build import PARTIAL_SUFFIX, apply_corrections, check_output, keep_only
from data_prep.pipeline.card import read_card, table, write_card
from data_prep.pipeline.command import add_common_arguments, clear_errors, options_from, print_summary
from data_prep.pipeline.corrections import Outcome, read_corrections
from data_prep.pipeline.description import class_section, count_section, group_section, make_report
from data_prep.pipeline.images import open_split, split_key
from data_prep.pipeline.schema import Options, Prepared, Report, Source
from data_prep.pipeline.storage import LEAKS_NAME, REJECTED_NAME, publish, read_rows, write_rejected, write_staging

STRATEGIES = ("none", "oversample", "cap", "augment")
RAISING = ("oversample", "augment")
AUGMENTED = "augmented"
OWN_COLUMNS = ("image", "id", "title", "group")
GIGABYTE = 1e9


@dataclass(slots=True)
class Origin:
    """The dataset that is balanced. names: all class names of each label column. rejected: what it left out."""

    folder: Path
    card: Mapping
    source: Source
    names: dict[str, list[str]]
    rejected: list[tuple[str, str]]


@dataclass(slots=True)
class Plan:
    """How to balance the column `label`. before, after: training images of each class."""

    strategy: str
    label: str
    before: dict[str, int]
    after: dict[str, int]


def main(argv: list[str] | None = None) -> None:
    """Check the command line, plan, then describe the plan or carry it out."""
    parser = make_parser()
    args = parser.parse_args(argv)
    with clear_errors(parser):
        dataset = args.dataset if args.dataset.name else args.dataset.resolve()
        args.output = args.output or dataset.with_name(f"{dataset.name}-{args.strategy}")
        options = options_from(args, "data_prep.balance", argv)
        if not args.describe:
            check_output(options)
        origin = open_origin(dataset, args.label)
        check_limits(args.strategy, args.target, args.cap)
        prepared, outcome = load_rows(origin, options)
        plan = make_plan(prepared, origin, args)
        if args.describe:
            print("\n".join(describe_plan(plan)))
        else:
            check_disk(origin.folder, plan, options.output)
            print_summary(write_balanced(origin, prepared, outcome, plan, options))


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.balance", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_common_arguments(parser, "")
    parser.set_defaults(output=None)
    parser.add_argument("dataset", type=Path, metavar="FOLDER", help="prepared dataset")
    parser.add_argument("--label", default="", metavar="COLUMN", help="label column; default: the card's first")
    parser.add_argument("--strategy", choices=STRATEGIES, required=True, help="see above")
    parser.add_argument("--target", type=int, metavar="N", help="images of each class at least (oversample, augment)")
    parser.add_argument("--cap", type=int, metavar="N", help="images of each class at most")
    parser.add_argument("--describe", action="store_true", help="print the plan, write nothing")
    return parser


def check_limits(strategy: str, target: int | None, cap: int | None) -> None:
    """Raises ValueError for limits that make no sense."""
    for name, value in (("--target", target), ("--cap", cap)):
        if value is not None and value < 1:
            raise ValueError(f"{name} {value} must be at least 1")
    if strategy == "cap" and cap is None:
        raise ValueError(
            "--strategy cap needs --cap N; --describe with --strategy none shows how large the classes are"
        )
    if target is not None and strategy not in RAISING:
        raise ValueError(f"--target is for {' and '.join(RAISING)}; --strategy {strategy} adds no images")
    if cap is not None and strategy == "none":
        raise ValueError("--strategy none changes nothing; use --strategy cap with --cap")
    if target is not None and cap is not None and target > cap:
        raise ValueError(f"--target {target} is more than --cap {cap}; no class can have both")


# --- reading ---------------------------------------------------------------------------------------------------------


def open_origin(folder: Path, label: str) -> Origin:
    """The dataset and its columns. Raises ValueError for a folder that is no prepared dataset, or an unknown column."""
    card = read_card(folder)
    columns = list(card["label_columns"])
    if label and label not in columns:
        raise ValueError(f"{folder} has no label column {label!r}; it has {', '.join(columns)}")
    features = open_split(str(folder), "train", split_key(str(folder), "train")).features
    names = {column: list(features[column].names) for column in columns}
    source = Source(
        name=str(card.get("pretty_name", folder.name)),
        origin=str(card.get("source", "")),
        license=str(card.get("license", "")),
        label_columns=columns,
        stratify_by=label or columns[0],
        features={name: feature for name, feature in features.items() if name not in (*OWN_COLUMNS, *columns)},
    )
    with open(folder / REJECTED_NAME, newline="", encoding="utf-8") as stream:
        rejected = [(line["file"], line["reason"]) for line in csv.DictReader(stream)]
    return Origin(folder, card, source, names, rejected)


def load_rows(origin: Origin, options: Options) -> tuple[Prepared, Outcome | None]:
    """All rows with their groups and splits as they are, after the corrections; the images are not read yet."""
    rows = list(read_rows(origin.folder))
    corrections = read_corrections(options.corrections, origin.source.label_columns) if options.corrections else []
    prepared = Prepared(rows, [], [row.group for row in rows], [row.split for row in rows])
    outcome = apply_corrections(prepared, corrections, origin.names, options.correct_test, origin.rejected)
    return prepared, outcome if options.corrections else None


# --- planning --------------------------------------------------------------------------------------------------------


def make_plan(prepared: Prepared, origin: Origin, args: argparse.Namespace) -> Plan:
    """How many images each class will have."""
    label = origin.source.stratify_by
    counts = Counter(
        row.labels[label] for row, split in zip(prepared.rows, prepared.splits, strict=True) if split == "train"
    )
    before = {name: counts[name] for name in origin.names[label]}
    capped = {name: min(count, args.cap or count) for name, count in before.items()}
    if args.strategy not in RAISING:
        return Plan(args.strategy, label, before, capped)
    target = args.target or max(capped.values())
    return Plan(args.strategy, label, before, {name: max(n, target) if n else 0 for name, n in capped.items()})


def describe_plan(plan: Plan) -> list[str]:
    """Totals and the counts of each class."""
    before, after = sum(plan.before.values()), sum(plan.after.values())
    lines = [f"{plan.strategy}: train {before:,} -> {after:,} images, validation and test unchanged"]
    changed = sum(plan.before[name] != plan.after[name] for name in plan.before)
    used = [count for count in plan.after.values() if count]
    if used:
        lines.append(
            f"{changed} of {len(plan.before)} classes of {plan.label} change; "
            f"largest {max(used):,}, smallest {min(used):,}"
        )
    empty = [name for name in plan.before if not plan.before[name]]
    if empty:
        lines.append(f"No strategy can help classes without a training image: {', '.join(empty)}")
    width = max(map(len, plan.before))
    lines += ["", f"{plan.label:{width}}   before     after"]
    for name in sorted(plan.before, key=lambda name: (-plan.before[name], name)):
        lines.append(f"{name:{width}} {plan.before[name]:8,}  {plan.after[name]:8,}")
    return lines


def check_disk(folder: Path, plan: Plan, output: Path) -> None:
    """Raises ValueError when the balanced dataset will clearly not fit."""
    size = sum(path.stat().st_size for path in folder.glob("train/*.arrow"))
    growth = sum(plan.after.values()) / max(1, sum(plan.before.values()))
    needed = size * growth * (2 if plan.strategy == "augment" else 1)  # changed copies wait on the disk
    place = next(parent for parent in output.resolve().parents if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ValueError(
            f"{sum(plan.after.values()):,} training images need about {needed / GIGABYTE:.1f} GB while they are "
            f"written, {free / GIGABYTE:.1f} are free; lower --target or add --cap"
        )


# --- choosing rows ---------------------------------------------------------------------------------------------------


def drop_capped(prepared: Prepared, origin: Origin, plan: Plan, seed: int) -> None:
    """Drop the rows above the cap; they go to rejected.csv."""
    members = train_members(prepared, plan.label)
    dropped: set[int] = set()
    for name, indices in members.items():
        wanted = min(plan.before[name], plan.after[name])
        dropped.update(draw_order(prepared, indices, f"{seed}:cap:{name}")[wanted:])
    for index in sorted(dropped):
        row = prepared.rows[index]
        origin.rejected.append(
            (row.file, f"cap: {row.labels[plan.label]} keeps {plan.after[row.labels[plan.label]]} images")
        )
    keep_only(prepared, [index not in dropped for index in range(len(prepared.rows))])


def train_members(prepared: Prepared, label: str) -> dict[str, list[int]]:
    """Training rows of each class."""
    members = defaultdict(list)
    for index, (row, split) in enumerate(zip(prepared.rows, prepared.splits, strict=True)):
        if split == "train":
            members[row.labels[label]].append(index)
    return dict(sorted(members.items()))


def draw_order(prepared: Prepared, indices: Sequence[int], seed: str) -> list[int]:
    """The rows in random order, all groups once before any has its second; the order of the input does not matter."""
    order = sorted(indices, key=lambda index: prepared.rows[index].id)
    random.Random(seed).shuffle(order)
    seen: Counter = Counter()
    rank = {}
    for index in order:
        rank[index] = seen[prepared.groups[index]]
        seen[prepared.groups[index]] += 1
    return sorted(order, key=rank.get)


def draw_copies(prepared: Prepared, plan: Plan, seed: int) -> Iterator[tuple[int, str]]:
    """(row, id) of each copy to add: every image of a class once before any is taken again."""
    taken = {row.id for row in prepared.rows}
    for name, indices in train_members(prepared, plan.label).items():
        order = draw_order(prepared, indices, f"{seed}:copy:{name}")
        numbers: Counter = Counter()
        for count in range(plan.after[name] - len(indices)):
            index = order[count % len(order)]
            numbers[index] += 1
            while f"{prepared.rows[index].id}+{numbers[index]}" in taken:  # the input was balanced before
                numbers[index] += 1
            yield index, f"{prepared.rows[index].id}+{numbers[index]}"


# --- writing ---------------------------------------------------------------------------------------------------------


def write_balanced(origin: Origin, prepared: Prepared, outcome: Outcome | None, plan: Plan, options: Options) -> Report:
    """Write the balanced dataset, which appears under its name only when it is complete."""
    partial = options.output.with_name(f".{options.output.name}{PARTIAL_SUFFIX}")
    partial.mkdir(parents=True, exist_ok=True)
    store = CopyStore.open(partial / "copies.sqlite")
    try:
        drop_capped(prepared, origin, plan, options.seed)
        progress = tqdm(prepared.rows, "reading images", unit="image", disable=None)
        prepared.sha256 = [hashlib.sha256(row.image.read()).digest() for row in progress]
        add_copies(prepared, origin, plan, store, options)
        report = make_report(prepared, origin.source, options, origin.rejected, 0, outcome)
        report.remarks.insert(
            0, f"Balanced from {origin.folder.resolve().name}, fingerprint {origin.card['fingerprint']}."
        )
        staging = write_staging(prepared, origin.source, origin.names, partial, report.fingerprint)
    finally:
        store.close()
    write_rejected(staging / REJECTED_NAME, origin.rejected)
    if (origin.folder / LEAKS_NAME).is_file():
        shutil.copyfile(origin.folder / LEAKS_NAME, staging / LEAKS_NAME)
    write_balance_card(staging, prepared, origin, plan, options, report)
    publish(staging, options)
    shutil.rmtree(partial)
    return report


def add_copies(prepared: Prepared, origin: Origin, plan: Plan, store: CopyStore, options: Options) -> None:
    """Append the copies to the training rows."""
    if plan.strategy == "augment":
        import datasets

        origin.source.features = {**origin.source.features, AUGMENTED: datasets.Value("bool")}
        for row in prepared.rows:
            row.extra.setdefault(AUGMENTED, False)
    copies = list(draw_copies(prepared, plan, options.seed))
    if plan.strategy == "augment":
        tasks = [
            CopyTask(identity, f"{prepared.sha256[index].hex()}|{identity}|{options.seed}", prepared.rows[index].image)
            for index, identity in copies
        ]
        make_copies(tasks, store, options.num_proc)
    for number, (index, identity) in enumerate(copies):
        row, sha256 = replace(prepared.rows[index], id=identity), prepared.sha256[index]
        if plan.strategy == "augment":
            row.image = StoredCopy(store, tasks[number].key)
            row.extra = {**row.extra, AUGMENTED: True}
            sha256 = hashlib.sha256(row.image.read()).digest()
        prepared.rows.append(row)
        prepared.sha256.append(sha256)
        prepared.groups.append(prepared.groups[index])
        prepared.splits.append("train")


def write_balance_card(
    folder: Path, prepared: Prepared, origin: Origin, plan: Plan, options: Options, report: Report
) -> None:
    """The card of the origin, taxonomy included, with the new counts and what was done."""
    facts = {
        **origin.card,
        "fingerprint": report.fingerprint,
        "seed": options.seed,
        "command": options.command,
        "splits": report.counts,
        "balanced_from": origin.card["fingerprint"],
        "balance": {"strategy": plan.strategy, "label": plan.label},
    }
    rows = [(name, plan.before[name], plan.after[name]) for name in plan.before]
    sections = {
        "Counts": count_section(report),
        f"Balance: {plan.strategy}": table([f"{plan.label} in train", "before", "after"], rows),
        "Left out": table(["reason", "images"], report.rejected.items()) if report.rejected else ["Nothing."],
        "Duplicate groups": group_section(report, origin.source.drop_leaks),
        "Remarks": [f"- {remark}" for remark in report.remarks],
        **{f"Classes of {column}": class_section(prepared, column) for column in origin.source.label_columns},
    }
    write_card(folder, facts, sections)


if __name__ == "__main__":
    main()
