"""Cross-validation: every image of train and validation is predicted by a model that never saw its product.

    python train.py --folds 5 --dataset data/kaggle_fashion --label articleType --output_dir runs/mine
    python train.py --folds 5 --fold 2 ...       # one fold alone, on another machine, say

Each fold is a training of its own in OUTPUT/fold_K; one that is finished is not repeated, and
`--resume_from_checkpoint True` goes on with one that was cut off. Folds keep the class proportions and never tear a
duplicate group (scikit-learn's StratifiedGroupKFold). The test split is left alone. When the last fold is there,
OUTPUT/oof.parquet holds a row an image:

    id, group, label   as in the dataset, the label by its name
    fold               the fold that held it out, from 0
    probabilities      float32 list in the order of the label column's class names
    logits             the same before the softmax

data_prep.doctor and calibrate.py read it with --oof, and OUTPUT/oof.json has its score. A model trained on a fold is
taken as it is after the last epoch: choosing the best epoch by the held-out rows would flatter their score.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from scipy.special import softmax
from sklearn.model_selection import StratifiedGroupKFold
from transformers import Trainer, TrainingArguments

from data_prep.pipeline.card import dataset_fingerprint
from data_prep.pipeline.prepared import DatasetError

OOF_NAME, SCORES_NAME = "oof.parquet", "oof.json"
METADATA_KEY = b"snapshelf"
POOLED = ("train", "validation")
SCORES = ("accuracy", "top5", "macro_f1")


@dataclass
class Pool:
    """The rows that the folds are cut from, train's before validation's; all arrays have one entry a row."""

    ids: list[str]
    groups: list[str]
    labels: np.ndarray  # (rows,) label ids
    names: list[str]  # of the label ids
    fold_of: np.ndarray  # (rows,) which fold holds the row out


class PooledImageDataset:
    """Some rows of several ImageDataset as if they were one, without a copy of the pixels."""

    def __init__(self, parts: list, rows: np.ndarray):
        """rows: numbers that count through all parts."""
        self.parts, self.rows = parts, rows
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.labels = np.concatenate([part.labels for part in parts])[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        pixels, labels, _ = self.__getitems__([index])
        return pixels[0], labels[0], np.asarray(index)

    def __getitems__(self, indices: list[int]):
        """A batch as ImageDataset gives it; row numbers are this object's own."""
        rows = self.rows[indices]
        part_of = np.searchsorted(self.starts, rows, side="right") - 1
        pixels = np.empty((len(rows), *self.parts[0].pixels.shape[1:]), np.uint8)
        for number, part in enumerate(self.parts):
            mine = part_of == number
            pixels[mine] = part.pixels[rows[mine] - self.starts[number]]
        return pixels, self.labels[indices], np.asarray(indices)

    def ids(self, rows: list[int]) -> list[str]:
        """The ids of some rows, to name them to a person."""
        found = []
        for row in self.rows[rows]:
            number = int(np.searchsorted(self.starts, row, side="right")) - 1
            found += self.parts[number].ids([int(row - self.starts[number])])
        return found

    def groups(self) -> list[str]:
        """The duplicate group of every row."""
        groups = [group for part in self.parts for group in part.groups()]
        return [groups[row] for row in self.rows]


def check_folds(arguments) -> None:
    """Raises DatasetError for options that make no sense together. arguments: train.Arguments."""
    if arguments.fold is not None and not arguments.folds:
        raise DatasetError(f"--fold {arguments.fold} needs --folds too: of how many is it one?")
    if arguments.folds and arguments.folds < 2:
        raise DatasetError(f"--folds {arguments.folds} must be at least 2, or 0 to train on the dataset's own splits")
    if arguments.fold is not None and not 0 <= arguments.fold < arguments.folds:
        raise DatasetError(f"--fold {arguments.fold} must be from 0 to {arguments.folds - 1}")
    if arguments.folds and arguments.streaming:
        raise DatasetError("--folds picks rows, which --streaming cannot; prepare the dataset on this machine")


def cross_validate(dataset, arguments, training: TrainingArguments, train_one: Callable[..., Trainer]) -> None:
    """Train the folds that are not finished, and merge their predictions when all are.

    dataset: a prepared DatasetDict. train_one(dataset, training, choose): a whole training, as train.train_model.
    """
    pool = make_pool(dataset, arguments.label, arguments.folds, training.seed)
    dataset = type(dataset)({split: dataset[split] for split in POOLED})
    made_by = {
        "fingerprint": dataset_fingerprint(arguments.dataset),
        **{name: getattr(arguments, name) for name in ("label", "folds", "model", "pretrained", "image_size")},
        **{name: getattr(training, name) for name in ("seed", "num_train_epochs", "learning_rate")},
    }
    for fold in range(arguments.folds) if arguments.fold is None else [arguments.fold]:
        mine = fold_arguments(training, fold)
        if is_finished(Path(mine.output_dir), made_by):
            print(f"{mine.output_dir} is finished")
            continue
        trainer = train_one(dataset, mine, partial(fold_images, pool=pool, fold=fold))
        logits = trainer.predict(trainer.eval_dataset, metric_key_prefix="validation").predictions
        if trainer.is_world_process_zero():
            write_fold(Path(mine.output_dir), pool, fold, logits, made_by)
        trainer.accelerator.wait_for_everyone()
    if training.process_index == 0:
        merge_folds(Path(training.output_dir), pool, arguments.folds, made_by)


def fold_arguments(training: TrainingArguments, fold: int) -> TrainingArguments:
    """The same in a folder of its own, and with the last epoch's model: choosing one would use the held-out rows."""
    mine = copy.copy(training)
    mine.output_dir = str(Path(training.output_dir) / f"fold_{fold}")
    mine.run_name = f"{training.run_name or Path(training.output_dir).name}-fold{fold}"
    mine.load_best_model_at_end = False
    return mine


def make_pool(dataset, label: str, folds: int, seed: int) -> Pool:
    """Train and validation together, dealt into folds. Raises DatasetError where the groups do not suffice."""
    ids, groups, labels = [], [], []
    for split in POOLED:
        ids += dataset[split]["id"]
        groups += dataset[split]["group"]
        labels += dataset[split][label]
    if len(set(groups)) < folds:
        raise DatasetError(f"--folds {folds} needs as many duplicate groups; the dataset has {len(set(groups))}")
    fold_of = np.empty(len(ids), np.int64)
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(dealer.split(ids, labels, groups)):
        fold_of[held_out] = number
    return Pool(ids, groups, np.array(labels), dataset["train"].features[label].names, fold_of)


def fold_images(images: dict, pool: Pool, fold: int) -> dict[str, PooledImageDataset]:
    """`train` and `validation` of one fold. images: ImageDataset of the dataset's own splits."""
    parts = [images[split] for split in POOLED]
    held_out = pool.fold_of == fold
    rows = {"train": np.flatnonzero(~held_out), "validation": np.flatnonzero(held_out)}
    return {split: PooledImageDataset(parts, mine) for split, mine in rows.items()}


def is_finished(folder: Path, made_by: dict) -> bool:
    """Whether this fold is there. Raises DatasetError if it was made from other data or in another way."""
    path = folder / OOF_NAME
    if not path.exists():
        return False
    before = read_made_by(path)
    changed = [name for name, value in made_by.items() if before.get(name) != value]
    if changed:
        name = changed[0]
        raise DatasetError(
            f"{folder} was trained with {name} {before.get(name)!r}, not {made_by[name]!r}; "
            "choose another --output_dir or delete the folder"
        )
    return True


def read_made_by(path: Path) -> dict:
    """What write_fold recorded; empty for a file from elsewhere."""
    try:
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{path} cannot be read ({str(error).splitlines()[0][:200]}); delete it") from error
    return json.loads(metadata.get(METADATA_KEY, b"{}"))


def write_fold(folder: Path, pool: Pool, fold: int, logits: np.ndarray, made_by: dict) -> None:
    """The held-out rows of one fold; the file's being there says that the fold is finished. logits: (rows, labels)."""
    table = oof_table(pool, np.flatnonzero(pool.fold_of == fold), logits)
    write_parquet(table.replace_schema_metadata({METADATA_KEY: json.dumps(made_by)}), folder / OOF_NAME)


def oof_table(pool: Pool, rows: np.ndarray, logits: np.ndarray, embeddings: np.ndarray | None = None) -> pyarrow.Table:
    """The columns of oof.parquet for these rows of the pool. logits: (rows, labels).

    embeddings: (rows, dim) only where one network gave them for all folds; those of several cannot be compared.
    """
    columns = {
        "id": [pool.ids[row] for row in rows],
        "group": [pool.groups[row] for row in rows],
        "label": [pool.names[pool.labels[row]] for row in rows],
        "fold": pyarrow.array(pool.fold_of[rows], pyarrow.int16()),
    }
    matrices = {"probabilities": softmax(logits.astype(np.float64), axis=1), "logits": logits}
    if embeddings is not None:
        matrices["embeddings"] = embeddings
    for name, values in matrices.items():
        columns[name] = pyarrow.array(list(values.astype(np.float32)), pyarrow.list_(pyarrow.float32()))
    return pyarrow.table(columns)


def write_parquet(table: pyarrow.Table, path: Path) -> None:
    """Under its name only when it is complete."""
    partial = path.with_suffix(".partial")
    pyarrow.parquet.write_table(table, partial, compression="zstd")
    partial.replace(path)


def merge_folds(output: Path, pool: Pool, folds: int, made_by: dict) -> None:
    """Write OUTPUT/oof.parquet and oof.json and print the score, or say which folds are still to do."""
    folders = [output / f"fold_{number}" for number in range(folds)]
    missing = [number for number, folder in enumerate(folders) if not is_finished(folder, made_by)]
    if missing:
        print(f"still to do for {output / OOF_NAME}: --fold {', '.join(map(str, missing))}")
        return
    tables = [pyarrow.parquet.read_table(folder / OOF_NAME) for folder in folders]
    table = pyarrow.concat_tables(tables)
    write_parquet(table, output / OOF_NAME)
    result = {**made_by, "rows": table.num_rows, **out_of_fold_score(table, pool)}
    (output / SCORES_NAME).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{output / OOF_NAME}: {table.num_rows:,} images, each predicted by the model that did not see it")
    for name in SCORES:
        low, high = result[name]["interval"]
        print(f"  out-of-fold {name:<10} {result[name]['value']:.4f}  [{low:.4f}, {high:.4f}]")
    print(f"  expected calibration error {result['expected_calibration_error']:.4f}")


def out_of_fold_score(table: pyarrow.Table, pool: Pool) -> dict:
    """Scores with 95% intervals over all rows, and the accuracy of each fold."""
    from evaluation.scoring import score

    number_of = {name: number for number, name in enumerate(pool.names)}
    truth = np.array([number_of[name] for name in table["label"].to_pylist()])
    values = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    probabilities = values.reshape(len(truth), len(pool.names)).astype(np.float64)
    right, fold_of = probabilities.argmax(axis=1) == truth, table["fold"].to_numpy()
    found = score(probabilities, truth, table["group"].to_pylist(), pool.names)
    return {**found, "fold_accuracy": [float(right[fold_of == fold].mean()) for fold in np.unique(fold_of)]}
