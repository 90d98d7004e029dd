"""Examine a prepared dataset: one page with contact sheets, and proposals to apply; the dataset is left as it is.

    python -m data_prep.doctor data/kaggle_fashion
    python -m data_prep.doctor data/kaggle_fashion --model app/models/fashion --oof runs/fashion/oof.parquet

The folder data/kaggle_fashion-doctor then holds report.md, its PNGs, quarantine.csv and relabel.csv. Look at them,
delete the lines you do not agree with, and prepare the dataset again with `--corrections quarantine.csv`.
--model adds what leaks are worth and label errors in validation and test; --oof (out-of-fold predictions of
train.py --folds) finds label errors in the training split.
"""

import argparse
import csv
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from data_prep.build import PARTIAL_SUFFIX, REJECTED_NAME, Row, available_cores, clear_errors, kind_of
from data_prep.card import table
from data_prep.checkup import Checkup, Finding, Proposals, examine, most_common, open_dataset, plural
from data_prep.contact_sheet import Band, Tile, draw_sheet
from data_prep.corrections import HEADER
from data_prep.facts import FactsCache
from data_prep.images import BLANK_SPREAD
from data_prep.label_errors import Predictions, describe_errors, load_model, predict, read_out_of_fold
from data_prep.leakage import describe_conflicts, describe_copies, describe_leaks, describe_price, find_copies
from data_prep.splits import SPLITS

REPORT_NAME, QUARANTINE_NAME, RELABEL_NAME = "report.md", "quarantine.csv", "relabel.csv"
SUFFIX = "-doctor"
EMPTY_SPREAD = 0.5  # of 127.5, standard deviation over the thumbnail: nothing but noise is left
SMALL_SIDE = 32  # pixels: below this a product is hard to tell even for a person
LONG_SIDE = 3.0  # times the other side
THIN_CLASS = 10  # training images; fewer teach a model little
CLASSES_SHOWN = 10
BAR_WIDTH = 40
SIZES_SHOWN = 6
TILES = 24
PLAIN_MODES = ("RGB", "L")
SMALL_TILE = 90  # nine in a row
EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
}


def main(argv: list[str] | None = None) -> None:
    """Check the command line, examine the dataset, write the report, say where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.doctor", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path, metavar="FOLDER", help="prepared dataset")
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"report to write; default: FOLDER{SUFFIX}")
    parser.add_argument("--label", default="", metavar="COLUMN", help="label column; default: the card's first")
    parser.add_argument("--model", type=Path, metavar="DIR", help="model folder with model.onnx")
    parser.add_argument("--oof", type=Path, metavar="FILE", help="out-of-fold predictions, Parquet")
    parser.add_argument("--num_proc", type=int, default=available_cores(), metavar="N", help="processes for checking")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing report")
    args = parser.parse_args(argv)
    with clear_errors(parser):
        if args.num_proc < 1:
            raise ValueError(f"--num_proc {args.num_proc} must be at least 1")
        dataset = args.dataset if args.dataset.name else args.dataset.resolve()
        output = args.output or dataset.with_name(dataset.name + SUFFIX)
        check_output(output, args.dataset, args.overwrite)
        findings = write_report(args, output)
        print_summary(findings, output)


def check_output(output: Path, dataset: Path, overwrite: bool) -> None:
    """Refuse to write over something, before any work is done."""
    if output.resolve().is_relative_to(dataset.resolve()):
        raise ValueError(f"--output {output} is inside the dataset, which the doctor leaves as it is; choose another")
    if not output.exists():
        return
    if not output.is_dir() or (any(output.iterdir()) and not (output / REPORT_NAME).is_file()):
        raise ValueError(f"{output} exists and is not a report of the doctor; choose another --output")
    if not overwrite:
        raise ValueError(f"{output} exists; choose another --output or add --overwrite to replace it")


def write_report(args: argparse.Namespace, output: Path) -> list[Finding]:
    """Write the report, which appears under its name only when it is complete."""
    partial = output.with_name(f".{output.name}{PARTIAL_SUFFIX}")
    partial.mkdir(parents=True, exist_ok=True)
    staging = partial / "report"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    cache = FactsCache(partial / "facts.sqlite")
    try:
        checkup, out_of_fold, predicted = look(args, cache)
    finally:
        cache.close()
    proposals = Proposals()
    findings = diagnose(checkup, proposals, out_of_fold, predicted)
    write_sheets(staging, findings)
    write_proposals(staging / QUARANTINE_NAME, proposals.quarantine.values())
    write_proposals(staging / RELABEL_NAME, proposals.relabel.values())
    (staging / REPORT_NAME).write_text(compose_page(checkup, findings, proposals, output), encoding="utf-8")
    if output.exists():
        shutil.rmtree(output)
    os.replace(staging, output)
    shutil.rmtree(partial)
    return findings


def look(args: argparse.Namespace, cache: FactsCache) -> tuple[Checkup, Predictions | None, Predictions | None]:
    """The images, the out-of-fold predictions and the model's; everything that may be wrong is opened first."""
    card, column, rows = open_dataset(args.dataset, args.label)
    out_of_fold = read_out_of_fold(args.oof, args.dataset, column, rows) if args.oof else None
    classifier = load_model(args.model, column, rows) if args.model else None
    checkup = examine(args.dataset, card, column, rows, args.num_proc, cache)
    return (
        checkup,
        out_of_fold.of(checkup) if out_of_fold else None,
        predict(classifier, args.model, checkup) if classifier else None,
    )


def diagnose(
    checkup: Checkup, proposals: Proposals, out_of_fold: Predictions | None, predicted: Predictions | None
) -> list[Finding]:
    """All findings, in the order of the page."""
    copies = find_copies(checkup)
    findings = [
        describe_unreadable(checkup, proposals),
        describe_left_out(checkup),
        describe_pictures(checkup, proposals),
        describe_grey(checkup),
        describe_sizes(checkup),
        describe_copies(checkup, copies),
        describe_conflicts(checkup, copies, proposals),
        describe_leaks(checkup, copies, proposals),
    ]
    if predicted:
        findings.append(describe_price(checkup, copies, predicted))
    for predictions in (out_of_fold, predicted):
        if predictions:
            findings.append(describe_errors(checkup, predictions, proposals))
    return [*findings, describe_classes(checkup)]


# --- single images ---------------------------------------------------------------------------------------------------


def describe_unreadable(checkup: Checkup, proposals: Proposals) -> Finding:
    """Images that cannot be decoded, or that name a file instead of holding one."""
    for row, reason in checkup.unreadable:
        proposals.leave_out(row, f"unreadable: {reason}")
    lines = table(
        ["image", "id", "split", "reason"],
        [(row.file, row.id, row.split, reason) for row, reason in checkup.unreadable[:TILES]],
    )
    count = len(checkup.unreadable)
    return Finding(
        "Unreadable images", plural(count, "image"), "leave out" if count else "nothing to do", lines if count else []
    )


def describe_left_out(checkup: Checkup) -> Finding:
    """What the preparation rejected: rows without an image, broken files, ..."""
    path = checkup.folder / REJECTED_NAME
    if not path.is_file():
        return Finding("Left out when prepared", "unknown", f"the dataset has no {REJECTED_NAME}")
    with open(path, newline="", encoding="utf-8") as stream:
        rejected = [(row["file"], row["reason"]) for row in csv.DictReader(stream)]
    examples: dict[str, str] = {}
    for file, reason in rejected:
        examples.setdefault(kind_of(reason), file)
    counts = Counter(kind_of(reason) for _, reason in rejected)
    lines = table(
        ["reason", "rows", "for example"], [(kind, f"{n:,}", examples[kind]) for kind, n in counts.most_common()]
    )
    advice = f"all of them are in the dataset's {REJECTED_NAME}" if rejected else "nothing to do"
    return Finding("Left out when prepared", plural(len(rejected), "row"), advice, lines if rejected else [])


def describe_pictures(checkup: Checkup, proposals: Proposals) -> Finding:
    """Blank and very small pictures, misnamed files and unusual modes."""
    for index in np.flatnonzero(checkup.spread < EMPTY_SPREAD):
        proposals.leave_out(checkup.rows[index], "empty picture: one flat colour")
    checks = picture_checks(checkup)
    rows = [(name, f"{flags.sum():,}", remark) for name, _, flags, remark in checks]
    lines = [
        *table(["suspicious", "images", "remark"], rows),
        "",
        f"Formats: {most_common(checkup.formats, 8)}. Modes: {most_common(checkup.modes, 8)}.",
    ]
    bands = [
        Band(f"{short} {flags.sum():,}", [checkup.tile(index) for index in np.flatnonzero(flags)[:TILES]])
        for _, short, flags, _ in checks
    ]
    count = int(np.logical_or.reduce([flags for _, _, flags, _ in checks]).sum())
    advice = "look at the sheet" if count else "nothing to do"
    return Finding("Suspicious files", plural(count, "image"), advice, lines, "suspicious.png", bands)


def picture_checks(checkup: Checkup) -> list[tuple[str, str, np.ndarray, str]]:
    """(what, in a word or two, `(n,) bool`, remark) of each check."""
    sizes = checkup.looks.sizes
    files = zip(checkup.rows, checkup.formats, strict=True)
    odd = [mode for mode in checkup.modes if mode not in PLAIN_MODES]
    return [
        ("nearly uniform", "uniform", checkup.spread < BLANK_SPREAD, "the empty ones are in quarantine.csv"),
        (f"a side under {SMALL_SIDE} pixels", "small", sizes.min(1) < SMALL_SIDE, "hard to tell even for a person"),
        (
            f"one side over {LONG_SIDE:g} times the other",
            "long",
            sizes.max(1) > LONG_SIDE * sizes.min(1),
            "mostly padding once it is square",
        ),
        (
            "extension does not fit the content",
            "misnamed",
            np.array([wrong_extension(row.file, image_format) for row, image_format in files]),
            "harmless: the content decides",
        ),
        (
            f"modes other than {' and '.join(PLAIN_MODES)}",
            "odd mode",
            np.array([mode not in PLAIN_MODES for mode in checkup.modes]),
            most_common(odd, 4) or "–",
        ),
    ]


def wrong_extension(file: str, image_format: str) -> bool:
    """True when the name has an extension that belongs to another format."""
    extension = os.path.splitext(file)[1].lower()
    return bool(extension) and extension not in EXTENSIONS.get(image_format, (extension,))


def describe_grey(checkup: Checkup) -> Finding:
    """Pictures without colour, and what their colour labels say."""
    grey = np.flatnonzero(checkup.grey)
    if not len(grey):
        return Finding("Grayscale pictures", "0 images", "nothing to do")
    stored = sum(checkup.modes[index] not in ("L", "LA", "1", "I", "I;16") for index in grey)
    lines = [
        f"{len(grey) / len(checkup.rows):.1%} of the pictures have no colour at all; {stored:,} are stored in colour."
    ]
    colour = next((name for name in checkup.rows[0].labels if "colour" in name.lower() or "color" in name.lower()), "")
    advice = "keep, unless the label is about colour"
    order = grey
    if colour:
        labels = checkup.labels(colour)
        counts = Counter(labels[index] for index in grey)
        lines += [
            "",
            f"Their {colour}: {most_common([labels[i] for i in grey], 12)}. The rarest come first on the sheet.",
        ]
        order = sorted(grey, key=lambda index: (counts[labels[index]], index))
    tiles = [
        checkup.tile(i, checkup.rows[i].labels[colour] if colour else checkup.rows[i].title) for i in order[:TILES]
    ]
    return Finding("Grayscale pictures", plural(len(grey), "image"), advice, lines, "grayscale.png", [Band("", tiles)])


def describe_sizes(checkup: Checkup) -> Finding:
    """Sizes and aspect ratios."""
    sizes = checkup.looks.sizes
    ratio = sizes[:, 0] / sizes[:, 1]
    numbers = [
        ("width", *quantiles(sizes[:, 0], ",.0f")),
        ("height", *quantiles(sizes[:, 1], ",.0f")),
        ("width / height", *quantiles(ratio, ".2f")),
    ]
    lines = table(["", "smallest", "5%", "median", "95%", "largest"], numbers)
    lines += ["", f"Most frequent: {most_common([f'{w}x{h}' for w, h in sizes.tolist()], SIZES_SHOWN)}."]
    distinct = len(np.unique(sizes, axis=0))
    return Finding(
        "Sizes",
        plural(distinct, "size"),
        f"median {np.median(sizes[:, 0]):.0f}x{np.median(sizes[:, 1]):.0f} pixels",
        lines,
    )


def quantiles(values: np.ndarray, form: str) -> list[str]:
    """Smallest, 5%, median, 95%, largest."""
    return [format(value, form) for value in np.quantile(values, [0, 0.05, 0.5, 0.95, 1])]


# --- classes ---------------------------------------------------------------------------------------------------------


def describe_classes(checkup: Checkup) -> Finding:
    """Counts and imbalance of each label column, and one picture a class."""
    rows = []
    for column in checkup.rows[0].labels:
        counts = train_counts(checkup, column).most_common()
        largest, smallest = counts[0], counts[-1]
        thin = sum(count < THIN_CLASS for _, count in counts)
        ratio = f"{largest[1] / max(1, smallest[1]):,.0f} : 1"
        rows.append(
            (column, len(counts), f"{largest[0]} {largest[1]:,}", f"{smallest[0]} {smallest[1]:,}", ratio, thin)
        )
    header = ["label column", "classes", "largest in train", "smallest", "ratio", f"under {THIN_CLASS}"]
    lines = table(header, rows)
    counts = train_counts(checkup, checkup.column).most_common()
    lines += ["", *bars(counts, checkup.column), *missing_classes(checkup)]
    thin = sum(count < THIN_CLASS for _, count in counts)
    advice = f"{plural(thin, 'class', 'classes')} under {THIN_CLASS} training images; see data_prep.balance"
    tiles = [
        Tile(row.image, (row.labels[checkup.column], f"{count:,}")) for row, count in class_examples(checkup, counts)
    ]
    ratio = f"{counts[0][1] / max(1, counts[-1][1]):,.0f} : 1"
    return Finding(f"Classes of {checkup.column}", ratio, advice, lines, "classes.png", [Band("", tiles)])


def train_counts(checkup: Checkup, column: str) -> Counter:
    """Training images of each class; a class that only other splits have counts 0."""
    counts = Counter(dict.fromkeys(sorted(set(checkup.labels(column))), 0))
    counts.update(row.labels[column] for row in checkup.rows if row.split == "train")
    return counts


def bars(counts: Sequence[tuple[str, int]], column: str) -> list[str]:
    """The largest and the smallest classes as bars of text."""
    shown = (
        list(counts) if len(counts) <= 2 * CLASSES_SHOWN else [*counts[:CLASSES_SHOWN], None, *counts[-CLASSES_SHOWN:]]
    )
    width = max(len(name) for name, _ in filter(None, shown))
    top = max(1, counts[0][1])
    lines = [f"Training images of {column}:", "", "```"]
    for pair in shown:
        if pair is None:
            lines.append(f"{'':{width}}         ({len(counts) - 2 * CLASSES_SHOWN} classes between)")
        else:
            lines.append(f"{pair[0]:{width}} {pair[1]:7,} {'█' * round(BAR_WIDTH * pair[1] / top)}".rstrip())
    return [*lines, "```"]


def missing_classes(checkup: Checkup) -> list[str]:
    """Classes that a split cannot teach or score."""
    found = {
        split: {checkup.rows[index].labels[checkup.column] for index in checkup.indices(split)} for split in SPLITS
    }
    everywhere = set().union(*found.values())
    lines = []
    for split in SPLITS:
        missing = sorted(everywhere - found[split])
        if missing and found[split]:
            more = f" and {len(missing) - CLASSES_SHOWN} more" if len(missing) > CLASSES_SHOWN else ""
            lines += ["", f"Without an image in {split}: {', '.join(missing[:CLASSES_SHOWN])}{more}."]
    return lines


def class_examples(checkup: Checkup, counts: Sequence[tuple[str, int]]) -> list[tuple[Row, int]]:
    """(row, count) of one picture a class: the one with the smallest hash, so that nobody chose it."""
    first: dict[str, int] = {}
    for index, row in enumerate(checkup.rows):
        rival = first.setdefault(row.labels[checkup.column], index)
        if checkup.sha256[index] < checkup.sha256[rival]:
            first[row.labels[checkup.column]] = index
    return [(checkup.rows[first[name]], count) for name, count in counts]


# --- the page --------------------------------------------------------------------------------------------------------


def write_sheets(folder: Path, findings: Sequence[Finding]) -> None:
    """Draw the contact sheet of each finding that has pictures; a second one of the same name gets a number."""
    used: set[str] = set()
    for finding in findings:
        if not any(band.tiles for band in finding.bands):
            finding.sheet = ""
            continue
        stem, number = finding.sheet.removesuffix(".png"), 2
        while finding.sheet in used:
            finding.sheet = f"{stem}_{number}.png"
            number += 1
        used.add(finding.sheet)
        side = {"side": SMALL_TILE} if stem == "classes" else {}
        draw_sheet(folder / finding.sheet, finding.title, finding.bands, **side)


def write_proposals(path: Path, corrections) -> None:
    """A file that --corrections of every data_prep command reads."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER)
        writer.writerows(astuple(correction) for correction in sorted(corrections, key=lambda one: one.id))


def compose_page(checkup: Checkup, findings: Sequence[Finding], proposals: Proposals, output: Path) -> str:
    """The whole report in Markdown."""
    counts = Counter(row.split for row in checkup.rows)
    splits = ", ".join(f"{split} {counts[split]:,}" for split in SPLITS)
    lines = [
        f"# Check-up of {checkup.folder.resolve().name}",
        "",
        f"{plural(len(checkup.rows), 'readable image')} ({splits}), {len(set(checkup.labels()))} classes of "
        f"{checkup.column}, fingerprint `{checkup.card.get('fingerprint', 'unknown')}`.",
        "",
        *table(
            ["", "found", "what to do"], [(f"[{f.title}](#{anchor(f.title)})", f.found, f.advice) for f in findings]
        ),
        "",
        *proposal_lines(checkup, proposals, output),
    ]
    for finding in findings:
        if finding.lines or finding.sheet:
            lines += ["", f"## {finding.title}", "", *finding.lines]
        if finding.sheet:
            lines += ["", f"![{finding.title}]({finding.sheet})"]
    return "\n".join(lines) + "\n"


def anchor(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return "".join(
        character for character in title.lower().replace(" ", "-") if character.isalnum() or character in "-_"
    )


def proposal_lines(checkup: Checkup, proposals: Proposals, output: Path) -> list[str]:
    """What is in the two files and how to apply them."""
    if not proposals.quarantine and not proposals.relabel:
        return ["Nothing is proposed: `quarantine.csv` and `relabel.csv` are empty."]
    command = str(checkup.card.get("command", "python -m data_prep.SOURCE ..."))
    lines = [
        f"Proposed: {plural(len(proposals.quarantine), 'image')} to leave out "
        f"([{QUARANTINE_NAME}]({QUARANTINE_NAME})) and {len(proposals.relabel):,} to relabel "
        f"([{RELABEL_NAME}]({RELABEL_NAME})). Delete the lines you do not agree with, then prepare the dataset again:",
        "",
        "```",
    ]
    for name, found in ((QUARANTINE_NAME, proposals.quarantine), (RELABEL_NAME, proposals.relabel)):
        if found:
            lines.append(f"{command} --overwrite --corrections {output / name}")
    return [*lines, "```", "", "Images of the test split stay as they are unless you add `--correct_test`."]


def print_summary(findings: Sequence[Finding], output: Path) -> None:
    """The summary table for the terminal."""
    for finding in findings:
        print(f"{finding.title:45} {finding.found:>16}  {finding.advice}")
    print(f"\n{output / REPORT_NAME}")


if __name__ == "__main__":
    main()
