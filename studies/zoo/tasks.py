"""The two things that every architecture learns: the catalogue's article types, and the app's eight categories."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from data_prep.pipeline.card import dataset_fingerprint
from data_prep.pipeline.prepared import load_prepared
from studies.slash8.data import FOLDS, SEED, prepare
from training.cross_validation import LEFT_OUT, POOLED, Pool, deal_folds

KAGGLE, SLASH = "kaggle", "slash"
TITLES = {KAGGLE: "Article types of the catalogue", SLASH: "Eight categories of a shopping app"}
QUARTERS = 4
SHARES = (25, 50, 100)  # percent of the training data


@dataclass(frozen=True)
class Task:
    """dataset: a prepared folder. pool: its train and validation rows. folds: those that are trained, each on the rows
    that it does not hold out."""

    name: str
    dataset: Path
    label: str
    fingerprint: str
    pool: Pool
    folds: tuple[int, ...]
    batch_size: int

    @cached_property
    def quarter_of(self) -> np.ndarray:
        """(rows,) a quarter of the data from 0 to 3: classes keep their shares, duplicate groups stay whole."""
        return deal_folds(self.pool.groups, self.pool.labels, QUARTERS, SEED)

    def pool_of(self, fold: int, share: int) -> Pool:
        """The pool with only a share, in percent, of the rows that the fold trains on."""
        if share == SHARES[-1]:
            return self.pool
        dropped = (self.quarter_of >= share * QUARTERS // 100) & (self.pool.fold_of != fold)
        return replace(self.pool, fold_of=np.where(dropped, LEFT_OUT, self.pool.fold_of))

    def training_images(self, share: int) -> int:
        """How many a fold trains on, about."""
        rows = np.mean([len(self.pool.trained(fold)) for fold in self.folds])
        return round(rows * share / 100)

    def scored(self) -> np.ndarray:
        """The numbers of the rows that the folds hold out, in the order of the folds."""
        return np.concatenate([self.pool.held_out(fold) for fold in self.folds])


def catalog_task(dataset: Path, label: str = "articleType") -> Task:
    """Trained on the train split, scored on validation: test is for what is shipped. Raises DatasetError."""
    splits = load_prepared(str(dataset), label, POOLED)
    train, validation = (splits[name] for name in POOLED)
    columns = {name: [*train[name], *validation[name]] for name in ("id", "group", label)}
    fold_of = np.repeat([1, 0], [len(train), len(validation)])
    names = train.features[label].names
    pool = Pool(columns["id"], columns["group"], np.array(columns[label]), names, fold_of)
    return Task(KAGGLE, dataset, label, dataset_fingerprint(dataset), pool, (0,), batch_size=64)


def screenshots_task(dataset: Path, runs: Path) -> Task:
    """Out of fold, as studies/slash8 deals its folds: images of one screenshot stay together. Raises DatasetError."""
    data = prepare(dataset, runs)
    return Task(SLASH, data.pages, "label", data.fingerprint, data.pool, tuple(range(FOLDS)), batch_size=32)
