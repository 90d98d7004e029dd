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
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.errors import UserError, one_line_errors
from app.images import open_checked
from data_prep.pipeline.command import command_line, command_parser
from data_prep.pipeline.competition_scoring import SOLUTION_COLUMNS, SUBMISSION_COLUMNS, TRAIN_NAME, USAGES
from data_prep.pipeline.empty_splits import say_what_is_empty
from data_prep.pipeline.folders import check_output, new_folder
from data_prep.pipeline.images import SUFFIXES
from data_prep.pipeline.prepared import open_prepared
from data_prep.pipeline.schema import Row
from data_prep.pipeline.splits import split_groups
from data_prep.pipeline.tables import write_table

TEST_NAME, SAMPLE_NAME, SOLUTION_NAME = "test.csv", "sample_submission.csv", "solution.csv"
HOST_NAME, RULES_NAME = "host.json", "README.md"
PUBLIC, PRIVATE = USAGES
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
- Answers come from the images. The data's license is {license}; its source is {source}.
"""


@dataclass(slots=True, frozen=True)
class Entry:
    """An image of the competition: its row in the dataset, its new id and group; usage is empty for training."""

    row: Row
    id: str
    group: str
    usage: str


def main(argv: list[str] | None = None) -> None:
    """Check the command line, draw ids and Public/Private, write the files, say what was done."""
    parser = make_parser()
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        if not 0 < args.public < 1:
            raise UserError(f"--public {args.public} must be a share between 0 and 1, such as 0.3")
        output, dataset = args.output.resolve(), args.dataset.resolve()
        if output.is_relative_to(dataset) or dataset.is_relative_to(output):
            raise UserError(
                f"one of --output {args.output} and --dataset {args.dataset} contains the other; choose another"
            )
        check_output(args.output, args.overwrite, HOST_NAME, "a competition")
        prepared = open_prepared(args.dataset, args.label)
        say_what_is_empty(args.dataset)
        card, label = prepared.card, prepared.label
        seed = secrets.randbits(63) if args.seed is None else args.seed
        entries = draw_entries(list(prepared.rows()), label, args.public, seed)
        command = command_line(parser, argv)
        host = {"command": command, "dataset": args.dataset.name, "fingerprint": card["fingerprint"], "seed": seed}
        with new_folder(args.output) as folder:
            write_competition(folder, entries, label, args.images)
            (folder / HOST_NAME).write_text(json.dumps(host, indent=1) + "\n", encoding="utf-8")
            (folder / RULES_NAME).write_text(rules(entries, label, card), encoding="utf-8")
        print_summary(entries, label, args.output)


def make_parser() -> argparse.ArgumentParser:
    parser = command_parser("data_prep.competition", __doc__)
    parser.add_argument("--dataset", type=Path, required=True, metavar="DIR", help="prepared dataset")
    parser.add_argument("--label", default="", metavar="COLUMN", help="column to predict; default: the card's first")
    parser.add_argument("--output", type=Path, default=Path("competition"), metavar="DIR", help="folder to write")
    parser.add_argument("--public", type=float, default=0.3, metavar="SHARE", help="of the test rows; default: 0.3")
    parser.add_argument("--images", action=argparse.BooleanOptionalAction, default=True, help="write the images too")
    parser.add_argument("--seed", type=int, help="draw the same ids again; a secret, default: a new one")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing competition")
    return parser


def draw_entries(rows: Sequence[Row], label: str, public: float, seed: int) -> list[Entry]:
    """All images in the order of their new ids, which are one random permutation; test rows get their Usage.

    Raises UserError where there is nothing to train on or to test, or where a group is on both sides.
    """
    rows = [row for row in rows if row.labels[label]]
    test = [row for row in rows if row.split == "test"]
    if not test or len(test) == len(rows):
        raise UserError("a competition needs rows to train on and a test split; the dataset lacks one of them")
    torn = {row.group for row in test} & {row.group for row in rows if row.split != "test"}
    if torn:
        raise UserError(
            f"{len(torn)} duplicate groups are in the test split and outside of it: players would know their answers; "
            "prepare the dataset so that leaks are left out (see leaks.csv)"
        )
    generator = np.random.default_rng(seed)
    numbers = generator.permutation(len(rows))
    names = sorted({row.group for row in rows})
    new_group = dict(zip(names, generator.permutation(len(names)).tolist(), strict=True))
    shares = {PUBLIC: public, PRIVATE: 1 - public}
    usage = split_groups([row.group for row in test], [row.labels[label] for row in test], seed, shares)
    base = 10 ** len(str(len(rows)))  # no leading zeros, which a player's spreadsheet would take away
    entries = [
        Entry(
            row, str(base + number), f"g{base + new_group[row.group]}", usage[row.group] if row.split == "test" else ""
        )
        for row, number in zip(rows, numbers.tolist(), strict=True)
    ]
    return sorted(entries, key=lambda entry: entry.id)


def write_competition(folder: Path, entries: Sequence[Entry], label: str, with_images: bool) -> None:
    """Write the tables, and the images unless the host hands them out otherwise."""
    names = place_images(folder, entries, with_images)
    train, test = ([entry for entry in entries if bool(entry.usage) == tested] for tested in (False, True))
    [(most_frequent, _)] = Counter(entry.row.labels[label] for entry in train).most_common(1)
    rows = [(entry.id, names[entry.id], entry.row.labels[label], entry.group) for entry in train]
    write_table(folder / TRAIN_NAME, ("id", "image", "label", "group"), rows)
    write_table(folder / TEST_NAME, ("id", "image"), [(entry.id, names[entry.id]) for entry in test])
    write_table(folder / SAMPLE_NAME, SUBMISSION_COLUMNS, [(entry.id, most_frequent) for entry in test])
    solution = [(entry.id, entry.row.labels[label], entry.usage) for entry in test]
    write_table(folder / SOLUTION_NAME, SOLUTION_COLUMNS, solution)


def place_images(folder: Path, entries: Iterable[Entry], write: bool) -> dict[str, str]:
    """The path of each entry's image by id, and the image there if `write`.

    The original bytes are kept. A name is the new id and the format's ending, whatever the source called the file.
    """
    names = {}
    for entry in tqdm(list(entries), desc="images", unit=" images", disable=None):
        data = entry.row.image.read()
        with open_checked(data) as image:
            names[entry.id] = f"images/{'test' if entry.usage else 'train'}/{entry.id}{SUFFIXES[image.format]}"
        if write:
            path = folder / names[entry.id]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (ONE_DATE, ONE_DATE))
    return names


def rules(entries: Sequence[Entry], label: str, card: dict) -> str:
    """The page for the players."""
    usages = Counter(entry.usage for entry in entries)
    test_rows = usages[PUBLIC] + usages[PRIVATE]
    return RULES.format(
        label=label,
        classes=len({entry.row.labels[label] for entry in entries}),
        name=card["pretty_name"],
        train=TRAIN_NAME,
        test=TEST_NAME,
        sample=SAMPLE_NAME,
        train_rows=usages[""],
        test_rows=test_rows,
        public=usages[PUBLIC] / test_rows,
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
