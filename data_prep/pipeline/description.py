"""Count what was prepared and describe it in the card."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from data_prep.pipeline import splits
from data_prep.pipeline.card import build_taxonomy, fingerprint, table, write_card
from data_prep.pipeline.corrections import Outcome
from data_prep.pipeline.schema import Options, Prepared, Report, Source
from data_prep.pipeline.storage import LEAKS_NAME

NAMES_SHOWN = 10  # in a remark


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
        "license": source.license,
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
        "Images with equal titles, equal bytes or near-equal images form a group, which no draw of splits tears.",
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
