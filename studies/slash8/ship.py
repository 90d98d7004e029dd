"""The model to ship: one row's recipe on all images, with its out-of-fold predictions beside it for calibration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import train
from data_prep.pipeline.prepared import taxonomy_of
from evaluation.scoring import score
from export import export_folder
from models.registry import normalization_of
from studies.common.network import softmax
from studies.common.probe import held_out_logits, linear_layer, with_layer
from studies.common.report import CARD_HEAD, per_class_table, percent
from studies.common.units import Unit
from studies.slash8.data import LABEL, SlashData, everything
from studies.slash8.page import finished, in_order
from studies.slash8.rows import PROBES, Row
from training.cross_validation import OOF_NAME, Pool, oof_table, write_parquet
from training.model_card import write_preprocessor

SEED = 42
NO_CHOICE = ("--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "False")
CARD = (
    CARD_HEAD
    + """# {title}

Tells the {classes} categories of a shopping app apart, from product images padded to a square and resized to
{size}×{size} pixels. {made}.

Out-of-fold scores of the same recipe ({row} of studies/slash8/study.py, five folds, screenshots kept apart): accuracy
{accuracy}, macro-F1 {macro_f1}. The model itself learnt all {images} images, so it has no score of its own.

{table}

The sellers' own categories overlap: the same kind of bag is Fashion to one and Artifacts to another, a poster Home,
Artifacts or Accessories. {rarest} has {fewest} images. results/slash8.md has the mistakes.

Data: screenshots of the Slash app from public student projects, for research use.

    python predict.py --model {title} --image_path photo.jpg
"""
)


def ship(
    name: str,
    rows: Sequence[Row],
    data: SlashData,
    weights: dict[str, str],
    units: Sequence[Unit],
    runs: Path,
    output: Path,
) -> None:
    """Write `output` by the recipe of a row or a probe. Raises ValueError where its folds were not run."""
    done = finished([unit for unit in units if unit.row == name], runs)
    if name not in done:
        raise ValueError(f"--ship {name}: its folds were not run; python -m studies.slash8 --only {name}")
    if output.is_dir() and any(output.iterdir()):
        raise ValueError(f"--output {output} is not empty; name another folder or delete it")
    dataset = everything(data.source, runs, SEED)
    embeddings = None
    if name in PROBES:
        embeddings, size = done[name][0].arrays["embeddings"], done[name][0].facts["made_by"]["size"]
        source = weights[PROBES[name][0]]
        logits = held_out_logits(embeddings, data.truth, data.fold_of)[0]
        write_probe(source, size, embeddings, data, dataset, output)
        made = f"A linear layer on the features of {Path(source).name}, which stayed as they were"
    else:
        row = next(row for row in rows if row.name == name)
        logits, size = in_order(done[name], data)[0], row.size
        arguments = [*row.arguments(row.weights and weights[row.weights]), *NO_CHOICE, "--image_size", str(size)]
        train.main([*arguments, "--dataset", str(dataset), "--seed", str(SEED), "--output_dir", str(output)])
        made = f"{row.model} fine-tuned for {row.epochs} epochs"
    pool = Pool(data.ids, data.groups, data.truth, data.names, data.fold_of)
    table = oof_table(pool, np.arange(len(data.ids)), logits, None if embeddings is None else embeddings[0])
    write_parquet(table, output / OOF_NAME)
    write_card(output, name, made, size, logits, data)
    print(f"{output} learnt all {len(data.ids)} images; {output / OOF_NAME} is for calibrate.py")


def write_probe(source: str, size: int, embeddings: np.ndarray, data: SlashData, dataset: Path, output: Path) -> None:
    """The network that gave the features, with the linear layer as its head. embeddings: as in probe.py."""
    model = with_layer(source, data.names, size, *linear_layer(embeddings, data.truth))
    model.config.taxonomy = taxonomy_of(dataset, LABEL, data.names)
    model.save_pretrained(output)
    write_preprocessor(output, size, *normalization_of(source))
    export_folder(output, str(dataset))


def write_card(output: Path, name: str, made: str, size: int, logits: np.ndarray, data: SlashData) -> None:
    """README.md with the out-of-fold scores: a split that the model has learnt would flatter it."""
    scores = score(softmax(logits), data.truth, data.groups, data.names)
    text = CARD.format(
        title=output.name,
        made=made,
        classes=len(data.names),
        size=size,
        row=name,
        accuracy=percent(scores["accuracy"]),
        macro_f1=percent(scores["macro_f1"]),
        images=len(data.ids),
        table="\n".join(per_class_table(scores)),
        rarest=data.names[np.bincount(data.truth).argmin()],
        fewest=np.bincount(data.truth).min(),
    )
    (output / "README.md").write_text(text, encoding="utf-8")
