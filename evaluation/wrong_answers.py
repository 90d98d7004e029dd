"""Wrong answers for a person to look at: which labels are confused most, and how many of the labels are wrong.

    python -m evaluation.wrong_answers --model runs/mine --dataset data/kaggle_fashion --title_column title

writes pairs.png, the ten pairs of labels that are most often taken for each other; wrong_answers.png, a contact sheet
of 100 wrong answers drawn at random, with label, answer and title; and wrong_answers.csv, the same with an empty column
`verdict` to fill in (`label`, `answer`, `both`: which of the two is wrong). Unlike data_prep.doctor, which proposes
likely label errors, a random draw says what share of the mistakes they are. The images are not ours to publish: keep
the folder out of git.
"""

import csv
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.classifier import Classifier
from app.errors import OneLineParser, UserError, one_line_errors
from app.files import replacing
from data_prep.checks.contact_sheet import MAX_TILES, Band, Tile, draw_sheet
from data_prep.pipeline.images import DatasetImage
from evaluation.predictions import calibrated_probabilities, load_split, read_titles

COUNT = 100
COLUMNS = ("id", "label", "answer", "confidence", "title", "verdict")


@dataclass(frozen=True)
class Options:
    """count: of the wrong answers to draw."""

    model: Path
    dataset: Path
    split: str
    title_column: str | None
    count: int
    seed: int
    output: Path | None


@dataclass(frozen=True)
class WrongAnswer:
    """row: in the split."""

    row: int
    id: str
    label: str
    answer: str
    confidence: float
    title: str


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = Options(**vars(parser.parse_args(argv)))
    with one_line_errors(parser):
        check_count(options.count)
        classifier = Classifier.load(options.model)
        truth, probabilities, wrong = wrong_answers(classifier, options)
        drawn = draw_some(wrong, options.count, options.seed)
        folder = options.output or Path("runs/wrong_answers") / options.model.resolve().name
        folder.mkdir(parents=True, exist_ok=True)
        draw_pairs(truth, probabilities.argmax(axis=1), classifier.labels, folder / "pairs.png")
        draw_answers(drawn, options, folder / "wrong_answers.png")
        write_answers(drawn, folder / "wrong_answers.csv")
    print(f"{len(wrong):,} of {len(truth):,} answers about {options.split} are wrong ({len(wrong) / len(truth):.1%})")
    print(f"{len(drawn)} of them, drawn with seed {options.seed}, to look at: {folder}/wrong_answers.png and .csv")


def build_parser() -> ArgumentParser:
    parser = OneLineParser(prog="python -m evaluation.wrong_answers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder with model.onnx")
    parser.add_argument("--dataset", required=True, type=Path, help="folder that a data_prep module wrote")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="default: test")
    parser.add_argument("--title_column", metavar="NAME", help="the dataset's column with the titles, to be shown")
    parser.add_argument("--count", type=int, default=COUNT, help=f"wrong answers to draw (default: {COUNT})")
    parser.add_argument("--seed", type=int, default=42, help="of the draw (default: 42)")
    parser.add_argument("--output", type=Path, help="folder to write (default: runs/wrong_answers/MODEL)")
    return parser


def check_count(count: int) -> None:
    if not 1 <= count <= MAX_TILES:
        raise UserError(f"--count {count} must be from 1 to {MAX_TILES}, which is as many as a sheet holds")


def wrong_answers(classifier: Classifier, options: Options) -> tuple[np.ndarray, np.ndarray, list[WrongAnswer]]:
    """(rows,) true label ids, (rows, labels) probabilities, and the wrong answers. Raises UserError without any."""
    rows, truth = load_split(classifier, options.dataset, options.split)
    titles = read_titles(rows, options.dataset, options.title_column) if options.title_column else [""] * len(rows)
    probabilities, _, _ = calibrated_probabilities(classifier, rows)
    predicted, ids = probabilities.argmax(axis=1), rows["id"][:]
    wrong = [
        WrongAnswer(
            row,
            ids[row],
            classifier.labels[truth[row]],
            classifier.labels[predicted[row]],
            float(probabilities[row].max()),
            titles[row],
        )
        for row in np.flatnonzero(predicted != truth).tolist()
    ]
    if not wrong:
        raise UserError(f"every answer about {options.split} of {options.dataset} is right: there is nothing to draw")
    return truth, probabilities, wrong


def draw_some(wrong: Sequence[WrongAnswer], count: int, seed: int) -> list[WrongAnswer]:
    """So many at random, all alike likely, by label and answer."""
    chosen = np.random.default_rng(seed).choice(len(wrong), min(count, len(wrong)), replace=False)
    return sorted((wrong[number] for number in chosen), key=lambda answer: (answer.label, answer.answer))


def draw_pairs(truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str], path: Path) -> None:
    from evaluation.figures import DOTS_PER_INCH, pairs_figure  # matplotlib takes a second to load

    with replacing(path) as partial:
        figure = pairs_figure(predicted, truth, labels)
        figure.savefig(partial, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")


def draw_answers(drawn: Sequence[WrongAnswer], options: Options, path: Path) -> None:
    tiles = [
        Tile(
            DatasetImage(str(options.dataset), options.split, answer.row),
            (f"is {answer.label}", f"said {answer.answer}, {answer.confidence:.2f}", answer.title),
        )
        for answer in drawn
    ]
    title = f"{len(drawn)} wrong answers of {options.model.resolve().name}, {options.split}, seed {options.seed}"
    draw_sheet(path, title, [Band(tiles=tiles)])


def write_answers(drawn: Sequence[WrongAnswer], path: Path) -> None:
    """With a byte order mark, so that a spreadsheet reads the titles' letters."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for answer in drawn:
            writer.writerow([answer.id, answer.label, answer.answer, f"{answer.confidence:.2f}", answer.title, ""])


if __name__ == "__main__":
    main()
