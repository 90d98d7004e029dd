"""Write a prepared dataset: images streamed into Arrow files, and the lists beside them."""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from app.errors import UserError
from data_prep.pipeline.schema import Prepared, Row, Source
from data_prep.pipeline.splits import SPLITS
from data_prep.pipeline.tables import write_table

REJECTED_NAME = "rejected.csv"
LEAKS_NAME = "leaks.csv"
NO_LABEL = -1  # of a column of classes, as `datasets` writes it
ROWS_PER_WRITE = 500  # rows held in memory by the Arrow writer
BYTES_PER_WRITE = 32_000_000


def write_images(
    folder: Path, prepared: Prepared, source: Source, names: Mapping[str, Sequence[str]], fingerprint: str
) -> None:
    """Stream the images into a DatasetDict, alone in `folder`; the fingerprint keeps caches of maps apart."""
    import datasets  # 1.5 s that the worker processes, which import this module too, should not pay

    datasets.disable_progress_bars()
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "id": datasets.Value("string"),
            "title": datasets.Value("string"),
            "group": datasets.Value("string"),
            **{column: datasets.ClassLabel(names=list(names[column])) for column in source.label_columns},
            **source.features,
        }
    )
    shutil.rmtree(folder, ignore_errors=True)
    # save_to_disk copies what is already on the disk, mapped into memory; so it saves an empty dataset, and the images
    # are streamed straight into its files.
    nothing = {name: [] for name in features}
    empty = {split: datasets.Dataset.from_dict(nothing, features=features, split=split) for split in SPLITS}
    datasets.DatasetDict(empty).save_to_disk(folder, num_shards=dict.fromkeys(empty, 1))
    with tqdm(total=len(prepared.rows), desc="writing images", unit="image", disable=None) as progress:
        for split in SPLITS:
            state_path = folder / split / "state.json"
            state = json.loads(state_path.read_text())
            stream_split(folder / split / state["_data_files"][0]["filename"], prepared, split, features, progress)
            state["_fingerprint"] = hashlib.sha256(f"{fingerprint} {split}".encode()).hexdigest()[:16]
            state_path.write_text(json.dumps(state, indent=2))


def stream_split(path: Path, prepared: Prepared, split: str, features, progress: tqdm) -> None:
    """Write the rows of one split to an Arrow stream, a few at a time."""
    from datasets import ClassLabel
    from datasets.arrow_writer import ArrowWriter

    classes = {column: feature.names for column, feature in features.items() if isinstance(feature, ClassLabel)}
    numbers = {column: {name: number for number, name in enumerate(names)} for column, names in classes.items()}
    with ArrowWriter(features=features, path=str(path), writer_batch_size=ROWS_PER_WRITE) as writer:
        waiting = 0
        for index in prepared.positions(split):
            row, data = prepared.rows[index], read_again(prepared.rows[index], prepared.sha256[index])
            cells = {"image": {"bytes": data, "path": Path(row.file).name}, "id": row.id, "title": row.title}
            labels = {column: numbers[column].get(label, NO_LABEL) for column, label in row.labels.items()}
            writer.write(cells | {"group": prepared.groups[index]} | labels | row.extra)
            waiting += len(data)
            if waiting > BYTES_PER_WRITE:
                writer.write_examples_on_file()
                waiting = 0
            progress.update()
        writer.finalize()


def read_again(row: Row, sha256: bytes) -> bytes:
    """The bytes of the first look. Raises UserError when they have changed since."""
    data = row.image.read()
    if hashlib.sha256(data).digest() != sha256:
        raise UserError(f"{row.file} changed while the dataset was prepared; run the command again")
    return data


def write_rejected(folder: Path, rejected: Sequence[tuple[str, str]]) -> None:
    """What was left out, and why."""
    write_table(folder / REJECTED_NAME, ("file", "reason"), sorted(rejected))


def write_leaks(folder: Path, prepared: Prepared) -> None:
    """The images of every group that the given splits tear apart, group by group."""
    splits_of = defaultdict(set)
    for group, split in zip(prepared.groups, prepared.splits, strict=True):
        splits_of[group].add(split)
    lines = zip(prepared.groups, prepared.splits, prepared.rows, strict=True)
    torn = sorted((group, split, row.file) for group, split, row in lines if len(splits_of[group]) > 1)
    write_table(folder / LEAKS_NAME, ("group", "split", "file"), torn)
