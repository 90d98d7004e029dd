"""The screenshots' images as the study trains on them: all in one pool, grouped by screenshot."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from datasets import Image as ImageFeature

from data_prep.pipeline.card import DatasetError, dataset_fingerprint
from data_prep.pipeline.duplicates import join_equal
from data_prep.pipeline.prepared import load_prepared
from studies.common.derived_dataset import derive
from training.cross_validation import POOLED, Pool, make_pool

FOLDS = 5
LABEL = "label"
SEED = 42


@dataclass(frozen=True)
class SlashData:
    """source: what data_prep.slash_screenshots wrote. pages: the dataset made of it that train.py --folds reads.

    pool: all images, as train.py --folds deals them into folds. screenshots: how many there are.
    """

    source: Path
    pages: Path
    fingerprint: str
    pool: Pool
    screenshots: int

    @property
    def images_per_fold(self) -> int:
        """How many a fold trains on."""
        return round(len(self.pool.ids) * (FOLDS - 1) / FOLDS)

    def rows(self) -> Dataset:
        """The images as bytes, in the order of the pool."""
        splits = DatasetDict.load_from_disk(self.pages)
        return concatenate_datasets([splits[name] for name in POOLED]).cast_column("image", ImageFeature(decode=False))


def prepare(source: Path, runs: Path) -> SlashData:
    """Raises DatasetError where `source` is not a dataset of screenshots."""
    splits = load_prepared(str(source), LABEL, ["train", "validation", "test"])
    if "page" not in splits["train"].features:
        raise DatasetError(f"{source} has no column page; python -m data_prep.slash_screenshots writes one")
    pages = derive(source, runs / "pages", by_page, SEED)
    pool = make_pool(load_prepared(str(pages), LABEL, POOLED), LABEL, FOLDS, SEED)
    screenshots = {page for split in splits.values() for page in split["page"]}
    return SlashData(source, pages, dataset_fingerprint(source), pool, len(screenshots))


def by_page(splits: DatasetDict) -> DatasetDict:
    """The test split joins train, since folds replace it; images of one screenshot share a group."""
    rows = concatenate_datasets(list(splits.values()))
    numbers = [np.unique(rows[column], return_inverse=True)[1] for column in ("page", "group")]
    groups = [f"screenshots {number}" for number in join_equal(numbers, len(rows)).tolist()]
    rows = rows.remove_columns("group").add_column("group", groups)
    in_validation = np.isin(rows["id"][:], splits["validation"]["id"][:])
    return DatasetDict(
        {
            "train": rows.select(np.flatnonzero(~in_validation)),
            "validation": rows.select(np.flatnonzero(in_validation)),
        }
    )


def everything(source: Path, runs: Path) -> Path:
    """A dataset whose train split has all images; its validation split is a part of them and measures nothing."""
    return derive(source, runs / "slash8", in_train, SEED)


def in_train(splits: DatasetDict) -> DatasetDict:
    return DatasetDict({"train": concatenate_datasets(list(splits.values())), "validation": splits["validation"]})
