"""The screenshots' images as studies/slash8/study.py trains on them: all in one pool, a group a screenshot."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from datasets import Image as ImageFeature

from data_prep.pipeline.card import dataset_fingerprint
from data_prep.pipeline.duplicates import join_equal
from data_prep.pipeline.prepared import load_prepared
from studies.common.derived import derive
from training.cross_validation import POOLED, make_pool

FOLDS = 5
LABEL = "label"


@dataclass(frozen=True)
class SlashData:
    """All images in the order of training/cross_validation.py; arrays have one entry an image.

    pages: the prepared dataset that train.py --folds reads. source: what data_prep.slash_screenshots wrote.
    """

    source: Path
    pages: Path
    fingerprint: str
    names: list[str]
    ids: list[str]
    groups: list[str]
    truth: np.ndarray
    fold_of: np.ndarray
    screenshots: int

    @property
    def images_a_fold(self) -> int:
        """What a fold trains on."""
        return round(len(self.ids) * (FOLDS - 1) / FOLDS)

    def rows(self) -> Dataset:
        """The images as bytes."""
        splits = DatasetDict.load_from_disk(self.pages)
        return concatenate_datasets([splits[name] for name in POOLED]).cast_column("image", ImageFeature(decode=False))


def prepare(source: Path, runs: Path, seed: int) -> SlashData:
    """Raises ValueError where `source` is no dataset of screenshots."""
    splits = load_prepared(str(source), LABEL, ["train", "validation", "test"])
    if "page" not in splits["train"].features:
        raise ValueError(f"{source} has no column page; python -m data_prep.slash_screenshots writes one")
    pages = derive(source, runs / "pages", by_page, seed)
    pool = make_pool(load_prepared(str(pages), LABEL, POOLED), LABEL, FOLDS, seed)
    screenshots = len({page for split in splits.values() for page in split["page"]})
    fingerprint = dataset_fingerprint(source)
    return SlashData(
        source, pages, fingerprint, pool.names, pool.ids, pool.groups, pool.labels, pool.fold_of, screenshots
    )


def by_page(splits: DatasetDict) -> DatasetDict:
    """The test split joins train, since folds replace it; images of one screenshot share a group."""
    rows = concatenate_datasets(list(splits.values()))
    numbers = [np.unique(rows[column], return_inverse=True)[1] for column in ("page", "group")]
    component = join_equal(numbers, len(rows))
    names = [f"screenshots {number}" for number in component.tolist()]
    rows = rows.remove_columns("group").add_column("group", names)
    held = set(splits["validation"]["id"])
    is_held = np.array([identity in held for identity in rows["id"]])
    return DatasetDict(
        {"train": rows.select(np.flatnonzero(~is_held)), "validation": rows.select(np.flatnonzero(is_held))}
    )


def everything(source: Path, runs: Path, seed: int) -> Path:
    """A dataset whose train split has all images; its validation split is a part of them and measures nothing."""
    return derive(source, runs / "slash8", in_train, seed)


def in_train(splits: DatasetDict) -> DatasetDict:
    return DatasetDict({"train": concatenate_datasets(list(splits.values())), "validation": splits["validation"]})
