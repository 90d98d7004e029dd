"""Cross-validation as a user runs it: honest folds, one after the other or alone, and what stands in oof.parquet."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pyarrow.parquet
import pytest
from datasets import load_from_disk

import calibrate
import train
from app.classifier import Classifier
from data_prep.pipeline.out_of_fold import OOF_NAME
from data_prep.pipeline.prepared import DatasetError
from evaluation.calibration import fit_temperature
from training.cross_validation import is_finished, make_pool
from training.image_dataset import PooledImageDataset

FOLDS = 3
TRAINING = [
    "--model",
    "basic_cnn",
    "--from_scratch",
    "--image_size",
    "32",
    "--num_train_epochs",
    "1",
    "--bf16",
    "False",
]


def run(dataset: Path, output: Path, *more: str) -> None:
    given = ["--dataset", str(dataset), "--label", "articleType", "--output_dir", str(output), *TRAINING]
    train.main([*given, "--folds", str(FOLDS), "--export_onnx", "False", *more])


@pytest.fixture(scope="module")
def finished(drawn_dataset, tmp_path_factory) -> Path:
    """The folder of a cross-validation whose fold 1 was trained first and alone."""
    output = tmp_path_factory.mktemp("folds") / "run"
    run(drawn_dataset, output, "--fold", "1")
    assert not (output / "oof.parquet").exists() and not (output / "fold_0").exists()
    trained = (output / "fold_1" / "model.safetensors").stat().st_mtime_ns
    run(drawn_dataset, output)
    assert (output / "fold_1" / "model.safetensors").stat().st_mtime_ns == trained, "a finished fold was repeated"
    return output


def test_every_row_of_train_and_validation_is_predicted_once(finished, drawn_dataset):
    table = pyarrow.parquet.read_table(finished / "oof.parquet").to_pydict()
    dataset = load_from_disk(drawn_dataset)
    name = dataset["train"].features["articleType"].int2str
    expected = {row["id"]: name(row["articleType"]) for split in ("train", "validation") for row in dataset[split]}
    assert dict(zip(table["id"], table["label"], strict=True)) == expected and len(table["id"]) == len(expected)
    assert set(table["fold"]) == set(range(FOLDS))
    assert np.allclose(np.sum(table["probabilities"], axis=1), 1, atol=1e-5)


def test_the_predictions_are_those_of_the_model_that_did_not_see_the_row(finished, drawn_dataset):
    from PIL import Image
    from transformers import AutoModelForImageClassification, pipeline

    model = AutoModelForImageClassification.from_pretrained(finished / "fold_2")
    row = pyarrow.parquet.read_table(finished / "fold_2" / "oof.parquet").slice(0, 1).to_pylist()[0]
    dataset = load_from_disk(drawn_dataset)
    image = next(
        held["image"] for split in ("train", "validation") for held in dataset[split] if held["id"] == row["id"]
    )
    square = Image.new("RGB", (80, 80), "white")
    square.paste(image, (10, 0))
    answers = pipeline("image-classification", model=model, image_processor=str(finished / "fold_2"))(square, top_k=4)
    said = {answer["label"]: answer["score"] for answer in answers}
    mine = dict(zip(dataset["train"].features["articleType"].names, row["probabilities"], strict=True))
    assert max(abs(said[label] - mine[label]) for label in said) < 0.05  # the pipeline resizes a little differently


def test_the_score_has_an_interval_and_is_that_of_the_file(finished, drawn_dataset, capsys):
    run(drawn_dataset, finished)  # all folds are there: it merges and prints
    out = capsys.readouterr().out
    low, high = map(float, re.search(r"out-of-fold accuracy\s+[\d.]+\s+\[([\d.]+), ([\d.]+)\]", out).groups())
    scores = json.loads((finished / "oof.json").read_text())
    table = pyarrow.parquet.read_table(finished / "oof.parquet").to_pydict()
    names = load_from_disk(drawn_dataset)["train"].features["articleType"].names
    said = [names[i] for i in np.argmax(table["probabilities"], axis=1)]
    right = np.mean([one == other for one, other in zip(said, table["label"], strict=True)])
    assert scores["accuracy"]["value"] == pytest.approx(right, abs=1e-4)
    assert low <= right <= high and len(scores["fold_accuracy"]) == FOLDS


def test_the_doctor_reads_the_file(finished, drawn_dataset, tmp_path):
    from data_prep import doctor

    given = [str(drawn_dataset), "--label", "articleType", "--oof", str(finished / "oof.parquet")]
    doctor.main([*given, "--output", str(tmp_path / "report"), "--num_proc", "1"])
    assert "out-of-fold training" in (tmp_path / "report" / "report.md").read_text()


def test_a_model_is_calibrated_on_answers_out_of_fold(finished, trained, drawn_dataset, tmp_path):
    model = shutil.copytree(trained, tmp_path / "model", ignore=shutil.ignore_patterns("checkpoint-*"))
    given = ["--model", str(model), "--dataset", str(drawn_dataset), "--oof", str(finished / "oof.parquet")]
    calibrate.main([*given, "--coverage", "0.9"])
    content = json.loads((model / "calibration.json").read_text())
    table = pyarrow.parquet.read_table(finished / "oof.parquet").to_pydict()
    number_of = {label: i for i, label in enumerate(Classifier.load(model).labels)}
    truth = np.array([number_of[label] for label in table["label"]])
    logits = np.array(table["logits"])
    assert content["split"] == "out of fold" and content["unknown"]["method"] == "energy"
    assert content["temperature"] == pytest.approx(fit_temperature(logits, truth), rel=1e-3)


@pytest.mark.parametrize(("file", "reason"), [("README.md", "cannot be read"), ("nowhere", "there is no such file")])
def test_a_file_that_is_not_out_of_fold_is_refused(trained, drawn_dataset, file, reason, capsys):
    with pytest.raises(SystemExit):
        calibrate.main(["--model", str(trained), "--dataset", str(drawn_dataset), "--oof", str(trained / file)])
    message = capsys.readouterr().err.splitlines()[-1]
    assert "is not an oof.parquet" in message and reason in message


def test_folds_of_another_seed_are_not_mixed_with_the_finished_ones(finished, drawn_dataset, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoint-*"))
    with pytest.raises(SystemExit):
        run(drawn_dataset, copy, "--seed", "5")
    assert "was trained with seed 42, not 5; choose another --output_dir" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--fold", "3"], "--fold 3 must be from 0 to 2"),
        (["--folds", "1"], "--folds 1 must be at least 2"),
        (["--folds", "5000"], "--folds 5000 needs as many duplicate groups"),
        (["--folds", "0", "--fold", "1"], "--fold 1 needs --folds"),
    ],
)
def test_a_fold_that_cannot_be_is_one_line(drawn_dataset, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as stopped:
        run(drawn_dataset, tmp_path / "run", *more)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


class Split(dict):
    """As much of a datasets.Dataset as make_pool reads."""

    @property
    def features(self):
        return {"label": type("Feature", (), {"names": ["a", "b"]})}


def catalog() -> dict[str, Split]:
    """120 products of two classes, a quarter of them with three images each."""
    generator = np.random.default_rng(0)
    groups = [f"g{number}" for number in range(120) for _ in range(3 if number % 4 == 0 else 1)]
    labels = [int(group[1:]) % 3 == 0 for group in groups]
    order = generator.permutation(len(groups)).tolist()
    cut = 140
    parts = {"train": order[:cut], "validation": order[cut:]}
    return {
        name: Split(id=[str(i) for i in rows], group=[groups[i] for i in rows], label=[int(labels[i]) for i in rows])
        for name, rows in parts.items()
    }


def test_no_duplicate_group_is_torn_and_every_fold_has_the_same_mix_of_classes():
    pool = make_pool(catalog(), "label", 5, seed=1)
    fold_of_group: dict[str, set] = {}
    for group, fold in zip(pool.groups, pool.fold_of.tolist(), strict=True):
        fold_of_group.setdefault(group, set()).add(fold)
    assert all(len(found) == 1 for found in fold_of_group.values())
    shares = [pool.labels[pool.fold_of == fold].mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.1
    sizes = Counter(pool.fold_of.tolist()).values()
    assert max(sizes) - min(sizes) <= 6


def test_the_seed_decides_the_folds():
    first, again, other = (make_pool(catalog(), "label", 5, seed).fold_of for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_pooled_images_are_the_rows_of_their_parts():
    class Part:
        def __init__(self, start: int, count: int):
            self.pixels = np.arange(start, start + count, dtype=np.uint8).repeat(12).reshape(count, 2, 2, 3)
            self.labels = np.arange(start, start + count)[:, None]

        def __len__(self):
            return len(self.pixels)

        def ids(self, rows):
            return [f"id {self.labels[row, 0]}" for row in rows]

    pooled = PooledImageDataset([Part(0, 5), Part(5, 4)], np.array([8, 0, 5, 4]))
    pixels, labels, rows = pooled.__getitems__([0, 3, 2])
    assert pixels[:, 0, 0, 0].tolist() == [8, 4, 5] == labels[:, 0].tolist()
    assert rows.tolist() == [0, 3, 2] and pooled.ids([1, 0]) == ["id 0", "id 8"] and len(pooled) == 4


def test_a_damaged_fold_file_says_what_to_do(tmp_path):
    (tmp_path / OOF_NAME).write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match="oof.parquet .* cannot be read .* delete it"):
        is_finished(tmp_path, {"seed": 1})
