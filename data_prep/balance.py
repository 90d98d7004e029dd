"""Write a copy of a prepared dataset whose training split is balanced; validation and test stay as they are.

    python -m data_prep.balance data/kaggle_fashion --label articleType --strategy oversample --target 200 --describe
    python -m data_prep.balance data/kaggle_fashion --label articleType --strategy augment --target 200 --cap 1000

Strategies: `none` copies the training split, `cap` keeps at most --cap images per class, `oversample` repeats images of
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
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from app.errors import UserError
from data_prep.pipeline.augmented_copies import STORE_COLUMNS, CopyTask, StoredCopy, make_copies
from data_prep.pipeline.card import table
from data_prep.pipeline.command import clear_errors, dataset_parser, options_from
from data_prep.pipeline.corrections import apply_corrections, read_corrections
from data_prep.pipeline.dataset_writer import LEAKS_NAME, REJECTED_NAME, write_images, write_rejected
from data_prep.pipeline.empty_splits import say_what_is_empty
from data_prep.pipeline.finished_work import FinishedWork
from data_prep.pipeline.folders import check_output, new_folder
from data_prep.pipeline.prepared import OWN_COLUMNS, PreparedDataset, open_prepared
from data_prep.pipeline.report import describe_dataset, make_report, print_summary
from data_prep.pipeline.schema import Options, Outcome, Prepared, Report, Source

STRATEGIES = ("none", "oversample", "cap", "augment")
RAISING = ("oversample", "augment")
AUGMENTED = "augmented"
COPIES_NAME = "copies.sqlite"
GIGABYTE = 1e9


@dataclass(slots=True, frozen=True)
class Limits:
    """What the classes are brought to: `target` images at least, `cap` at most, None for no such limit."""

    strategy: str
    target: int | None
    cap: int | None


@dataclass(slots=True, frozen=True)
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
        options = options_from(args, parser, argv)
        if not args.describe:
            check_output(options.output, options.overwrite)
        limits = Limits(args.strategy, args.target, args.cap)
        check_limits(limits)
        origin = open_prepared(dataset, args.label)
        say_what_is_empty(dataset)
        prepared, outcome = load_rows(origin, options)
        plan = make_plan(prepared, origin, limits)
        if args.describe:
            print("\n".join(describe_plan(plan)))
        else:
            check_disk(origin.folder, plan, options.output)
            print_summary(write_balanced(origin, prepared, outcome, plan, options))


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = dataset_parser("data_prep.balance", __doc__, None)
    parser.add_argument("dataset", type=Path, metavar="FOLDER", help="prepared dataset")
    parser.add_argument("--label", default="", metavar="COLUMN", help="label column; default: the card's first")
    parser.add_argument("--strategy", choices=STRATEGIES, required=True, help="see above")
    parser.add_argument("--target", type=int, metavar="N", help="images of each class at least (oversample, augment)")
    parser.add_argument("--cap", type=int, metavar="N", help="images of each class at most")
    parser.add_argument("--describe", action="store_true", help="print the plan, write nothing")
    return parser


def check_limits(limits: Limits) -> None:
    """Raises UserError for limits that make no sense."""
    strategy, target, cap = limits.strategy, limits.target, limits.cap
    for name, value in (("--target", target), ("--cap", cap)):
        if value is not None and value < 1:
            raise UserError(f"{name} {value} must be at least 1")
    if strategy == "cap" and cap is None:
        raise UserError("--strategy cap needs --cap N; --describe with --strategy none shows how large the classes are")
    if target is not None and strategy not in RAISING:
        raise UserError(f"--target is for {' and '.join(RAISING)}; --strategy {strategy} adds no images")
    if cap is not None and strategy == "none":
        raise UserError("--strategy none changes nothing; use --strategy cap with --cap")
    if target is not None and cap is not None and target > cap:
        raise UserError(f"--target {target} is more than --cap {cap}; no class can have both")


# --- reading ---------------------------------------------------------------------------------------------------------


def source_of(origin: PreparedDataset, augments: bool) -> Source:
    """What the card says about the balanced dataset; a column tells changed copies from originals."""
    from datasets import Value

    columns, features = origin.card["label_columns"], origin.split("train").features
    own = {name: feature for name, feature in features.items() if name not in (*OWN_COLUMNS, *columns)}
    return Source(
        name=str(origin.card.get("pretty_name", origin.name)),
        origin=str(origin.card["source"]),
        license=str(origin.card["license"]),
        label_columns=columns,
        stratify_by=origin.label,
        features={**own, AUGMENTED: Value("bool")} if augments else own,
    )


def load_rows(origin: PreparedDataset, options: Options) -> tuple[Prepared, Outcome]:
    """All rows with their groups and splits as they are, after the corrections; the images are not read yet."""
    columns = origin.card["label_columns"]
    corrections = read_corrections(options.corrections, columns)
    rows = list(origin.rows())
    with open(origin.folder / REJECTED_NAME, newline="", encoding="utf-8") as stream:
        rejected = [(line["file"], line["reason"]) for line in csv.DictReader(stream)]
    prepared = Prepared(rows, [], [row.group for row in rows], [row.split for row in rows], rejected)
    return prepared, apply_corrections(prepared, corrections, names_of(origin), options.correct_test)


def names_of(origin: PreparedDataset) -> dict[str, list[str]]:
    """All classes of each label column."""
    return {column: origin.class_names(column) for column in origin.card["label_columns"]}


# --- planning --------------------------------------------------------------------------------------------------------


def make_plan(prepared: Prepared, origin: PreparedDataset, limits: Limits) -> Plan:
    """How many images each class will have."""
    members = train_members(prepared, origin.label)
    before = {name: len(members.get(name, ())) for name in origin.class_names()}
    after = {name: min(count, limits.cap or count) for name, count in before.items()}
    if limits.strategy in RAISING:
        target = limits.target or max(after.values())
        after = {name: max(count, target) if count else 0 for name, count in after.items()}
    return Plan(limits.strategy, origin.label, before, after)


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
    """Raises UserError when the balanced dataset will clearly not fit."""
    size = sum(path.stat().st_size for path in folder.glob("train/*.arrow"))
    growth = sum(plan.after.values()) / max(1, sum(plan.before.values()))
    needed = size * growth * (2 if plan.strategy == "augment" else 1)  # changed copies wait on the disk
    place = next(parent for parent in output.resolve().parents if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UserError(
            f"{sum(plan.after.values()):,} training images need about {needed / GIGABYTE:.1f} GB while they are "
            f"written, {free / GIGABYTE:.1f} are free; lower --target or add --cap"
        )


# --- choosing rows ---------------------------------------------------------------------------------------------------


def drop_capped(prepared: Prepared, plan: Plan, seed: int) -> None:
    """Drop the rows above the cap; they go to rejected.csv."""
    dropped: dict[int, str] = {}
    for name, indices in train_members(prepared, plan.label).items():
        kept = min(plan.before[name], plan.after[name])
        order = draw_order(prepared, indices, f"{seed}:cap:{name}")
        dropped |= dict.fromkeys(order[kept:], f"cap: {name} keeps {plan.after[name]} images")
    prepared.leave_out(dropped)


def train_members(prepared: Prepared, label: str) -> dict[str, list[int]]:
    """Training rows of each class."""
    members = defaultdict(list)
    for index in prepared.positions("train"):
        members[prepared.rows[index].labels[label]].append(index)
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


def write_balanced(
    origin: PreparedDataset, prepared: Prepared, outcome: Outcome, plan: Plan, options: Options
) -> Report:
    """Write the balanced dataset, which appears under its name only when it is complete."""
    source = source_of(origin, augments=plan.strategy == "augment")
    with (
        new_folder(options.output, resumable=True) as folder,
        closing(FinishedWork(folder.parent / COPIES_NAME, STORE_COLUMNS)) as store,
    ):
        drop_capped(prepared, plan, options.seed)
        progress = tqdm(prepared.rows, "reading images", unit="image", disable=None)
        prepared.sha256 = [hashlib.sha256(row.image.read()).digest() for row in progress]
        add_copies(prepared, plan, store, options)
        report = make_report(prepared, source, options, 0, outcome)
        fingerprint = origin.card["fingerprint"]
        report.remarks.insert(0, f"Balanced from {origin.name}, fingerprint {fingerprint}.")
        write_images(folder, prepared, source, names_of(origin), report.fingerprint)
        write_rejected(folder, prepared.rejected)
        if (origin.folder / LEAKS_NAME).is_file():
            shutil.copyfile(origin.folder / LEAKS_NAME, folder / LEAKS_NAME)
        balance = {"balanced_from": fingerprint, "balance": {"strategy": plan.strategy, "label": plan.label}}
        rows = [(name, plan.before[name], plan.after[name]) for name in plan.before]
        section = {f"Balance: {plan.strategy}": table([f"{plan.label} in train", "before", "after"], rows)}
        describe_dataset(folder, prepared, source, options, report, {**origin.card, **balance}, section)
    return report


def add_copies(prepared: Prepared, plan: Plan, store: FinishedWork, options: Options) -> None:
    """Append the copies to the training rows."""
    copies = list(draw_copies(prepared, plan, options.seed))
    if plan.strategy == "augment":
        for row in prepared.rows:
            row.extra.setdefault(AUGMENTED, False)
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


if __name__ == "__main__":
    main()
