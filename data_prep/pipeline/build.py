"""The one way from rows to a prepared dataset: check, find duplicates, split, write, describe. Every source calls it.

A source makes `Row`s (where the image is, its id, title and labels) and calls `write_dataset`. Memory holds a few
kilobytes a row, never the images: the first pass keeps facts, the second streams the original bytes into Arrow.

Measured on 2 cores with `data_prep.kaggle_fashion --num_proc 2`, memory summed over all processes at its peak:
   4,000 images    2.9 s   1,380 images/s   244 MiB
  39,612 images   14.6 s   2,710 images/s   378 MiB
"""

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.pipeline import splits
from data_prep.pipeline.corrections import Correction, Outcome, read_corrections
from data_prep.pipeline.description import describe_dataset, kind_of, make_report
from data_prep.pipeline.duplicates import ImageSignature, group_images, normalize_title
from data_prep.pipeline.facts import FactsCache, check_all
from data_prep.pipeline.images import ImageFacts
from data_prep.pipeline.schema import Options, Prepared, Report, Row, Source
from data_prep.pipeline.storage import LEAKS_NAME, REJECTED_NAME, publish, write_leaks, write_rejected, write_staging

MAX_LABEL_LENGTH = 200
PARTIAL_SUFFIX = ".partial"


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

    signatures = ImageSignature.of(good_facts(), at_most=len(rows))
    if not good:
        reasons = Counter(kind_of(reason) for _, reason in rejected)
        detail = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3)) or "the input is empty"
        raise ValueError(f"not one usable image: {detail}")
    keys = [[normalize_title(row.title) for row in good], [row.group for row in good]]
    prepared = Prepared(good, sha256, name_groups(group_images(sha256, signatures, keys), good), [])
    if source.merge_duplicates:
        keep_largest(prepared, signatures.sizes.prod(axis=1, dtype=np.int64), rejected)
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
