"""Cut a competition, as Kaggle hands it out, from a prepared dataset.

python -m data_prep.competition --dataset data/kaggle_fashion --label articleType --output competition

For the players: train.csv (id,image,label,group), test.csv (id,image), sample_submission.csv (id,label), images/ and
README.md. For the host alone: solution.csv (id,label,Usage) and host.json. Train and validation become train.csv, the
test split becomes test.csv; images of one product are Public together or Private together.
`python leaderboard.py --score submission.csv --solution competition/solution.csv` scores what a player sends.

Every image gets a new, random id, so that neither an id, nor the order of test.csv, nor a file's name or date tells
the answer; titles stay out, because they name it. Whoever knows the seed can draw the ids again: without --seed it
comes from the system's random numbers, and host.json keeps it.
"""

import argparse
import csv
import io
import json
import os
import secrets
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data_prep.pipeline import splits
from data_prep.pipeline.build import PARTIAL_SUFFIX
from data_prep.pipeline.card import read_card
from data_prep.pipeline.command import clear_errors
from data_prep.pipeline.images import FORMATS
from data_prep.pipeline.schema import Row
from data_prep.pipeline.storage import read_rows
from data_prep.pipeline.submission import SOLUTION_COLUMNS, SUBMISSION_COLUMNS, TRAIN_NAME, USAGES

TEST_NAME, SAMPLE_NAME, SOLUTION_NAME = "test.csv", "sample_submission.csv", "solution.csv"
HOST_NAME, RULES_NAME = "host.json", "README.md"
PUBLIC, PRIVATE = USAGES
SUFFIX_FOR_FORMAT = {name: f".{name.lower()}" for name in FORMATS} | {"JPEG": ".jpg"}
ONE_DATE = 946_684_800  # 1 January 2000: the dates of the files tell nothing

RULES = """# Which {label} is it?

Tell the {classes} classes of `{label}` apart on images of {name}.

| file | rows | columns |
|---|---|---|
| `{train}` | {train_rows:,} | `id`, `image` (path of the image), `label`, `group` |
| `{test}` | {test_rows:,} | `id`, `image` |
| `{sample}` | {test_rows:,} | `id`, `label` |

- A submission is a CSV file with the columns `id,label` and one row for each id of `{test}`, in any order. Labels are
  written as in `{train}`.
- The score is accuracy: the share of rows with the right label. {public:.0%} of the test rows give the public score;
  the private score of the others decides.
- Images with an equal `group` show one product or are copies. Keep a group on one side when you validate, or your
  score will look better than it is. No group is in both files.
- Answers come from the images. The data's licence is {license}; its source is {source}.
"""


@dataclass(slots=True)
class Entry:
    """An image of the competition: its row in the dataset, its new id, its new group and its file."""

    row: Row
    id: str
    group: str
    image: str
    usage: str = ""


def main(argv: list[str] | None = None) -> None:
    """Check the command line, draw ids and Public/Private, write the files, say what was done."""
    parser = make_parser()
    args = parser.parse_args(argv)
    with clear_errors(parser):
        if not 0 < args.public < 1:
            raise ValueError(f"--public {args.public} must be a share between 0 and 1, such as 0.3")
        check_output(args.output, args.dataset, args.overwrite)
        card = read_card(args.dataset)
        label = check_label(card, args.label, args.dataset)
        seed = secrets.randbits(63) if args.seed is None else args.seed
        entries = draw_entries(list(read_rows(args.dataset)), label, args.public, seed)
        command = shlex.join(["python", "-m", "data_prep.competition", *(sys.argv[1:] if argv is None else argv)])
        host = {"command": command, "dataset": args.dataset.name, "fingerprint": card["fingerprint"], "seed": seed}
        write_competition(entries, label, card, host, args)
        print_summary(entries, label, args.output)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.competition", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True, metavar="DIR", help="prepared dataset")
    parser.add_argument("--label", default="", metavar="COLUMN", help="column to predict; default: the card's first")
    parser.add_argument("--output", type=Path, default=Path("competition"), metavar="DIR", help="folder to write")
    parser.add_argument("--public", type=float, default=0.3, metavar="SHARE", help="of the test rows; default: 0.3")
    parser.add_argument("--images", action=argparse.BooleanOptionalAction, default=True, help="write the images too")
    parser.add_argument("--seed", type=int, help="draw the same ids again; a secret, default: a new one")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing competition")
    return parser


def check_output(output: Path, dataset: Path, overwrite: bool) -> None:
    """Refuse to write over something, before any work is done."""
    if not output.name:
        raise ValueError(f"--output {output} is not the name of a folder to write")
    if output.resolve().is_relative_to(dataset.resolve()) or dataset.resolve().is_relative_to(output.resolve()):
        raise ValueError(f"--output {output} and --dataset {dataset} lie in one another; choose another --output")
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists; choose another --output or add --overwrite to replace it")
    if output.exists() and not (output / HOST_NAME).is_file():
        raise ValueError(f"{output} is not a competition, so --overwrite will not replace it")


def check_label(card: dict, label: str, dataset: Path) -> str:
    """The label column. Raises ValueError for one that the dataset does not have."""
    columns = card["label_columns"]
    if label and label not in columns:
        raise ValueError(f"{dataset} has no label column {label!r}; it has {', '.join(columns)}")
    return label or columns[0]


def draw_entries(rows: Sequence[Row], label: str, public: float, seed: int) -> list[Entry]:
    """All images in the order of their new ids, which are one random permutation; test rows get their Usage.

    Raises ValueError where there is nothing to train on or to test, or where a group is on both sides.
    """
    rows = [row for row in rows if row.labels[label]]
    test = [row for row in rows if row.split == "test"]
    if not test or len(test) == len(rows):
        raise ValueError("a competition needs rows to train on and a test split; the dataset lacks one of them")
    torn = {row.group for row in test} & {row.group for row in rows if row.split != "test"}
    if torn:
        raise ValueError(
            f"{len(torn)} duplicate groups are in the test split and outside of it: players would know their answers; "
            "prepare the dataset so that leaks are left out (see leaks.csv)"
        )
    generator = np.random.default_rng(seed)
    numbers = generator.permutation(len(rows))
    names = sorted({row.group for row in rows})
    new_group = dict(zip(names, generator.permutation(len(names)).tolist(), strict=True))
    shares = {PUBLIC: public, PRIVATE: 1 - public}
    usage = splits.split_groups([row.group for row in test], [row.labels[label] for row in test], seed, shares)
    base = 10 ** len(str(len(rows)))  # no leading zeros, which a player's spreadsheet would take away
    entries = []
    for row, number in zip(rows, numbers.tolist(), strict=True):
        identity, group = str(base + number), f"g{base + new_group[row.group]}"
        mine = usage[row.group] if row.split == "test" else ""
        entries.append(Entry(row, identity, group, "", mine))
    return sorted(entries, key=lambda entry: entry.id)


def write_competition(entries: list[Entry], label: str, card: dict, host: dict, args: argparse.Namespace) -> None:
    """Write the folder, which appears under its name only when it is complete."""
    partial = args.output.with_name(f".{args.output.name}{PARTIAL_SUFFIX}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        name_images(entries, partial if args.images else None)
        train, test = ([entry for entry in entries if bool(entry.usage) == wanted] for wanted in (False, True))
        usual = Counter(entry.row.labels[label] for entry in train).most_common(1)[0][0]
        rows = ((entry.id, entry.image, entry.row.labels[label], entry.group) for entry in train)
        write_table(partial / TRAIN_NAME, ("id", "image", "label", "group"), rows)
        write_table(partial / TEST_NAME, ("id", "image"), ((entry.id, entry.image) for entry in test))
        write_table(partial / SAMPLE_NAME, SUBMISSION_COLUMNS, ((entry.id, usual) for entry in test))
        solution = ((entry.id, entry.row.labels[label], entry.usage) for entry in test)
        write_table(partial / SOLUTION_NAME, SOLUTION_COLUMNS, solution)
        (partial / HOST_NAME).write_text(json.dumps(host, indent=1) + "\n", encoding="utf-8")
        (partial / RULES_NAME).write_text(rules(train, test, label, card), encoding="utf-8")
        if args.output.exists():
            shutil.rmtree(args.output)
        os.replace(partial, args.output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def name_images(entries: Iterable[Entry], folder: Path | None) -> None:
    """Give every entry the path of its image, and write the image there unless `folder` is None.

    The original bytes are kept. A name is the new id and the format's ending, whatever the source called the file.
    """
    if folder:
        for side in ("train", "test"):
            (folder / "images" / side).mkdir(parents=True)
    for entry in tqdm(list(entries), desc="images", unit=" images", disable=None):
        data = entry.row.image.read()
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            suffix = SUFFIX_FOR_FORMAT[opened.format]
        entry.image = f"images/{'test' if entry.usage else 'train'}/{entry.id}{suffix}"
        if folder:
            path = folder / entry.image
            path.write_bytes(data)
            os.utime(path, (ONE_DATE, ONE_DATE))


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def rules(train: Sequence[Entry], test: Sequence[Entry], label: str, card: dict) -> str:
    """The page for the players."""
    return RULES.format(
        label=label,
        classes=len({entry.row.labels[label] for entry in [*train, *test]}),
        name=card["pretty_name"],
        train=TRAIN_NAME,
        test=TEST_NAME,
        sample=SAMPLE_NAME,
        train_rows=len(train),
        test_rows=len(test),
        public=sum(entry.usage == PUBLIC for entry in test) / len(test),
        license=card.get("license", "unknown"),
        source=card.get("source", "unknown"),
    )


def print_summary(entries: Sequence[Entry], label: str, output: Path) -> None:
    counts = Counter(entry.usage for entry in entries)
    print(f"{output}: {counts['']:,} images to train on, {counts[PUBLIC]:,} public and {counts[PRIVATE]:,} private")
    unseen = {entry.row.labels[label] for entry in entries if entry.usage}
    unseen -= {entry.row.labels[label] for entry in entries if not entry.usage}
    if unseen:
        print(f"  {len(unseen)} classes are in the test rows only: {', '.join(sorted(unseen)[:5])}")
    print(f"  keep {SOLUTION_NAME} and {HOST_NAME} to yourself; everything else is for the players")


if __name__ == "__main__":
    main()
