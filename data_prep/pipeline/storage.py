"""Prepared datasets on the disk: images streamed into Arrow files, lists beside them, one step to the final name."""

import csv
import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from data_prep.pipeline import splits
from data_prep.pipeline.card import read_card
from data_prep.pipeline.images import DatasetImage, open_split, split_key
from data_prep.pipeline.schema import Options, Prepared, Row, Source

REJECTED_NAME = "rejected.csv"
LEAKS_NAME = "leaks.csv"
ROWS_A_WRITE = 500  # rows held in memory by the Arrow writer
BYTES_A_WRITE = 32_000_000


def write_staging(
    prepared: Prepared, source: Source, names: Mapping[str, Sequence[str]], partial: Path, version: str
) -> Path:
    """Stream the images into a DatasetDict inside the partial folder; `version` keeps caches of maps apart."""
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
    staging = partial / "dataset"
    shutil.rmtree(staging, ignore_errors=True)
    # save_to_disk copies what is already on the disk, mapped into memory; so it saves an empty dataset, and the images
    # are streamed straight into its files.
    nothing = {name: [] for name in features}
    empty = {split: datasets.Dataset.from_dict(nothing, features=features, split=split) for split in splits.SPLITS}
    datasets.DatasetDict(empty).save_to_disk(staging, num_shards=dict.fromkeys(empty, 1))
    with tqdm(total=len(prepared.rows), desc="writing images", unit="image", disable=None) as progress:
        for split in splits.SPLITS:
            state_path = staging / split / "state.json"
            state = json.loads(state_path.read_text())
            stream_split(prepared, split, features, staging / split / state["_data_files"][0]["filename"], progress)
            state["_fingerprint"] = hashlib.sha256(f"{version} {split}".encode()).hexdigest()[:16]
            state_path.write_text(json.dumps(state, indent=2))
    return staging


def stream_split(prepared: Prepared, split: str, features, path: Path, progress: tqdm) -> None:
    """Write the rows of one split to an Arrow stream, a few at a time."""
    from datasets.arrow_writer import ArrowWriter

    with ArrowWriter(features=features, path=str(path), writer_batch_size=ROWS_A_WRITE) as writer:
        waiting = 0
        for row, sha256, group, mine in zip(
            prepared.rows, prepared.sha256, prepared.groups, prepared.splits, strict=True
        ):
            if mine != split:
                continue
            data = read_again(row, sha256)
            image = {"bytes": data, "path": Path(row.file).name}
            writer.write({"image": image, "id": row.id, "title": row.title, "group": group, **row.labels, **row.extra})
            waiting += len(data)
            if waiting > BYTES_A_WRITE:
                writer.write_examples_on_file()
                waiting = 0
            progress.update()
        writer.finalize()


def read_again(row: Row, sha256: bytes) -> bytes:
    """The bytes of the first look. Raises ValueError when they have changed since."""
    data = row.image.read()
    if hashlib.sha256(data).digest() != sha256:
        raise ValueError(f"{row.file} changed while the dataset was prepared; run the command again")
    return data


def write_rejected(path: Path, rejected: Sequence[tuple[str, str]]) -> None:
    """What was left out, and why."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "reason"])
        writer.writerows(sorted(rejected))


def write_leaks(path: Path, prepared: Prepared) -> None:
    """The images of every group that the given splits tear apart, group by group."""
    spread = defaultdict(set)
    for group, split in zip(prepared.groups, prepared.splits, strict=True):
        spread[group].add(split)
    lines = zip(prepared.groups, prepared.splits, prepared.rows, strict=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["group", "split", "file"])
        writer.writerows(sorted((group, split, row.file) for group, split, row in lines if len(spread[group]) > 1))


def publish(staging: Path, options: Options) -> None:
    """Move the finished folder to its final name in one step."""
    if options.output.exists():
        old = options.output.with_name(f".{options.output.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(options.output, old)
        os.replace(staging, options.output)
        shutil.rmtree(old)
    else:
        os.replace(staging, options.output)


def read_rows(folder: Path) -> Iterator[Row]:
    """The rows of a prepared dataset, with their splits and groups, for the commands that start from one."""
    label_columns = read_card(folder)["label_columns"]
    for split in splits.SPLITS:
        part = open_split(str(folder), split, split_key(str(folder), split))
        paths = part.select_columns("image").flatten().select_columns("image.path")
        batches = zip(part.remove_columns("image").iter(ROWS_A_WRITE), paths.iter(ROWS_A_WRITE), strict=True)
        features, index = part.features, 0  # asked once: `part.features` copies them all
        for batch, names in batches:
            for file, *cells in zip(names["image.path"], *batch.values(), strict=True):
                values = dict(zip(batch, cells, strict=True))
                labels = {name: label_name(features[name], values.pop(name)) for name in label_columns}
                yield Row(
                    file=file or "",
                    image=DatasetImage(str(folder), split, index),
                    id=values.pop("id") or "",
                    title=values.pop("title") or "",
                    group=values.pop("group") or "",
                    labels=labels,
                    split=split,
                    extra=values,
                )
                index += 1


def label_name(feature, value: int | str | None) -> str:
    """The name of a label, whether the column holds numbers or names; empty for an unknown one."""
    if value is None or value == -1:
        return ""
    return feature.int2str(value) if hasattr(feature, "int2str") else str(value)
