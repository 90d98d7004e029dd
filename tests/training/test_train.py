"""train.py as a user runs it: what a run leaves behind, how it fails, how it goes on after a kill."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageClassification, pipeline

import train
from training.augment.batch import PerSampleAffine, PerSampleColorJitter, batch_transforms

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--from_scratch", "--image_size", "32", "--per_device_train_batch_size", "16", "--label_smoothing_factor", "0"]
NO_EXPORT = ["--export_onnx", "False"]
RECIPES = {
    "plain": [],
    "everything": [
        *("--augment", "trivial", "--mixup", "0.2", "--cutmix", "1", "--random_erasing", "0.25", "--ema", "0.9"),
        *("--sampler", "balanced", "--class_weights", "effective", "--loss", "focal", "--logit_adjustment", "1"),
    ],
}


def arguments(dataset: Path, output: Path, *more: str) -> list[str]:
    given = ["--dataset", str(dataset), "--label", "articleType", "--output_dir", str(output), *TINY, *more]
    return given if "--model" in more else ["--model", "basic_cnn", *given]


def scores(folder: Path) -> dict[str, float]:
    return json.loads((folder / "all_results.json").read_text())


def test_a_run_leaves_a_complete_hugging_face_model(trained):
    model = AutoModelForImageClassification.from_pretrained(trained)
    assert model.config.id2label == {0: "Jeans", 1: "Shirts", 2: "Sports Shoes", 3: "Tshirts"}
    assert model.config.taxonomy["paths"]["Jeans"] == ["Apparel", "Bottomwear", "Jeans"]
    assert pipeline("image-classification", model=str(trained))(str(ROOT / "examples" / "tshirts.jpg"))


def test_a_run_leaves_arguments_scores_and_a_card(trained):
    saved = json.loads((trained / "arguments.json").read_text())
    assert (saved["training"]["seed"], saved["augment"], saved["layer_decay"]) == (42, "basic", 1.0)
    expected = {"test_accuracy", "test_macro_f1", "test_top5", "test_subCategory_accuracy", "validation_accuracy"}
    assert expected <= set(scores(trained))
    card = (trained / "README.md").read_text()
    assert "model-index" in card and "test" in card


def test_a_published_folder_holds_no_pickle(trained):
    assert not [file for file in trained.iterdir() if file.suffix in {".bin", ".pt", ".pth", ".pkl"}]


def test_the_onnx_graph_and_torch_agree_on_any_batch_size(trained):
    import onnxruntime

    pixels = np.random.default_rng(0).uniform(-1, 1, (5, 3, 32, 32)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(str(trained / "model.onnx")).run(["logits"], {"pixel_values": pixels})
    model = AutoModelForImageClassification.from_pretrained(trained).eval()
    with torch.inference_mode():
        expected = model(pixel_values=torch.from_numpy(pixels)).logits.numpy()
    assert np.abs(logits - expected).max() < 1e-4


def test_the_same_seed_gives_the_same_scores_also_for_a_label_outside_the_taxonomy(drawn_dataset, tmp_path):
    for name in ("first", "second"):
        more = ["--num_train_epochs", "1", "--seed", "7", "--label", "gender", *NO_EXPORT]
        train.main(arguments(drawn_dataset, tmp_path / name, *more))
    first, second = scores(tmp_path / "first"), scores(tmp_path / "second")
    assert {k: v for k, v in first.items() if k.endswith(("loss", "f1"))} == {
        k: v for k, v in second.items() if k.endswith(("loss", "f1"))
    }


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_killed_run_resumes_to_the_same_loss(recipe, drawn_dataset, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    three_epochs = ["--num_train_epochs", "3", *RECIPES[recipe], *NO_EXPORT]
    train.main(arguments(drawn_dataset, whole, *three_epochs))
    kill_after_the_first_epoch(arguments(drawn_dataset, broken, *three_epochs), broken)
    half_written = broken / "checkpoint-99"
    half_written.mkdir()
    (half_written / "trainer_state.json").write_text('{"epoch": ')
    train.main(arguments(drawn_dataset, broken, *three_epochs, "--resume_from_checkpoint", "True"))
    for name in ("test_loss", "validation_loss", "test_macro_f1"):
        assert abs(scores(broken)[name] - scores(whole)[name]) < 1e-4


def kill_after_the_first_epoch(given: list[str], output: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *given],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (output / "checkpoint-4" / "trainer_state.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline, "no checkpoint after five minutes"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_tracking_without_a_key_records_on_disk(drawn_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    more = ["--num_train_epochs", "1", "--report_to", "wandb", *NO_EXPORT]
    run = arguments(drawn_dataset, tmp_path / "run", *more)
    result = subprocess.run([sys.executable, str(ROOT / "train.py"), *run], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-2000:]
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--label", "colour"], "has no label column 'colour'; it has "),
        (["--dataset", "nowhere"], "--dataset nowhere: there is no such folder, archive or table"),
        (["--modle", "vit"], "--modle"),
        (["--augment", "wild"], "invalid choice: 'wild'"),
        (["--model", "org/unknown"], "--from_scratch needs a model of this table, not 'org/unknown'"),
        (["--resume_from_checkpoint", "nowhere"], "no checkpoint folder nowhere"),
        (["--resume_from_checkpoint", str(ROOT)], "is not a complete checkpoint"),
        (["--output_dir", "/proc/run"], "cannot write --output_dir /proc/run"),
    ],
)
def test_a_wrong_option_ends_with_one_line_that_says_what_would_do(drawn_dataset, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as stopped:
        train.main([*arguments(drawn_dataset, tmp_path / "run"), *more])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_without_network_and_weights_the_error_names_both_ways_out(drawn_dataset, tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), "--model", "vit", "--dataset", str(drawn_dataset)]
    command += ["--label", "articleType", "--output_dir", str(tmp_path / "run")]
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "--pretrained DIR" in result.stderr and "--from_scratch" in result.stderr


def test_batch_norm_keeps_a_long_memory_for_fine_tuning():
    from models.registry import build_model

    model = build_model("mobilenet_v2", ["a", "b"], image_size=32, from_scratch=True)
    momenta = {module.momentum for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert momenta == {0.05}


def test_each_image_of_a_batch_is_changed_in_its_own_way():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32)
    for change in (PerSampleAffine(), PerSampleColorJitter()):
        changed = change(image.repeat(4, 1, 1, 1))
        assert changed.shape == (4, 3, 32, 32)
        assert len({tuple(one.flatten()[:50].tolist()) for one in changed}) == 4
        assert changed.min() >= 0 and changed.max() <= 1


def test_evaluation_only_normalizes():
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    _, evaluation = batch_transforms("basic", [0.5] * 3, [0.5] * 3)
    assert torch.allclose(evaluation(pixels), pixels.float() / 127.5 - 1, atol=1e-6)


def test_workers_that_stay_answer_for_the_split_that_is_asked_about(drawn_dataset, tmp_path):
    stay = ["--dataloader_num_workers", "1", "--dataloader_persistent_workers", "True"]
    for name, more in (("alone", []), ("workers", stay)):
        train.main(arguments(drawn_dataset, tmp_path / name, "--num_train_epochs", "1", *NO_EXPORT, *more))
    alone, workers = (scores(tmp_path / name) for name in ("alone", "workers"))
    assert alone["test_loss"] != alone["validation_loss"]
    assert workers["test_loss"] == pytest.approx(alone["test_loss"])
