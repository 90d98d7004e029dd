"""The one way from rows to a prepared dataset: check, find duplicates, split, write, describe. Every source calls it.

A source makes `Row`s (where the image is, its id, title and labels) and calls `write_dataset`. Memory holds a few
kilobytes a row, never the images: the first pass keeps facts, the second streams the original bytes into Arrow.

Measured on 2 cores with `data_prep.kaggle_fashion --num_proc 2`, memory summed over all processes at its peak:
   4,000 images    2.9 s   1,380 images/s   244 MiB
  39,612 images   14.6 s   2,710 images/s   378 MiB
"""

import argparse
import csv
import errno
import hashlib
import json
import os
import shlex
import shutil
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep import splits
from data_prep.card import CARD_NAME, build_taxonomy, fingerprint, read_card, table, write_card
from data_prep.corrections import Correction, Outcome, read_corrections
from data_prep.duplicates import Looks, group_images, normalise_title
from data_prep.facts import FactsCache, check_all
from data_prep.images import DatasetImage, ImageFacts, ImageReference, open_split, split_key

MAX_LABEL_LENGTH = 200
REJECTED_NAME = "rejected.csv"
LEAKS_NAME = "leaks.csv"
ROWS_A_WRITE = 500  # rows held in memory by the Arrow writer
BYTES_A_WRITE = 32_000_000
NAMES_SHOWN = 10  # in a remark
REMARKS_SHOWN = 6  # on the screen; the card has them all
PARTIAL_SUFFIX = ".partial"


@dataclass(slots=True)
class Row:
    """One image that a source offers.

    file: its name in the input, as rejected.csv and the image's path show it. labels: one string a label column.
    split: train, validation or test where the source has fixed splits (empty then means train). group: rows with an
    equal, non-empty key stay together, whatever the pictures look like. extra: values of the source's own columns.
    reject: the source already knows why this row must be left out; `kind: detail`, counted by kind.
    """

    file: str
    image: ImageReference | None = None
    id: str = ""
    title: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    split: str = ""
    group: str = ""
    extra: dict[str, object] = field(default_factory=dict)
    reject: str = ""


@dataclass(slots=True)
class Options:
    """What every data_prep command takes from its user."""

    output: Path
    seed: int = 42
    num_proc: int = 1
    corrections: Path | None = None
    correct_test: bool = False
    overwrite: bool = False
    command: str = ""


@dataclass(slots=True)
class Source:
    """What the card says about the origin, and how the rows are to be read.

    label_columns: the first is the default label of training. stratify_by: the column whose proportions the splits
    keep. levels: label columns from the top of a taxonomy to its leaf. features: `datasets` features of the columns in
    `Row.extra`. drop_leaks: leave out rows of given splits whose duplicates are in a stricter split (test before
    validation before train); False keeps them and lists them in leaks.csv. cut_missing_splits: take a validation or
    test split that the given ones lack from train; False leaves it empty. merge_duplicates: keep only the largest image
    of each duplicate group. notes: remarks for the card.
    """

    name: str
    origin: str
    licence: str
    label_columns: Sequence[str] = ("label",)
    stratify_by: str = "label"
    levels: Sequence[str] = ()
    features: Mapping[str, object] = field(default_factory=dict)
    drop_leaks: bool = True
    cut_missing_splits: bool = True
    merge_duplicates: bool = False
    notes: Sequence[str] = ()


@dataclass(slots=True)
class Prepared:
    """Accepted rows with what was found out about them; all lists are parallel."""

    rows: list[Row]
    sha256: list[bytes]
    groups: list[str]
    splits: list[str]


@dataclass(slots=True)
class Report:
    """What `write_dataset` did, for the summary, the card and the tests."""

    output: Path
    counts: dict[str, int]
    classes: dict[str, int]  # label column -> number of classes
    rejected: dict[str, int]  # reason -> number
    groups: Counter  # size -> number of groups
    largest_group: list[str]  # files
    leaks: int  # rows whose duplicates are in another, given split
    fingerprint: str
    corrections: Outcome | None
    remarks: list[str]


# --- the command line ------------------------------------------------------------------------------------------------


def add_common_arguments(parser: argparse.ArgumentParser, default_output: str) -> None:
    """The options that every data_prep command has."""
    parser.add_argument("--output", type=Path, default=Path(default_output), metavar="DIR", help="dataset to write")
    parser.add_argument("--seed", type=int, default=42, help="of the splits")
    parser.add_argument("--num_proc", type=int, default=available_cores(), metavar="N", help="processes for checking")
    parser.add_argument("--corrections", type=Path, metavar="FILE", help="CSV: id,action,column,label,reason")
    parser.add_argument("--correct_test", action="store_true", help="apply the corrections to the test split too")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")


def options_from(args: argparse.Namespace, module: str, argv: Sequence[str] | None) -> Options:
    """Options of a parsed command line; `module` is the name after `python -m`."""
    if args.num_proc < 1:
        raise ValueError(f"--num_proc {args.num_proc} must be at least 1")
    command = shlex.join(["python", "-m", module, *(sys.argv[1:] if argv is None else argv)])
    return Options(
        output=args.output,
        seed=args.seed,
        num_proc=args.num_proc,
        corrections=args.corrections,
        correct_test=args.correct_test,
        overwrite=args.overwrite,
        command=command,
    )


@contextmanager
def clear_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Turn a user's mistake, a full disk or Ctrl-C into one line and an exit code (2, 1, 130)."""
    try:
        yield
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except (OSError, sqlite3.Error) as error:
        parser.exit(1, f"{parser.prog}: error: {explain_failure(error)}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\n{parser.prog}: stopped; the same command goes on where it was\n")


def explain_failure(error: OSError | sqlite3.Error) -> str:
    """What happened and what to do."""
    if isinstance(error, sqlite3.Error):
        return f"the cache of finished checks failed ({error}); is the disk full? Free some space and run again"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space and run the same command again (finished checks are kept)"
    return f"{error.strerror or error}{': ' + str(error.filename) if error.filename else ''}"


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- the pipeline ----------------------------------------------------------------------------------------------------


def write_dataset(rows: Iterable[Row], source: Source, options: Options) -> Report:
    """Write the dataset that `rows` describe to `options.output`, which appears only when it is complete.

    Raises ValueError for an existing output, corrections that make no sense, or when no row can be used.
    """
    check_output(options)
    corrections = read_corrections(options.corrections, source.label_columns) if options.corrections else []
    partial = options.output.with_name(f".{options.output.name}{PARTIAL_SUFFIX}")
    partial.mkdir(parents=True, exist_ok=True)
    rejected: list[tuple[str, str]] = []
    rows = accept_rows(rows, source, rejected)
    cache = FactsCache(partial / "facts.sqlite")
    try:
        prepared = find_groups(rows, source, options, cache, rejected)
        leaks = assign_splits(prepared, source, options.seed, rejected)
        names = class_names(prepared, source)
        outcome = apply_corrections(prepared, corrections, names, options.correct_test, rejected)
        report = make_report(prepared, source, options, rejected, leaks, outcome if options.corrections else None)
        staging = write_staging(prepared, source, names, partial, report.fingerprint)
        write_rejected(staging / REJECTED_NAME, rejected)
        if leaks and not source.drop_leaks:
            write_leaks(staging / LEAKS_NAME, prepared)
        describe_dataset(staging, prepared, source, options, report)
    finally:
        cache.close()
    publish(staging, options)
    shutil.rmtree(partial)
    return report


def check_output(options: Options) -> None:
    """Refuse to write over something, before any work is done."""
    if not options.output.name:
        raise ValueError(f"--output {options.output} is not the name of a folder to write")
    if options.output.exists() and not options.overwrite:
        raise ValueError(f"{options.output} exists; choose another --output or add --overwrite to replace it")
    if options.output.exists() and not is_replaceable(options.output):
        raise ValueError(f"{options.output} is not a prepared dataset, so --overwrite will not replace it")


def is_replaceable(path: Path) -> bool:
    """True for a prepared dataset and for an empty folder."""
    return path.is_dir() and ((path / "dataset_dict.json").is_file() or not any(path.iterdir()))


def accept_rows(rows: Iterable[Row], source: Source, rejected: list[tuple[str, str]]) -> list[Row]:
    """The rows that are worth a look; the others go to `rejected`."""
    accepted, seen = [], set()
    for row in rows:
        reason = row.reject or row_problem(row, source, seen)
        if reason:
            rejected.append((row.file, reason))
            continue
        seen.add(row.id)
        row.labels = {column: sys.intern(label) for column, label in row.labels.items()}
        accepted.append(row)
    return accepted


def row_problem(row: Row, source: Source, seen: set[str]) -> str:
    """Why a row cannot be used, or an empty string."""
    if not row.id:
        return "no id"
    if row.id in seen:
        return f"id used twice: {row.id!r}, the first row is kept"
    if row.image is None:
        return "no image"
    if row.split and row.split not in splits.SPLITS:
        return f"unknown split: {row.split!r}, allowed: {', '.join(splits.SPLITS)}"
    for column in source.label_columns:
        problem = label_problem(row.labels.get(column, ""))
        if problem:
            return f"{problem} in column {column}"
    return ""


def label_problem(label: str) -> str:
    """Why a label is refused, or an empty string. Labels become file names, headings and table cells."""
    if not label.strip():
        return "empty label:"
    if "/" in label or "\\" in label:
        return f"label with a path separator: {label!r}"
    if not label.isprintable():
        return f"label with a control character: {label!r}"
    if len(label) > MAX_LABEL_LENGTH:
        return f"label too long: {len(label)} characters, at most {MAX_LABEL_LENGTH},"
    return ""


def find_groups(
    rows: list[Row], source: Source, options: Options, cache: FactsCache, rejected: list[tuple[str, str]]
) -> Prepared:
    """Check every image and name the duplicate group of each good one."""
    good, sha256 = [], []

    def good_facts() -> Iterator[ImageFacts]:
        for row, facts in zip(rows, check_all([row.image for row in rows], options.num_proc, cache), strict=True):
            if facts.reason:
                rejected.append((row.file, facts.reason))
            else:
                good.append(row)
                sha256.append(facts.sha256)
                yield facts

    looks = Looks.of(good_facts(), at_most=len(rows))
    if not good:
        reasons = Counter(kind_of(reason) for _, reason in rejected)
        detail = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3)) or "the input is empty"
        raise ValueError(f"not one usable image: {detail}")
    keys = [[normalise_title(row.title) for row in good], [row.group for row in good]]
    prepared = Prepared(good, sha256, name_groups(group_images(sha256, looks, keys), good), [])
    if source.merge_duplicates:
        keep_largest(prepared, looks.sizes.prod(axis=1, dtype=np.int64), rejected)
    return prepared


def keep_largest(prepared: Prepared, areas: np.ndarray, rejected: list[tuple[str, str]]) -> None:
    """Keep one image of each group, the one with the most pixels (the first in the alphabet among equals)."""
    best: dict[str, int] = {}
    for index, group in enumerate(prepared.groups):
        rival = best.setdefault(group, index)
        if (-areas[index], prepared.rows[index].id) < (-areas[rival], prepared.rows[rival].id):
            best[group] = index
    keep = [best[group] == index for index, group in enumerate(prepared.groups)]
    for row, group, wanted in zip(prepared.rows, prepared.groups, keep, strict=True):
        if not wanted:
            rejected.append((row.file, f"duplicate: {prepared.rows[best[group]].file} is kept"))
    keep_only(prepared, keep)


def name_groups(numbers: np.ndarray, rows: Sequence[Row]) -> list[str]:
    """Each group is named after the smallest id in it, which no order of processing can change."""
    names: dict[int, str] = {}
    for number, row in zip(numbers.tolist(), rows, strict=True):
        names[number] = min(names.get(number, row.id), row.id)
    return [names[number] for number in numbers.tolist()]


def assign_splits(prepared: Prepared, source: Source, seed: int, rejected: list[tuple[str, str]]) -> int:
    """Fill `prepared.splits`; returns the number of leaks between given splits (left out when `drop_leaks`)."""
    classes = [row.labels[source.stratify_by] for row in prepared.rows]
    given = [row.split for row in prepared.rows]
    if not any(given):
        assigned = splits.split_groups(prepared.groups, classes, seed)
        prepared.splits = [assigned[group] for group in prepared.groups]
        return 0
    given = [split or "train" for split in given]
    prepared.splits, leaking = splits.keep_given_splits(
        prepared.groups, classes, given, seed, source.cut_missing_splits
    )
    if source.drop_leaks:
        for row, split, leaks in zip(prepared.rows, prepared.splits, leaking, strict=True):
            if leaks:
                rejected.append((row.file, f"duplicate in a stricter given split: {split} image left out"))
        keep_only(prepared, [not leaks for leaks in leaking])
    return sum(leaking)


def keep_only(prepared: Prepared, keep: Sequence[bool]) -> None:
    """Drop the rows whose flag is False."""
    for name in ("rows", "sha256", "groups", "splits"):
        values = getattr(prepared, name)
        if values:  # there are no splits yet while duplicates are merged
            setattr(prepared, name, [value for value, wanted in zip(values, keep, strict=True) if wanted])


def class_names(prepared: Prepared, source: Source) -> dict[str, list[str]]:
    """Sorted class names of each label column."""
    return {column: sorted({row.labels[column] for row in prepared.rows}) for column in source.label_columns}


def apply_corrections(
    prepared: Prepared,
    corrections: Sequence[Correction],
    names: Mapping[str, Sequence[str]],
    correct_test: bool,
    rejected: list[tuple[str, str]],
) -> Outcome:
    """Quarantine and relabel rows. Splits were made before, so a correction never moves another image."""
    outcome = Outcome()
    position = {row.id: index for index, row in enumerate(prepared.rows)}
    keep = [True] * len(prepared.rows)
    for correction in corrections:
        index = position.get(correction.id)
        if index is None:
            outcome.not_found.append(correction.id)
        elif prepared.splits[index] == "test" and not correct_test:
            outcome.in_test += 1
        elif correction.action == "quarantine":
            outcome.applied += keep[index]
            outcome.already_right += not keep[index]
            if keep[index]:
                rejected.append((prepared.rows[index].file, f"quarantine: {correction.reason or 'by corrections'}"))
            keep[index] = False
        else:
            relabel(prepared.rows[index], correction, names, outcome)
    keep_only(prepared, keep)
    return outcome


def relabel(row: Row, correction: Correction, names: Mapping[str, Sequence[str]], outcome: Outcome) -> None:
    """Give a row another label of the same column."""
    if correction.label not in names[correction.column]:
        raise ValueError(
            f"correction of {correction.id}: {correction.label!r} is no class of {correction.column}; "
            f"allowed: {', '.join(names[correction.column])}"
        )
    changed = row.labels[correction.column] != correction.label
    outcome.applied += changed
    outcome.already_right += not changed
    row.labels = {**row.labels, correction.column: correction.label}


# --- writing ---------------------------------------------------------------------------------------------------------


def write_staging(
    prepared: Prepared, source: Source, names: Mapping[str, Sequence[str]], partial: Path, version: str
) -> Path:
    """Stream the images into a DatasetDict inside the partial folder; `version` keeps caches of maps apart."""
    import datasets  # 1.5 s that the worker processes, which import this module too, should not pay

    datasets.disable_progress_bars()
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "id": datasets.Value("string"),
            "title": datasets.Value("string"),
            "group": datasets.Value("string"),
            **{column: datasets.ClassLabel(names=list(names[column])) for column in source.label_columns},
            **source.features,
        }
    )
    staging = partial / "dataset"
    shutil.rmtree(staging, ignore_errors=True)
    # save_to_disk copies what is already on the disk, mapped into memory; so it saves an empty dataset, and the images
    # are streamed straight into its files.
    nothing = {name: [] for name in features}
    empty = {split: datasets.Dataset.from_dict(nothing, features=features, split=split) for split in splits.SPLITS}
    datasets.DatasetDict(empty).save_to_disk(staging, num_shards=dict.fromkeys(empty, 1))
    with tqdm(total=len(prepared.rows), desc="writing images", unit="image", disable=None) as progress:
        for split in splits.SPLITS:
            state_path = staging / split / "state.json"
            state = json.loads(state_path.read_text())
            stream_split(prepared, split, features, staging / split / state["_data_files"][0]["filename"], progress)
            state["_fingerprint"] = hashlib.sha256(f"{version} {split}".encode()).hexdigest()[:16]
            state_path.write_text(json.dumps(state, indent=2))
    return staging


def stream_split(prepared: Prepared, split: str, features, path: Path, progress: tqdm) -> None:
    """Write the rows of one split to an Arrow stream, a few at a time."""
    from datasets.arrow_writer import ArrowWriter

    with ArrowWriter(features=features, path=str(path), writer_batch_size=ROWS_A_WRITE) as writer:
        waiting = 0
        for row, sha256, group, mine in zip(
            prepared.rows, prepared.sha256, prepared.groups, prepared.splits, strict=True
        ):
            if mine != split:
                continue
            data = read_again(row, sha256)
            image = {"bytes": data, "path": Path(row.file).name}
            writer.write({"image": image, "id": row.id, "title": row.title, "group": group, **row.labels, **row.extra})
            waiting += len(data)
            if waiting > BYTES_A_WRITE:
                writer.write_examples_on_file()
                waiting = 0
            progress.update()
        writer.finalize()


def read_again(row: Row, sha256: bytes) -> bytes:
    """The bytes of the first look. Raises ValueError when they have changed since."""
    data = row.image.read()
    if hashlib.sha256(data).digest() != sha256:
        raise ValueError(f"{row.file} changed while the dataset was prepared; run the command again")
    return data


def write_rejected(path: Path, rejected: Sequence[tuple[str, str]]) -> None:
    """What was left out, and why."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "reason"])
        writer.writerows(sorted(rejected))


def write_leaks(path: Path, prepared: Prepared) -> None:
    """The images of every group that the given splits tear apart, group by group."""
    spread = defaultdict(set)
    for group, split in zip(prepared.groups, prepared.splits, strict=True):
        spread[group].add(split)
    lines = zip(prepared.groups, prepared.splits, prepared.rows, strict=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["group", "split", "file"])
        writer.writerows(sorted((group, split, row.file) for group, split, row in lines if len(spread[group]) > 1))


def publish(staging: Path, options: Options) -> None:
    """Move the finished folder to its final name in one step."""
    if options.output.exists():
        old = options.output.with_name(f".{options.output.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(options.output, old)
        os.replace(staging, options.output)
        shutil.rmtree(old)
    else:
        os.replace(staging, options.output)


# --- describing ------------------------------------------------------------------------------------------------------


def make_report(
    prepared: Prepared,
    source: Source,
    options: Options,
    rejected: Sequence[tuple[str, str]],
    leaks: int,
    outcome: Outcome | None,
) -> Report:
    """Count everything once."""
    sizes = Counter(prepared.groups)
    largest = max(sorted(sizes), key=lambda name: sizes[name])
    counts = Counter(prepared.splits)
    lines = zip(prepared.rows, prepared.sha256, prepared.splits, strict=True)
    return Report(
        output=options.output,
        counts={split: counts[split] for split in splits.SPLITS},
        classes={column: len({row.labels[column] for row in prepared.rows}) for column in source.label_columns},
        rejected=dict(Counter(kind_of(reason) for _, reason in rejected).most_common()),
        groups=Counter(sizes.values()),
        largest_group=[row.file for row, group in zip(prepared.rows, prepared.groups, strict=True) if group == largest],
        leaks=leaks,
        fingerprint=fingerprint((row.id, sha256, row.labels, split) for row, sha256, split in lines),
        corrections=outcome,
        remarks=[*source.notes, *class_remarks(prepared, source.stratify_by)],
    )


def class_remarks(prepared: Prepared, column: str) -> list[str]:
    """Classes that a split lacks altogether, and names that are probably meant to be one."""
    found = {(split, row.labels[column]) for row, split in zip(prepared.rows, prepared.splits, strict=True)}
    classes, used = {name for _, name in found}, {split for split, _ in found}
    remarks = []
    for split in splits.SPLITS:
        missing = sorted(name for name in classes if (split, name) not in found)
        if missing and split in used:
            more = f" and {len(missing) - NAMES_SHOWN} more" if len(missing) > NAMES_SHOWN else ""
            remarks.append(f"Classes without an image in {split}: {', '.join(missing[:NAMES_SHOWN])}{more}.")
    alike = defaultdict(list)
    for name in sorted(classes):
        alike["".join(character for character in name.casefold() if character.isalnum()) or name].append(name)
    remarks += [f"Classes with nearly the same name: {', '.join(names)}." for names in alike.values() if len(names) > 1]
    if len(classes) == 1:
        remarks.append(f"All images are of one class, {next(iter(classes))}.")
    return remarks


def kind_of(reason: str) -> str:
    """The general part of a reason, so that counts stay readable."""
    return reason.split(":", 1)[0]


def describe_dataset(folder: Path, prepared: Prepared, source: Source, options: Options, report: Report) -> None:
    """Write the card."""
    facts = {
        "pretty_name": source.name,
        "license": source.licence,
        "source": source.origin,
        "fingerprint": report.fingerprint,
        "seed": options.seed,
        "command": options.command,
        "label_columns": list(source.label_columns),
        "splits": report.counts,
    }
    if source.levels:
        taxonomy, remarks = build_taxonomy((row.labels for row in prepared.rows), source.levels)
        report.remarks += remarks
        facts |= {"taxonomy_levels": list(source.levels), "taxonomy": taxonomy}
    sections = {
        "Counts": count_section(report),
        "Left out": table(["reason", "images"], report.rejected.items()) if report.rejected else ["Nothing."],
        "Duplicate groups": group_section(report, source.drop_leaks),
        "Remarks": [f"- {remark}" for remark in report.remarks] or ["None."],
    }
    for column in source.label_columns:
        sections[f"Classes of {column}"] = class_section(prepared, column)
    write_card(folder, facts, sections)


def count_section(report: Report) -> list[str]:
    """Images a split."""
    total = sum(report.counts.values())
    rows = [(split, count, f"{count / total:.1%}") for split, count in report.counts.items()]
    lines = table(["split", "images", "share"], [*rows, ("all", total, "100%")])
    if report.corrections:
        lines += ["", f"Corrections: {report.corrections}."]
    return lines


def group_section(report: Report, drop_leaks: bool) -> list[str]:
    """How many images go together."""
    lines = [
        "Images with equal titles, equal bytes or near-equal pictures form a group, which no draw of splits tears.",
        "",
    ]
    lines += table(["images in the group", "groups"], sorted(report.groups.items()))
    if report.leaks:
        what = "left out" if drop_leaks else f"kept and listed in {LEAKS_NAME}"
        lines += ["", f"The given splits leak: {report.leaks} images have duplicates in a stricter split ({what})."]
    return lines


def class_section(prepared: Prepared, column: str) -> list[str]:
    """Images a class and split."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for row, split in zip(prepared.rows, prepared.splits, strict=True):
        counts[row.labels[column]][split] += 1
    return table(
        [column, *splits.SPLITS], [(name, *(counts[name][split] for split in splits.SPLITS)) for name in sorted(counts)]
    )


def print_summary(report: Report) -> None:
    """A few lines for the person who ran the command."""
    total = sum(report.counts.values())
    print(f"{report.output}: {total:,} images, fingerprint {report.fingerprint}")
    print("  " + ", ".join(f"{split} {count:,} ({count / total:.1%})" for split, count in report.counts.items()))
    print("  classes: " + ", ".join(f"{column} {count}" for column, count in report.classes.items()))
    grouped = sum(size * number for size, number in report.groups.items() if size > 1)
    print(
        f"  {sum(report.groups.values()):,} duplicate groups; {grouped:,} images share theirs, "
        f"the largest has {max(report.groups)}"
    )
    if report.leaks:
        print(f"  {report.leaks:,} images have duplicates in a stricter given split")
    if report.corrections:
        print(f"  corrections: {report.corrections}")
    print(f"  left out: {sum(report.rejected.values()):,} (listed in {report.output / REJECTED_NAME})")
    for reason, count in report.rejected.items():
        print(f"    {count:6,}  {reason}")
    for remark in report.remarks[:REMARKS_SHOWN]:
        print(f"  {remark}")
    if len(report.remarks) > REMARKS_SHOWN:
        print(f"  {len(report.remarks) - REMARKS_SHOWN} more remarks in {report.output / CARD_NAME}")


def read_rows(folder: Path) -> Iterator[Row]:
    """The rows of a prepared dataset, with their splits and groups, for the commands that start from one."""
    label_columns = read_card(folder)["label_columns"]
    for split in splits.SPLITS:
        part = open_split(str(folder), split, split_key(str(folder), split))
        paths = part.select_columns("image").flatten().select_columns("image.path")
        batches = zip(part.remove_columns("image").iter(ROWS_A_WRITE), paths.iter(ROWS_A_WRITE), strict=True)
        features, index = part.features, 0  # asked once: `part.features` copies them all
        for batch, names in batches:
            for file, *cells in zip(names["image.path"], *batch.values(), strict=True):
                values = dict(zip(batch, cells, strict=True))
                labels = {name: label_name(features[name], values.pop(name)) for name in label_columns}
                yield Row(
                    file=file or "",
                    image=DatasetImage(str(folder), split, index),
                    id=values.pop("id") or "",
                    title=values.pop("title") or "",
                    group=values.pop("group") or "",
                    labels=labels,
                    split=split,
                    extra=values,
                )
                index += 1


def label_name(feature, value: int | str | None) -> str:
    """The name of a label, whether the column holds numbers or names; empty for an unknown one."""
    if value is None or value == -1:
        return ""
    return feature.int2str(value) if hasattr(feature, "int2str") else str(value)
