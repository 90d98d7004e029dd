"""Count what was prepared and tell it: in the card and on the screen."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.pipeline.card import CARD_NAME, build_taxonomy, fingerprint, table, write_card
from data_prep.pipeline.dataset_writer import LEAKS_NAME, REJECTED_NAME
from data_prep.pipeline.empty_splits import nothing_left
from data_prep.pipeline.hub_card import write_hub_card
from data_prep.pipeline.schema import Options, Outcome, Prepared, Report, Source
from data_prep.pipeline.splits import SPLITS

NAMES_SHOWN = 10  # in a remark
REMARKS_SHOWN = 6  # on the screen; the card has them all


def make_report(prepared: Prepared, source: Source, options: Options, leaks: int, outcome: Outcome) -> Report:
    """Count everything once."""
    counts = Counter(prepared.splits)
    lines = zip(prepared.rows, prepared.sha256, prepared.splits, strict=True)
    return Report(
        output=options.output,
        counts={split: counts[split] for split in SPLITS},
        classes={column: len({row.labels[column] for row in prepared.rows} - {""}) for column in source.label_columns},
        rejected=dict(Counter(kind_of(reason) for _, reason in prepared.rejected).most_common()),
        groups=Counter(Counter(prepared.groups).values()),
        leaks=leaks,
        fingerprint=fingerprint((row.id, sha256, row.labels, split) for row, sha256, split in lines),
        corrections=outcome if options.corrections else None,
        remarks=[*source.notes, *class_remarks(prepared, source.stratify_by)],
    )


def class_remarks(prepared: Prepared, column: str) -> list[str]:
    """Classes that a split lacks altogether, and names that are probably meant to be one."""
    present = {(split, row.labels[column]) for row, split in zip(prepared.rows, prepared.splits, strict=True)}
    classes = {name for _, name in present} - {""}
    remarks = []
    for split in SPLITS:
        missing = sorted(name for name in classes if (split, name) not in present)
        if missing and len(missing) < len(classes):  # an empty split lacks them all and needs no remark
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
    return re.split(r":| \(", reason, maxsplit=1)[0]


def describe_dataset(
    folder: Path,
    prepared: Prepared,
    source: Source,
    options: Options,
    report: Report,
    more_facts: Mapping | None = None,
    more_sections: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write the card. Of its facts those of this run replace `more_facts`; `more_sections` stand below the counts."""
    facts = {
        **(more_facts or {}),
        "pretty_name": source.name,
        "license": source.license,
        "source": source.origin,
        "fingerprint": report.fingerprint,
        "seed": options.seed,
        "command": options.command,
        "label_columns": list(source.label_columns),
        "splits": report.counts,
    }
    if source.taxonomy is not None:
        facts |= {"taxonomy_levels": list(source.levels), "taxonomy": dict(source.taxonomy)}
    elif source.levels:
        taxonomy, remarks = build_taxonomy((row.labels for row in prepared.rows), source.levels)
        report.remarks += remarks
        facts |= {"taxonomy_levels": list(source.levels), "taxonomy": taxonomy}
    sections = {
        "Counts": count_section(report),
        **(more_sections or {}),
        "Left out": table(["reason", "images"], report.rejected.items()) if report.rejected else ["Nothing."],
        "Duplicate groups": group_section(report, source.drop_leaks),
        "Remarks": [f"- {remark}" for remark in report.remarks] or ["None."],
        **{f"Classes of {column}": class_section(prepared, column) for column in source.label_columns},
    }
    write_card(folder, facts, sections)
    describe_for_hub(folder, facts)


def describe_for_hub(folder: Path, facts: Mapping) -> None:
    """README.md beside the card; folder: with its images written."""
    from datasets import load_from_disk  # 1.5 s that only the end of a run pays

    splits = load_from_disk(str(folder))
    sizes = {name: (len(split), num_bytes(split)) for name, split in splits.items()}
    write_hub_card(folder, facts, next(iter(splits.values())).features, sizes)


def num_bytes(split) -> int:
    """Of the Arrow files that hold a split."""
    return sum(Path(file["filename"]).stat().st_size for file in split.cache_files)


def count_section(report: Report) -> list[str]:
    """Images per split."""
    total = sum(report.counts.values())
    rows = [(split, count, f"{count / total:.1%}") for split, count in report.counts.items()]
    lines = table(["split", "images", "share"], [*rows, ("all", total, "100%")])
    if report.corrections:
        lines += ["", f"Corrections: {report.corrections}."]
    return lines


def group_section(report: Report, drop_leaks: bool) -> list[str]:
    """How many images go together."""
    lines = [
        "Images of one title, and equal or nearly equal images, form a group, which no draw of splits tears apart.",
        "",
    ]
    lines += table(["images in the group", "groups"], sorted(report.groups.items()))
    if report.leaks:
        what = "left out" if drop_leaks else f"kept and listed in {LEAKS_NAME}"
        lines += ["", f"The given splits leak: {report.leaks} images have duplicates in a stricter split ({what})."]
    return lines


def class_section(prepared: Prepared, column: str) -> list[str]:
    """Images per class and split."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for row, split in zip(prepared.rows, prepared.splits, strict=True):
        counts[row.labels[column]][split] += 1
    rows = [(name or "(a coarser label)", *(counts[name][split] for split in SPLITS)) for name in sorted(counts)]
    return table([column, *SPLITS], rows)


def print_summary(report: Report) -> None:
    """A few lines for the person who ran the command."""
    total = sum(report.counts.values())
    print(f"{report.output}: {total:,} images, fingerprint {report.fingerprint}")
    print("  " + ", ".join(f"{split} {count:,} ({count / total:.1%})" for split, count in report.counts.items()))
    if problem := nothing_left(report.counts):
        print(f"  {problem}")
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
