"""The model to ship: one row's recipe on all pictures, with its out-of-fold predictions beside it for calibration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import train
from folds import OOF_NAME, Pool, oof_table, write_parquet
from scoring import score
from studies.inference import softmax
from studies.report import per_class_table, percent
from studies.slash8_data import SlashData, everything
from studies.slash8_page import finished, in_order
from studies.slash8_rows import Row
from studies.units import Unit

SEED = 42
NO_CHOICE = ("--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "False")
CARD_START, CARD_END = "| metric | validation | test |", "Made with"


def ship(row: Row, data: SlashData, weights: dict[str, str], units: Sequence[Unit], runs: Path, output: Path) -> None:
    """Train on every picture and write `output`. Raises ValueError where the row's folds were not run."""
    done = finished([unit for unit in units if unit.row == row.name], runs)
    if row.name not in done:
        raise ValueError(f"--ship {row.name}: its folds were not run; python studies/slash8.py --only {row.name}")
    logits = in_order(done[row.name], data)[0]
    probabilities = softmax(logits)
    dataset = everything(data.source, runs, SEED)
    arguments = [*row.arguments(row.weights and weights[row.weights]), *NO_CHOICE, "--image_size", str(row.size)]
    train.main([*arguments, "--dataset", str(dataset), "--seed", str(SEED), "--output_dir", str(output)])
    pool = Pool(data.ids, data.groups, data.truth, data.names, data.fold_of)
    write_parquet(oof_table(pool, np.arange(len(data.ids)), logits), output / OOF_NAME)
    correct_card(output / "README.md", score(probabilities, data.truth, data.groups, data.names), row)
    print(f"{output} learnt all {len(data.ids)} pictures; {output / OOF_NAME} is for calibrate.py")


def correct_card(path: Path, scores: dict, row: Row) -> None:
    """Put the out-of-fold scores where train.py wrote those of a split that the model has learnt."""
    text = path.read_text(encoding="utf-8")
    _, _, body = text.partition("\n---\n")
    front = "---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: image-classification\n---\n"
    before, _, rest = body.partition(CARD_START)
    after = rest[rest.index(CARD_END) :]
    lines = [
        f"Out-of-fold scores of the same recipe ({row.name} of studies/slash8.py, five folds, screenshots kept apart):",
        f"accuracy {percent(scores['accuracy'])}, macro-F1 {percent(scores['macro_f1'])}. "
        "The model itself learnt all pictures, so it has no score of its own.",
        "",
        *per_class_table(scores),
    ]
    path.write_text(front + before + "\n".join(lines) + "\n\n" + after, encoding="utf-8")
