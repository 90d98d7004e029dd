"""Titles as teachers (--teach_words): what the words' loss asks for, and that nothing of it is left in the model."""

import json
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from safetensors.torch import load_file

import train
from models.registry import build_model
from training.title_words import WordHead, word_targets

TITLES = ["Blue Polo Shirt", "Blue Denim JEANS 501", "", None]


def titled_rows(repeats: int = 8) -> Dataset:
    features = Features({"title": Value("string"), "gender": ClassLabel(names=["Men", "Young Girls"])})
    return Dataset.from_dict({"title": TITLES * repeats, "gender": [0, 1, 1, 0] * repeats}, features=features)


def run(dataset: Path, output: Path, *more: str, model: str = "basic_cnn") -> dict:
    given = ["--dataset", str(dataset), "--output_dir", str(output), "--model", model, "--label", "articleType"]
    small = ["--from_scratch", "--image_size", "32", "--num_train_epochs", "2", "--export_onnx", "False"]
    small += ["--logging_strategy", "epoch"]
    train.main([*given, *small, *more])
    return json.loads((output / "all_results.json").read_text())


def first_loss(output: Path) -> float:
    """Of the first epoch, as the newest checkpoint's log has it."""
    state = max(output.glob("checkpoint-*/trainer_state.json"), key=lambda path: path.stat().st_mtime)
    return next(entry["loss"] for entry in json.loads(state.read_text())["log_history"] if "loss" in entry)


def test_each_row_shares_its_weight_out_among_its_words_the_rare_ones_first():
    words = word_targets(titled_rows(), ["title"]).toarray()
    assert words.shape == (32, 5)  # blue, polo, shirt, denim, jeans
    assert words[:2].sum(axis=1) == pytest.approx([1, 1])
    assert not words[2:4].any()
    shared, own = sorted(set(np.round(words[0][words[0] > 0], 4)))
    assert shared < own


def test_a_label_of_several_words_counts_as_one():
    words = word_targets(titled_rows(), ["gender"])
    assert words.shape == (32, 2)
    assert words.toarray()[1].tolist() == words.toarray()[2].tolist()


def test_a_word_of_fewer_rows_teaches_nothing():
    with pytest.raises(ValueError, match=r"--teach_words: no word of title occurs in 8 rows"):
        word_targets(titled_rows(repeats=3), ["title"])


def test_the_words_loss_falls_where_the_embedding_tells_them_apart():
    torch.manual_seed(0)
    model = build_model("basic_cnn", ["a", "b"], 32, None, True).train()
    head = WordHead(word_targets(titled_rows(), ["title"]), model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    pixels, rows, losses = torch.rand(2, 3, 32, 32), torch.tensor([0, 1]), []
    for _ in range(30):
        model(pixel_values=pixels)
        losses.append(head.loss(rows))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.3


def test_images_of_another_source_have_no_words_to_learn():
    model = build_model("basic_cnn", ["a", "b"], 32, None, True).train()
    head = WordHead(word_targets(titled_rows(), ["title"]), model)
    model(pixel_values=torch.rand(2, 3, 32, 32))
    with_photo, alone = head.loss(torch.tensor([0, 32])), head.loss(torch.tensor([32, 33]))
    assert with_photo > 0 and alone == 0


def test_the_finished_folder_has_no_trace_of_the_words(drawn_dataset, tmp_path):
    run(drawn_dataset, tmp_path / "taught", "--teach_words", "gender", "--ema", "0.9")
    run(drawn_dataset, tmp_path / "plain", "--ema", "0.9")
    weights = load_file(tmp_path / "taught" / "model.safetensors")
    assert weights.keys() == load_file(tmp_path / "plain" / "model.safetensors").keys()
    assert first_loss(tmp_path / "taught") > first_loss(tmp_path / "plain") + 0.1  # the words' own loss


def test_a_network_of_timm_is_taught_words_and_its_average_kept(drawn_dataset, tmp_path):
    taught = run(drawn_dataset, tmp_path, "--teach_words", "gender", "--ema", "0.9", model="efficientnet_lite0")
    assert np.isfinite(taught["validation_loss"])
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "word" in name]
    checkpoint = load_file(next(tmp_path.glob("checkpoint-*")) / "model.safetensors")
    assert "timm_model.word_head.weight" in checkpoint  # where transformers' wrapper finds it again


def test_a_taught_run_goes_on_where_it_was_stopped(drawn_dataset, tmp_path):
    whole = run(drawn_dataset, tmp_path / "whole", "--teach_words", "gender")
    newest = max((tmp_path / "whole").glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    for path in sorted(newest.rglob("*"), reverse=True):
        path.unlink()
    newest.rmdir()
    resumed = run(drawn_dataset, tmp_path / "whole", "--teach_words", "gender", "--resume_from_checkpoint", "True")
    assert resumed["validation_loss"] == pytest.approx(whole["validation_loss"], abs=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--teach_words", "name"], "--teach_words name is not a column; there are"),
        (["--teach_words", "gender", "--mixup", "0.2"], "it does not go with --mixup or --cutmix"),
        (["--teach_words", "gender", "--folds", "2"], "it does not go with --streaming or --folds"),
    ],
)
def test_a_choice_that_cannot_work_ends_in_one_line(drawn_dataset, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit):
        run(drawn_dataset, tmp_path / "run", *more)
    assert message in capsys.readouterr().err
