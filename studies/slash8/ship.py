"""The model to ship: one row's recipe on all images, with its out-of-fold predictions beside it for calibration."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.special import softmax

from app.errors import UserError
from data_prep.pipeline.out_of_fold import OOF_NAME, write_out_of_fold
from data_prep.pipeline.prepared import taxonomy_of
from evaluation.checked_export import export_folder
from evaluation.scoring import score
from models.registry import normalization_of
from studies.common.fold_training import LAST_EPOCH, run_training
from studies.common.report import per_class_table, percent
from studies.common.shipping import check_empty, write_card
from studies.common.units import Unit
from studies.slash8.data import FOLDS, LABEL, SEED, SlashData, everything
from studies.slash8.results_page import finished, out_of_fold_logits
from studies.slash8.rows import PROBES, Row
from training.cross_validation import out_of_fold
from training.frozen_head import held_out_logits, linear_layer, with_layer
from training.model_card import write_preprocessor

CARD = """# {title}

Tells the {classes} categories of a shopping app apart, from product images resized to {size}×{size} pixels.
{made}.

Out-of-fold scores of the same recipe ({row} of `python -m studies.slash8`, {folds} folds, screenshots kept apart):
accuracy {accuracy}, macro-F1 {macro_f1}. The model itself learned all {images} images, so it has no score of its own.

{table}

The sellers' own categories overlap: the same kind of bag is Fashion to one and Artifacts to another, a poster Home,
Artifacts or Accessories. {rarest} has {fewest} images. results/slash8.md has the mistakes.

Data: screenshots of the Slash app from public student projects, for research use.

    python predict.py --model {title} --image_path photo.jpg
"""


def ship(
    name: str,
    rows: Sequence[Row],
    data: SlashData,
    weights: Mapping[str, str],
    units: Sequence[Unit],
    runs: Path,
    output: Path,
) -> None:
    """Write `output` by the recipe of a row or a probe. Raises UserError where its folds were not run."""
    parts = finished([unit for unit in units if unit.row == name], runs).get(name)
    if parts is None:
        raise UserError(f"--ship {name}: its folds were not run; python -m studies.slash8 --only {name}")
    check_empty(output, "--output")
    dataset = everything(data.source, runs)
    embeddings = None
    if name in PROBES:
        embeddings, size = parts[0].arrays["embeddings"], parts[0].facts["made_by"]["size"]
        source = weights[PROBES[name][0]]
        logits = held_out_logits(embeddings, data.pool.labels, data.pool.fold_of)[0]
        write_probe(source, size, embeddings, data, dataset, output)
        made = f"A linear layer on the features of {Path(source).name}, which stayed as they were"
    else:
        row = next(row for row in rows if row.name == name)
        logits, size = out_of_fold_logits(parts, data)[0], row.size
        arguments = [*row.arguments(row.weights and weights[row.weights]), *LAST_EPOCH, "--image_size", str(size)]
        run_training([*arguments, "--dataset", str(dataset), "--seed", str(SEED)], output)
        made = f"{row.model} fine-tuned for {row.epochs} epochs"
    everyone = np.arange(len(data.pool.ids))
    shared = None if embeddings is None else embeddings[0]
    write_out_of_fold(output / OOF_NAME, out_of_fold(data.pool, everyone, logits, embeddings=shared))
    write_scores(output, name, made, size, logits, data)
    print(f"{output} learned all {len(everyone)} images; {output / OOF_NAME} is for calibrate.py")


def write_probe(source: str, size: int, embeddings: np.ndarray, data: SlashData, dataset: Path, output: Path) -> None:
    """The network that gave the features, with the linear layer as its head. embeddings: as in frozen_head.py."""
    model = with_layer(source, data.pool.names, size, *linear_layer(embeddings, data.pool.labels))
    model.config.taxonomy = taxonomy_of(dataset, LABEL, data.pool.names)
    model.save_pretrained(output)
    write_preprocessor(output, size, *normalization_of(source))
    export_folder(output, str(dataset), half=True)


def write_scores(output: Path, name: str, made: str, size: int, logits: np.ndarray, data: SlashData) -> None:
    """README.md with the out-of-fold scores: a split that the model has learned would flatter it."""
    pool = data.pool
    counts = np.bincount(pool.labels)
    scores = score(softmax(logits, axis=1), pool.labels, pool.groups, pool.names)
    write_card(
        output,
        CARD,
        made=made,
        classes=len(pool.names),
        size=size,
        row=name,
        folds=FOLDS,
        accuracy=percent(scores["accuracy"]),
        macro_f1=percent(scores["macro_f1"]),
        images=len(pool.ids),
        table="\n".join(per_class_table(scores)),
        rarest=pool.names[counts.argmin()],
        fewest=counts.min(),
    )
