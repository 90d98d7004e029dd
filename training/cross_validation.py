"""Cross-validation: every image of train and validation is predicted by a model that never saw its product.

    python train.py --folds 5 --dataset data/kaggle_fashion --label articleType --output_dir runs/mine
    python train.py --folds 5 --fold 2 ...       # one fold alone, on another machine, say

Each fold is a training of its own in OUTPUT/fold_K; one that is finished is not repeated, and
`--resume_from_checkpoint True` goes on with one that was cut off. Folds keep the class proportions and never split a
duplicate group (scikit-learn's StratifiedGroupKFold). The test split is left alone. When the last fold is there,
OUTPUT/oof.parquet holds the predictions, one row per image (its columns: data_prep/pipeline/out_of_fold.py), and
OUTPUT/oof.json their score. A fold's model is taken as it is after the last epoch: choosing the best epoch by the
held-out rows would flatter their score.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import DatasetDict
from scipy.special import softmax
from sklearn.model_selection import StratifiedGroupKFold
from transformers import Trainer, TrainingArguments

from app.files import write_json
from data_prep.pipeline.out_of_fold import (
    OOF_NAME,
    OutOfFold,
    OutOfFoldError,
    read_made_by,
    read_out_of_fold,
    write_out_of_fold,
)
from data_prep.pipeline.prepared import DatasetError
from evaluation.scoring import score
from training.arguments import Arguments
from training.data import PreparedData, TrainingData
from training.image_dataset import PooledImageDataset
from training.scores import SCORES

SCORES_NAME = "oof.json"
POOLED = ("train", "validation")
LEFT_OUT = -1


@dataclass
class Pool:
    """The rows that the folds are cut from, train's before validation's; all arrays have one entry per row."""

    ids: list[str]
    groups: list[str]
    labels: np.ndarray  # (rows,) label ids
    names: list[str]  # of the label ids
    fold_of: np.ndarray  # (rows,) which fold holds the row out; LEFT_OUT for one that takes no part

    def trained(self, fold: int) -> np.ndarray:
        """The numbers of the rows that a fold trains on."""
        return np.flatnonzero((self.fold_of != fold) & (self.fold_of != LEFT_OUT))

    def held_out(self, fold: int) -> np.ndarray:
        """The numbers of the rows that a fold is scored on; one with a coarser label only cannot be."""
        return np.flatnonzero((self.fold_of == fold) & (self.labels >= 0))


@dataclass(frozen=True)
class FoldData(PreparedData):
    """A prepared dataset whose `validation` is the held-out fold of its pooled rows, and `train` all others."""

    pool: Pool
    fold: int

    def images(self, columns: Sequence[str], image_size: int, seed: int) -> dict[str, PooledImageDataset]:
        own = super().images(columns, image_size, seed)
        parts = [own[split] for split in POOLED]
        return {
            "train": PooledImageDataset(parts, self.pool.trained(self.fold)),
            "validation": PooledImageDataset(parts, self.pool.held_out(self.fold)),
        }


def check_folds(arguments: Arguments) -> None:
    """Raises DatasetError for options that make no sense together."""
    if arguments.fold is not None and not arguments.folds:
        raise DatasetError(f"--fold {arguments.fold} needs --folds, the number of folds, too")
    if arguments.folds and arguments.folds < 2:
        raise DatasetError(f"--folds {arguments.folds} must be at least 2, or 0 to train on the dataset's own splits")
    if arguments.fold is not None and not 0 <= arguments.fold < arguments.folds:
        raise DatasetError(f"--fold {arguments.fold} must be from 0 to {arguments.folds - 1}")


def cross_validate(
    data: PreparedData,
    arguments: Arguments,
    training: TrainingArguments,
    train_one: Callable[[TrainingData, TrainingArguments], Trainer],
) -> None:
    """Train the folds that are not finished, and merge their predictions when all are."""
    pool = make_pool(data.splits, arguments.label, arguments.folds, training.seed)
    splits = DatasetDict({split: data.splits[split] for split in POOLED})
    made_by = {
        "fingerprint": data.fingerprint(),
        **{name: getattr(arguments, name) for name in ("label", "folds", "model", "pretrained", "image_size")},
        **{name: getattr(training, name) for name in ("seed", "num_train_epochs", "learning_rate")},
    }
    for fold in range(arguments.folds) if arguments.fold is None else [arguments.fold]:
        fold_training = arguments_of_fold(training, fold)
        output = Path(fold_training.output_dir)
        if is_finished(output, made_by):
            print(f"{output} is finished")
            continue
        trainer = train_one(FoldData(data.folder, data.label, splits, data.cache, pool, fold), fold_training)
        logits = trainer.predict(trainer.eval_dataset, metric_key_prefix="validation").predictions
        if trainer.is_world_process_zero():
            write_out_of_fold(output / OOF_NAME, out_of_fold(pool, pool.held_out(fold), logits, made_by=made_by))
        trainer.accelerator.wait_for_everyone()
    if training.process_index == 0:
        merge_folds(Path(training.output_dir), pool, arguments.folds, made_by)


def arguments_of_fold(training: TrainingArguments, fold: int) -> TrainingArguments:
    """The same in a folder of its own, and with the last epoch's model: choosing one would use the held-out rows."""
    own = copy.copy(training)
    own.output_dir = str(Path(training.output_dir) / f"fold_{fold}")
    own.run_name = f"{training.run_name or Path(training.output_dir).name}-fold{fold}"
    own.load_best_model_at_end = False
    return own


def make_pool(splits: DatasetDict, label: str, folds: int, seed: int) -> Pool:
    """Train and validation together, dealt into folds. Raises DatasetError where the groups do not suffice."""
    ids, groups, labels = [], [], []
    for split in POOLED:
        ids += splits[split]["id"]
        groups += splits[split]["group"]
        labels += splits[split][label]
    if len(set(groups)) < folds:
        raise DatasetError(f"--folds {folds} needs as many duplicate groups; the dataset has {len(set(groups))}")
    fold_of = deal_folds(groups, labels, folds, seed)
    return Pool(ids, groups, np.array(labels), splits["train"].features[label].names, fold_of)


def deal_folds(groups: Sequence[str], labels: Sequence[int], folds: int, seed: int) -> np.ndarray:
    """(rows,) the fold of each row; no group is split, and the classes' shares are kept."""
    fold_of = np.empty(len(groups), np.int64)
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than folds
        for fold, (_, held_out) in enumerate(dealer.split(groups, labels, groups)):
            fold_of[held_out] = fold
    return fold_of


def is_finished(folder: Path, made_by: dict) -> bool:
    """Whether this fold is there. Raises DatasetError if it was made from other data or in another way."""
    if not (folder / OOF_NAME).exists():
        return False
    try:
        before = read_made_by(folder / OOF_NAME)
    except OutOfFoldError as error:
        raise DatasetError(f"{error}; delete it to train this fold again") from error
    changed = [name for name, value in made_by.items() if before.get(name) != value]
    if changed:
        name = changed[0]
        raise DatasetError(
            f"{folder} was trained with {name} {before.get(name)!r}, not {made_by[name]!r}; "
            "choose another --output_dir or delete the folder"
        )
    return True


def out_of_fold(
    pool: Pool,
    rows: np.ndarray,
    logits: np.ndarray,
    *,
    embeddings: np.ndarray | None = None,
    made_by: dict | None = None,
) -> OutOfFold:
    """The content of oof.parquet for these rows of the pool. logits: (rows, labels).

    embeddings: (rows, dim) only where one network gave them for all folds; those of several cannot be compared.
    """
    return OutOfFold(
        ids=[pool.ids[row] for row in rows],
        groups=[pool.groups[row] for row in rows],
        labels=[pool.names[pool.labels[row]] for row in rows],
        fold_of=pool.fold_of[rows],
        probabilities=softmax(logits.astype(np.float64), axis=1),
        logits=logits,
        embeddings=embeddings,
        made_by=made_by or {},
    )


def merge_folds(output: Path, pool: Pool, folds: int, made_by: dict) -> None:
    """Write OUTPUT/oof.parquet and oof.json and print the score, or say which folds are still to do."""
    folders = [output / f"fold_{fold}" for fold in range(folds)]
    missing = [fold for fold, folder in enumerate(folders) if not is_finished(folder, made_by)]
    if missing:
        print(f"still to do for {output / OOF_NAME}: --fold {', '.join(map(str, missing))}")
        return
    parts = [read_out_of_fold(folder / OOF_NAME, pool.names) for folder in folders]
    row_of = {identity: row for row, identity in enumerate(pool.ids)}
    rows = np.array([row_of[identity] for part in parts for identity in part.ids])
    predictions = out_of_fold(pool, rows, np.concatenate([part.logits for part in parts]), made_by=made_by)
    write_out_of_fold(output / OOF_NAME, predictions)
    result = {**made_by, "rows": len(rows), **out_of_fold_score(predictions, pool.labels[rows], pool.names)}
    write_json(output / SCORES_NAME, result)
    print(f"{output / OOF_NAME}: {len(rows):,} images, each predicted by the model that did not see it")
    for name in SCORES:
        low, high = result[name]["interval"]
        print(f"  out-of-fold {name:<10} {result[name]['value']:.4f}  [{low:.4f}, {high:.4f}]")
    print(f"  expected calibration error {result['expected_calibration_error']:.4f}")


def out_of_fold_score(predictions: OutOfFold, truth: np.ndarray, names: Sequence[str]) -> dict:
    """Scores with 95% intervals over all rows, and the accuracy of each fold. truth: (rows,) label ids."""
    correct, fold_of = predictions.probabilities.argmax(axis=1) == truth, predictions.fold_of
    scores = score(predictions.probabilities, truth, predictions.groups, names)
    return {**scores, "fold_accuracy": [float(correct[fold_of == fold].mean()) for fold in np.unique(fold_of)]}
