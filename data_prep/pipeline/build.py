"""The one way from rows to a prepared dataset: check, find duplicates, split, write, describe. Every source calls it.

A source makes `Row`s (where the image is, its id, title and labels) and calls `write_dataset`. Memory holds a few
kilobytes per row, never the images: the first pass keeps facts, the second streams the original bytes into Arrow.

Measured on 2 cores with `data_prep.kaggle_fashion --num_proc 2`, memory summed over all processes at its peak:
   4,000 images    2.9 s   1,380 images/s   244 MiB
  39,612 images   14.6 s   2,710 images/s   378 MiB
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np

from app.errors import UserError
from data_prep.pipeline import splits
from data_prep.pipeline.corrections import apply_corrections, read_corrections
from data_prep.pipeline.dataset_writer import write_images, write_leaks, write_rejected
from data_prep.pipeline.duplicates import ImageSignature, group_images, normalize_title
from data_prep.pipeline.facts import FactsCache, check_all
from data_prep.pipeline.folders import check_output, new_folder
from data_prep.pipeline.images import ImageFacts
from data_prep.pipeline.report import describe_dataset, kind_of, make_report
from data_prep.pipeline.schema import Options, Prepared, Report, Row, Source

MAX_LABEL_LENGTH = 200
FACTS_NAME = "facts.sqlite"


def write_dataset(rows: Iterable[Row], source: Source, options: Options) -> Report:
    """Write the dataset that `rows` describe to `options.output`, which appears only when it is complete.

    Raises UserError for an existing output, corrections that make no sense, or when no row can be used.
    """
    check_output(options.output, options.overwrite)
    corrections = read_corrections(options.corrections, source.label_columns)
    with new_folder(options.output, resumable=True) as folder, closing(FactsCache(folder.parent / FACTS_NAME)) as cache:
        prepared = find_groups(rows, source, options.num_proc, cache)
        leaks = assign_splits(prepared, source, options.seed)
        labels = {column: {row.labels[column] for row in prepared.rows} for column in source.label_columns}
        names = {column: sorted(values - {""}) for column, values in labels.items()}
        outcome = apply_corrections(prepared, corrections, names, options.correct_test)
        report = make_report(prepared, source, options, leaks, outcome)
        write_images(folder, prepared, source, names, report.fingerprint)
        write_rejected(folder, prepared.rejected)
        if leaks and not source.drop_leaks:
            write_leaks(folder, prepared)
        describe_dataset(folder, prepared, source, options, report)
    return report


def accept_rows(rows: Iterable[Row], source: Source) -> tuple[list[Row], list[tuple[str, str]]]:
    """The rows that are worth a look, and (file, reason) of the others."""
    accepted, rejected, seen = [], [], set()
    for row in rows:
        reason = row.reject or row_problem(row, source, seen)
        if reason:
            rejected.append((row.file, reason))
            continue
        seen.add(row.id)
        row.labels = {column: sys.intern(label) for column, label in row.labels.items()}
        accepted.append(row)
    return accepted, rejected


def row_problem(row: Row, source: Source, seen: set[str]) -> str:
    """Why a row cannot be used, or an empty string. seen: the ids before it."""
    if not row.id:
        return "no id"
    if row.id in seen:
        return f"id used twice: {row.id!r}, the first row is kept"
    if row.image is None:
        return "no image"
    if row.split and row.split not in splits.SPLITS:
        return f"unknown split: {row.split!r}, allowed: {', '.join(splits.SPLITS)}"
    for column in source.label_columns:
        label = row.labels.get(column, "")
        if source.taxonomy is not None and not label:
            continue
        if problem := label_problem(label):
            return f"{problem} in column {column}"
    return ""


def label_problem(label: str) -> str:
    """Why a label is refused, or an empty string. Labels become headings and table cells, and never part of a path."""
    if not label.strip():
        return "empty label:"
    if not label.isprintable():
        return f"label with a control character: {label!r}"
    if len(label) > MAX_LABEL_LENGTH:
        return f"label too long: {len(label)} characters, at most {MAX_LABEL_LENGTH},"
    return ""


def find_groups(offered: Iterable[Row], source: Source, num_proc: int, cache: FactsCache) -> Prepared:
    """Check every image and name the duplicate group of each good one; there are no splits yet."""
    rows, rejected = accept_rows(offered, source)
    good, sha256 = [], []

    def good_facts() -> Iterator[ImageFacts]:
        for row, facts in zip(rows, check_all([row.image for row in rows], num_proc, cache), strict=True):
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
        raise UserError(f"not one usable image: {detail}")
    keys = [[normalize_title(row.title) for row in good], [row.group for row in good]]
    groups = name_groups(group_images(sha256, signatures, keys), good)
    prepared = Prepared(good, sha256, groups, splits=[], rejected=rejected)
    if source.merge_duplicates:
        keep_largest(prepared, signatures.sizes.prod(axis=1, dtype=np.int64))
    return prepared


def keep_largest(prepared: Prepared, areas: np.ndarray) -> None:
    """Keep one image of each group, the one with the most pixels (the first in the alphabet among equals)."""
    best: dict[str, int] = {}
    for index, group in enumerate(prepared.groups):
        rival = best.setdefault(group, index)
        if (-areas[index], prepared.rows[index].id) < (-areas[rival], prepared.rows[rival].id):
            best[group] = index
    kept = {index: prepared.rows[best[group]].file for index, group in enumerate(prepared.groups)}
    smaller = kept.keys() - best.values()
    prepared.leave_out({index: f"duplicate: {kept[index]} is kept" for index in smaller})


def name_groups(numbers: np.ndarray, rows: Sequence[Row]) -> list[str]:
    """Each group is named after the smallest id in it, which no order of processing can change."""
    names: dict[int, str] = {}
    for number, row in zip(numbers.tolist(), rows, strict=True):
        names[number] = min(names.get(number, row.id), row.id)
    return [names[number] for number in numbers.tolist()]


def assign_splits(prepared: Prepared, source: Source, seed: int) -> int:
    """Fill `prepared.splits`; returns the number of leaks between given splits (left out when `drop_leaks`)."""
    leaks = draw_splits(prepared, source, seed)
    if source.taxonomy is not None:
        keep_coarse_in_train(prepared, source.stratify_by)
    return leaks


def keep_coarse_in_train(prepared: Prepared, column: str) -> None:
    """Images without a label in this column cannot be scored: they train, unless a duplicate of theirs is held out."""
    held_out = set()
    for row, group, split in zip(prepared.rows, prepared.groups, prepared.splits, strict=True):
        if row.labels[column] and split != "train":
            held_out.add(group)
    leaking = {}
    for index, (row, group) in enumerate(zip(prepared.rows, prepared.groups, strict=True)):
        if not row.labels[column]:
            prepared.splits[index] = "train"
            if group in held_out:
                leaking[index] = "coarse label: a duplicate with a finer one is in validation or test"
    prepared.leave_out(leaking)


def draw_splits(prepared: Prepared, source: Source, seed: int) -> int:
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
    leaks = {
        index: f"duplicate in a stricter given split: {split} image left out"
        for index, (split, leaks) in enumerate(zip(prepared.splits, leaking, strict=True))
        if leaks
    }
    if source.drop_leaks:
        prepared.leave_out(leaks)
    return len(leaks)
