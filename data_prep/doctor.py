"""Examine a prepared dataset: one page with contact sheets, and proposals to apply; the dataset is left as it is.

    python -m data_prep.doctor data/kaggle_fashion
    python -m data_prep.doctor data/kaggle_fashion --model app/models/fashion --oof runs/fashion/oof.parquet

The folder data/kaggle_fashion-doctor then holds report.md, its PNGs, quarantine.csv and relabel.csv. Look at them,
delete the lines you do not agree with, and prepare the dataset again with `--corrections quarantine.csv`.
--model adds what leaks are worth and label errors in validation and test; --oof (out-of-fold predictions of
train.py --folds) finds label errors in train and validation.

The 39,612 Kaggle images take 22 s on 2 cores, 25 s with a MobileNetV2 of 128 px. Among what it finds there: 1,297
images without colour, 818 groups of near-equal images, a jersey and a watch with one and the same image.
"""

import argparse
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

from app.errors import UserError
from data_prep.checks.checkup import FINE, Checkup, Finding, Proposals, examine, open_dataset, plural
from data_prep.checks.contact_sheet import draw_sheet
from data_prep.checks.label_errors import Predictions, describe_errors, load_model, predict, read_held_out
from data_prep.checks.leakage import describe_conflicts, describe_copies, describe_leaks, describe_price, find_copies
from data_prep.checks.quality import (
    describe_classes,
    describe_gray,
    describe_images,
    describe_left_out,
    describe_sizes,
    describe_unreadable,
)
from data_prep.pipeline.card import table
from data_prep.pipeline.command import available_cores, check_num_proc, clear_errors, command_parser
from data_prep.pipeline.corrections import HEADER, Correction
from data_prep.pipeline.empty_splits import say_what_is_empty
from data_prep.pipeline.facts import FactsCache
from data_prep.pipeline.folders import check_output, new_folder
from data_prep.pipeline.splits import SPLITS
from data_prep.pipeline.tables import write_table

REPORT_NAME, QUARANTINE_NAME, RELABEL_NAME = "report.md", "quarantine.csv", "relabel.csv"
BOTH_NAME = "corrections.csv"
SUFFIX = "-doctor"
SMALL_TILE = 90  # nine in a row


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What the command line asks for. label: empty for the card's first label column."""

    dataset: Path
    output: Path
    label: str
    model: Path | None
    oof: Path | None
    num_proc: int
    overwrite: bool


def main(argv: list[str] | None = None) -> None:
    """Check the command line, examine the dataset, write the report, say where it is."""
    parser = make_parser()
    args = parser.parse_args(argv)
    dataset = args.dataset if args.dataset.name else args.dataset.resolve()
    args.output = args.output or dataset.with_name(dataset.name + SUFFIX)
    options = DoctorOptions(**vars(args))
    with clear_errors(parser):
        check_options(options)
        findings = write_report(options)
        print_summary(findings, options.output)


def make_parser() -> argparse.ArgumentParser:
    parser = command_parser("data_prep.doctor", __doc__)
    parser.add_argument("dataset", type=Path, metavar="FOLDER", help="prepared dataset")
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"report to write; default: FOLDER{SUFFIX}")
    parser.add_argument("--label", default="", metavar="COLUMN", help="label column; default: the card's first")
    parser.add_argument("--model", type=Path, metavar="DIR", help="model folder with model.onnx")
    parser.add_argument("--oof", type=Path, metavar="FILE", help="out-of-fold predictions, Parquet")
    parser.add_argument("--num_proc", type=int, default=available_cores(), metavar="N", help="processes for checking")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing report")
    return parser


def check_options(options: DoctorOptions) -> None:
    """Raises UserError, before any work is done, for an output that must not be written over."""
    check_num_proc(options.num_proc)
    output = options.output
    if output.resolve().is_relative_to(options.dataset.resolve()):
        raise UserError(f"--output {output} is inside the dataset, which the doctor leaves as it is; choose another")
    check_output(output, options.overwrite, marker=REPORT_NAME, kind="a report of the doctor")


def write_report(options: DoctorOptions) -> list[Finding]:
    """Write the report, which appears under its name only when it is complete."""
    with new_folder(options.output, resumable=True) as folder:
        with closing(FactsCache(folder.parent / "facts.sqlite")) as cache:
            checkup, out_of_fold, predicted = examine_all(options, cache)
        proposals = Proposals()
        findings = diagnose(checkup, proposals, out_of_fold, predicted)
        write_sheets(folder, findings)
        write_proposals(folder / QUARANTINE_NAME, proposals.quarantine)
        write_proposals(folder / RELABEL_NAME, proposals.relabel)
        page = compose_page(checkup, findings, proposals, options.output)
        (folder / REPORT_NAME).write_text(page, encoding="utf-8")
    return findings


def examine_all(options: DoctorOptions, cache: FactsCache) -> tuple[Checkup, Predictions | None, Predictions | None]:
    """The images, the out-of-fold predictions and the model's; whatever may be wrong is opened first."""
    card, column, rows = open_dataset(options.dataset, options.label)
    say_what_is_empty(options.dataset)
    held_out = read_held_out(options.oof, options.dataset, column, rows) if options.oof else None
    classifier = load_model(options.model, column, rows) if options.model else None
    checkup = examine(options.dataset, card, column, rows, options.num_proc, cache)
    return (
        checkup,
        held_out.of(checkup) if held_out else None,
        predict(classifier, options.model, checkup) if classifier else None,
    )


def diagnose(
    checkup: Checkup, proposals: Proposals, out_of_fold: Predictions | None, predicted: Predictions | None
) -> list[Finding]:
    """All findings, in the order of the page."""
    copies = find_copies(checkup)
    findings = [
        describe_unreadable(checkup, proposals),
        describe_left_out(checkup),
        describe_images(checkup, proposals),
        describe_gray(checkup),
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


# --- the page --------------------------------------------------------------------------------------------------------


def write_sheets(folder: Path, findings: Sequence[Finding]) -> None:
    """Draw the contact sheet of each finding that has images; a second one of the same name gets a number."""
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


def write_proposals(path: Path, corrections: Mapping[str, Correction]) -> None:
    """A file that --corrections of every data_prep command reads."""
    write_table(path, HEADER, (astuple(correction) for _, correction in sorted(corrections.items())))


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
        *summary_lines(findings),
        "",
        *proposal_lines(checkup, proposals, output),
    ]
    for finding in findings:
        if finding.lines or finding.sheet:
            lines += ["", f"## {finding.title}", "", *finding.lines]
        if finding.sheet:
            lines += ["", f"![{finding.title}]({finding.sheet})"]
    return "\n".join(lines) + "\n"


def summary_lines(findings: Sequence[Finding]) -> list[str]:
    """A table of what needs attention, and one line for the rest."""
    rows, fine = [], []
    for finding in findings:
        title = finding.title
        if finding.advice == FINE:
            fine.append(f"{title[0].lower()}{title[1:]} ({finding.found})")
        else:
            rows.append((f"[{title}](#{anchor(title)})", finding.found, finding.advice))
    return [*table(["", "found", "what to do"], rows), *(["", f"In order: {', '.join(fine)}."] if fine else [])]


def anchor(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return "".join(
        character for character in title.lower().replace(" ", "-") if character.isalnum() or character in "-_"
    )


def proposal_lines(checkup: Checkup, proposals: Proposals, output: Path) -> list[str]:
    """What is in the two files and how to apply them."""
    proposed = {QUARANTINE_NAME: proposals.quarantine, RELABEL_NAME: proposals.relabel}
    files = [output / name for name, corrections in proposed.items() if corrections]
    if not files:
        return [f"Nothing is proposed: `{QUARANTINE_NAME}` and `{RELABEL_NAME}` are empty."]
    return [
        f"Proposed: {plural(len(proposals.quarantine), 'image')} to leave out "
        f"([{QUARANTINE_NAME}]({QUARANTINE_NAME})) and {len(proposals.relabel):,} to relabel "
        f"([{RELABEL_NAME}]({RELABEL_NAME})). Delete the lines you do not agree with, then prepare the dataset again:",
        "",
        "```",
        *commands_to_apply(str(checkup.card.get("command", "python -m data_prep.SOURCE")), files, output / BOTH_NAME),
        "```",
        "",
        "Images of the test split stay as they are unless you add `--correct_test`.",
    ]


def commands_to_apply(command: str, files: Sequence[Path], joined: Path) -> list[str]:
    """The command that made the dataset, with the corrections it had and those in `files`."""
    words, old = [], []
    for word in shlex.split(command):
        if words and words[-1] == "--corrections":
            words.pop()
            old.append(word)
        elif word.startswith("--corrections="):
            old.append(word.removeprefix("--corrections="))
        elif word != "--overwrite":
            words.append(word)
    first, *others = [*old, *map(str, files)]
    if not others:
        return [shlex.join([*words, "--overwrite", "--corrections", first])]
    tails = "; ".join(f"tail -n +2 {shlex.quote(name)}" for name in others)
    join = f"(cat {shlex.quote(first)}; {tails}) > {shlex.quote(str(joined))}"
    return [join, shlex.join([*words, "--overwrite", "--corrections", str(joined)])]


def print_summary(findings: Sequence[Finding], output: Path) -> None:
    """The summary table for the terminal."""
    for finding in findings:
        print(f"{finding.title:45} {finding.found:>16}  {finding.advice}")
    print(f"\n{output / REPORT_NAME}")


if __name__ == "__main__":
    main()
