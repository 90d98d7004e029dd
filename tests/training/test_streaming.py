"""Training from Parquet shards: nothing is copied, the order is drawn by the seed, foreign rows are not fetched."""

import io
import json
import shutil
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import datasets
import fsspec
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

import train
from data_prep.pipeline.prepared import DatasetError
from data_prep.shards import main as write_shards
from training import streaming
from training.streaming import StreamedImageDataset, open_shards

TRAINING = ["--model", "basic_cnn", "--from_scratch", "--image_size", "32", "--num_train_epochs", "2"]


@pytest.fixture(autouse=True)
def no_pause_between_tries(monkeypatch):
    monkeypatch.setattr(datasets.config, "STREAMING_READ_RETRY_INTERVAL", 0)


@pytest.fixture(scope="module")
def shards(drawn_dataset, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("shards") / "drawn"
    write_shards(["--dataset", str(drawn_dataset), "--output", str(output), "--rows", "20"])
    return output


def run(address: str, output: Path, *more: str) -> dict[str, float]:
    given = ["--streaming", "--dataset", address, "--label", "articleType", "--output_dir", str(output), *TRAINING]
    train.main([*given, "--per_device_train_batch_size", "16", *more])
    return json.loads((output / "all_results.json").read_text())


def order(images: StreamedImageDataset) -> list[int]:
    """What tells the images apart, in the order in which they come."""
    return [int(pixels.astype(np.int64).sum()) for pixels, _ in images]


def test_the_shards_hold_every_row_and_the_taxonomy(shards, drawn_dataset):
    assert len(list(shards.glob("train-*-of-00004.parquet"))) == 4
    splits = open_shards(str(shards), "articleType", ["train", "validation", "test"])
    for name, split in datasets.load_from_disk(drawn_dataset).items():
        assert splits[name].column("id") == split["id"][:] and splits[name].rows == len(split)
    assert streaming.shards_taxonomy(str(shards), "articleType", ["Jeans"])["paths"]["Jeans"][0] == "Apparel"


def test_an_epoch_has_every_image_once_in_an_order_drawn_by_seed_and_epoch(shards):
    split = open_shards(str(shards), "articleType", ["train"])["train"]
    plain, shuffled = (
        StreamedImageDataset(split, ["articleType"], 32),
        StreamedImageDataset(split, ["articleType"], 32, seed=1),
    )
    first = order(shuffled)
    shuffled.set_epoch(1)
    second = order(shuffled)
    shuffled.set_epoch(0)
    assert len(first) == len(plain) == 64 and order(shuffled) == first
    assert sorted(first) == sorted(second) == sorted(order(plain)) and first != second


def test_a_run_on_shards_behind_an_address_leaves_a_complete_model(shards, tmp_path):
    fsspec.filesystem("memory").put(str(shards), "/shop/drawn", recursive=True)
    scores = run("memory://shop/drawn", tmp_path / "run")
    assert {"test_accuracy", "validation_accuracy", "test_subCategory_accuracy"} <= set(scores)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["taxonomy"]["levels"][0] == "masterCategory"
    assert (tmp_path / "run" / "model.onnx").exists()
    assert scores["epoch"] == 2


@pytest.mark.slow
def test_an_interrupted_run_resumes_in_the_same_order(shards, tmp_path):
    more = ["--export_onnx", "False", "--save_strategy", "steps", "--save_steps", "3", "--eval_strategy", "no"]
    more += ["--load_best_model_at_end", "False", "--save_total_limit", "9"]
    whole = run(str(shards), tmp_path / "whole", *more)
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "broken" / "checkpoint-3")
    resumed = run(str(shards), tmp_path / "broken", *more, "--resume_from_checkpoint", "True")
    assert abs(resumed["test_loss"] - whole["test_loss"]) < 1e-4


def write_shard(folder: Path, images: list, name: str = "train", **feature) -> Path:
    """A shard of someone else's, with one row an image struct."""
    folder.mkdir(exist_ok=True)
    label = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "id": datasets.Value("string"), "label": label}
    )
    rows = {"image": images, "id": [str(i) for i in range(len(images))], "label": [i % 2 for i in range(len(images))]}
    table = pyarrow.table(rows, schema=features.arrow_schema)  # datasets would fetch what the rows name
    pyarrow.parquet.write_table(table, folder / f"{name}-0.parquet")
    return folder


def embedded(color: str) -> dict:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), color).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": "a.png"}


@pytest.mark.parametrize("path", ["http://127.0.0.1:9/image.png", "/etc/hostname", "hf://datasets/x/y.png"])
def test_a_row_that_names_a_place_instead_of_holding_an_image_is_refused_unread(tmp_path, path):
    folder = write_shard(tmp_path / "evil", [embedded("red"), {"bytes": None, "path": path}])
    with pytest.raises(DatasetError, match="1 rows without the bytes of an image are refused"):
        open_shards(str(folder), "label", ["train"])
    split = streaming.StreamedSplit([str(folder / "train-0.parquet")], features_of(folder), 2)
    with pytest.raises(DatasetError, match="rows such as 1 without the bytes of an image are refused"):
        order(StreamedImageDataset(split, ["label"], 32, seed=1))


def test_a_dataset_that_names_places_is_not_written_as_shards(tmp_path, drawn_dataset, monkeypatch, capsys):
    features = datasets.Features({"image": datasets.Image(decode=False)})
    evil = datasets.Dataset.from_dict({"image": [{"bytes": None, "path": "/etc/hostname"}]}, features=features)
    monkeypatch.setattr("data_prep.shards.load_from_disk", lambda folder: {"train": evil})
    with pytest.raises(SystemExit):
        write_shards(["--dataset", str(drawn_dataset), "--output", str(tmp_path / "shards")])
    assert "1 rows without the bytes of an image are refused" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "shards").exists()


def features_of(folder: Path) -> datasets.Features:
    return datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(folder / "train-0.parquet"))


def test_a_damaged_image_costs_one_row_of_training_and_stops_an_evaluation(tmp_path):
    folder = write_shard(tmp_path / "damaged", [embedded("red"), {"bytes": b"no image", "path": "b.png"}])
    split = open_shards(str(folder), "label", ["train"])["train"]
    with pytest.warns(UserWarning, match="the image 1 is left out"):
        assert len(order(StreamedImageDataset(split, ["label"], 32, seed=1))) == 1
    with pytest.raises(DatasetError, match="image 1: .*a score needs every image"):
        order(StreamedImageDataset(split, ["label"], 32))


@pytest.mark.parametrize(
    ("address", "more", "message"),
    [
        ("nowhere", [], "nowhere has no shards train*.parquet; it has no .parquet files"),
        ("ftpx://a/b", [], "--dataset ftpx://a/b cannot be opened: Protocol not known: ftpx"),
        ("SHARDS", ["--label", "colour"], "has no label column 'colour'; it has articleType"),
        ("SHARDS", ["--sampler", "balanced"], "--sampler balanced picks any row"),
        ("SHARDS", ["--fit_head"], "--fit_head reads every image before the first step"),
        ("SHARDS", ["--folds", "3"], "--folds picks rows, which --streaming cannot"),
    ],
)
def test_shards_that_cannot_be_used_are_one_line(shards, tmp_path, capsys, address, more, message):
    with pytest.raises(SystemExit) as stopped:
        run(address.replace("SHARDS", str(shards)), tmp_path / "run", *more)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_file_that_is_not_parquet_is_named(tmp_path):
    (tmp_path / "train-0.parquet").write_bytes(b"PAR0")
    with pytest.raises(DatasetError, match="train-0.parquet is not a readable Parquet file"):
        open_shards(str(tmp_path), "label", ["train"])


def test_writing_refuses_what_exists_and_what_is_not_a_dataset(shards, drawn_dataset, tmp_path, capsys):
    for given, message in (
        ([str(drawn_dataset), str(shards)], "exists; choose another --output"),
        ([str(tmp_path), str(tmp_path / "new")], "is not a prepared dataset"),
    ):
        with pytest.raises(SystemExit):
            write_shards(["--dataset", given[0], "--output", given[1]])
        assert message in capsys.readouterr().err.splitlines()[-1]
