"""Teach a model folder to read the products' titles too: titles.onnx and titles.json beside model.onnx.

    python -m training.titles --model app/models/fashion --dataset data/kaggle_fashion --title_column title

A text model learns the labels of the image model from the titles of the train split (models/title_model.py); the
validation split, which neither has learned, says how much each of them counts, how certain an answer must be, and when
a title contradicts its image (evaluation/title_join.py). `train.py --title_column NAME` does the same after a training.
"""

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from app.calibration import model_hash
from app.classifier import Classifier
from app.errors import OneLineParser, UserError, one_line_errors
from app.files import write_json, write_text
from app.model_files import CARD_FILE, MODEL_FILE
from app.probabilities import softmax
from app.taxonomy import Taxonomy
from app.titled import BOTH, TITLE, TITLES_FILE, TITLES_SETTINGS
from app.titles import VERSION, JoinSettings, open_title_graph
from data_prep.pipeline.card import dataset_fingerprint
from evaluation.calibration import SPLIT
from evaluation.predictions import load_split, read_titles
from evaluation.provenance import command_line
from evaluation.scoring import score_once
from evaluation.title_join import TitledOutputs, fit_settings, fit_title_thresholds, has_title, joined, titled_outputs
from models.title_model import fit_title_model, write_title_graph
from training.arguments import Arguments
from training.data import PreparedData, TrainingData

TARGET_PRECISION = 0.99
CARD_START, CARD_END = "<!-- titles: written by training.titles -->", "<!-- end of titles -->"
CARD = """{start}
## Titles

`titles.onnx` reads a product's title (column `{column}` of `{dataset}`) and `titles.json` says how its answer and the
image's are joined; both need onnxruntime only.

    python predict.py --model {folder} --image_path catalogue.csv --title_column {column}

| on the validation split, {rows} products | accuracy | macro-F1 |
|---|---|---|
{scores}

{end}
"""


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    with one_line_errors(parser):
        if not 0.5 <= options.target_precision < 1:
            raise UserError(f"--target_precision {options.target_precision} must be at least 0.5 and below 1")
        command = command_line("-m training.titles", argv)
        lines = add_titles(options.model, options.dataset, options.title_column, options.target_precision, command)
    print("\n".join(lines))


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m training.titles", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder with model.onnx")
    parser.add_argument("--dataset", required=True, type=Path, help="prepared dataset that the model learned from")
    parser.add_argument("--title_column", required=True, metavar="NAME", help="its column with the titles")
    parser.add_argument(
        "--target_precision",
        type=float,
        default=TARGET_PRECISION,
        help="share of ok answers to be right (default: %(default)s)",
    )
    return parser


def add_titles(folder: Path, dataset: Path, column: str, target_precision: float, command: str) -> list[str]:
    """Write both files and the card's section; returns what to tell the user. Raises UserError."""
    classifier = Classifier.load(folder, precision="fp32")
    rows, truth = load_split(classifier, dataset, "train")
    model = fit_title_model(read_titles(rows, dataset, column), truth, len(classifier.labels))
    write_title_graph(model, folder / TITLES_FILE)
    session = open_title_graph(folder / TITLES_FILE, len(classifier.labels))
    held_out = titled_outputs(classifier, session, dataset, SPLIT, column)
    temperature = classifier.calibration.temperature if classifier.calibration else 1.0
    settings = fit_settings(classifier.taxonomy, held_out, temperature)
    thresholds = fit_title_thresholds(classifier.taxonomy, held_out, settings, target_precision)
    scores = scores_of(classifier.taxonomy, held_out, settings)
    content = {
        "version": VERSION,
        **asdict(settings),
        "least_agreement": dict(zip(classifier.taxonomy.levels, settings.least_agreement, strict=True)),
        "target_precision": target_precision,
        "thresholds": thresholds,
        "title_column": column,
        "rows": len(held_out.known),
        "scores": scores,
        "dataset": dataset.resolve().name,
        "fingerprint": dataset_fingerprint(dataset),
        "split": SPLIT,
        "model_sha256": model_hash(folder / MODEL_FILE),
        "titles_sha256": model_hash(folder / TITLES_FILE),
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
    }
    write_json(folder / TITLES_SETTINGS, content)
    write_card_section(folder, content)
    return report(folder, content)


def check_titles(arguments: Arguments, data: TrainingData) -> None:
    """Raises UserError before a training for titles that cannot be learned after it."""
    if not arguments.title_column:
        return
    if arguments.folds or not isinstance(data, PreparedData) or not arguments.export_onnx:
        raise UserError(
            "--title_column needs a prepared dataset and model.onnx: it does not go with --streaming, --folds or "
            "--export_onnx False"
        )
    for split in ("train", SPLIT):
        read_titles(data.splits[split], arguments.dataset, arguments.title_column)


def titles_after_training(folder: Path, arguments: Arguments, command: str) -> list[str]:
    """What to tell the user where a training was given --title_column."""
    if not arguments.title_column:
        return []
    return add_titles(folder, Path(arguments.dataset), arguments.title_column, TARGET_PRECISION, command)


def scores_of(taxonomy: Taxonomy, held_out: TitledOutputs, settings: JoinSettings) -> dict[str, dict[str, float]]:
    """Accuracy and macro-F1 of the image alone, the title alone and both, on the products that have a title."""
    products = held_out.rows(has_title(held_out, settings.least_known))
    joint, _ = joined(taxonomy, products, settings)
    answers = {"image": products.image.logits, TITLE: softmax(products.title_logits), BOTH: joint}
    scores = {source: score_once(np.asarray(rows), products.image.truth) for source, rows in answers.items()}
    return {source: {name: round(value, 4) for name, value in row.items()} for source, row in scores.items()}


def report(folder: Path, content: dict) -> list[str]:
    megabytes = (folder / TITLES_FILE).stat().st_size / 1e6
    lines = [f"{folder / TITLES_FILE}: {megabytes:.1f} MB; {folder / TITLES_SETTINGS}: from {content['rows']} products"]
    lines += [
        f"  {source:<6} accuracy {scores['accuracy']:.4f}, macro-F1 {scores['macro_f1']:.4f}"
        for source, scores in content["scores"].items()
    ]
    return lines


def write_card_section(folder: Path, content: dict) -> None:
    """Replace the section of the card, or add it at its end."""
    path = folder / CARD_FILE
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {folder.resolve().name}\n"
    before, _, rest = text.partition(CARD_START)
    after = rest.partition(CARD_END)[2].lstrip("\n")
    scores = [
        f"| {source} | {row['accuracy']:.4f} | {row['macro_f1']:.4f} |" for source, row in content["scores"].items()
    ]
    section = CARD.format(
        start=CARD_START,
        end=CARD_END,
        column=content["title_column"],
        dataset=content["dataset"],
        folder=folder,
        rows=f"{content['rows']:,}",
        scores="\n".join(scores),
    )
    write_text(path, f"{before.rstrip()}\n\n{section}{after}")


if __name__ == "__main__":
    main()
