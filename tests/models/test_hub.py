"""A model folder goes to the Hub complete and without a pickle, and stock transformers loads it from there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.drawings import draw
from tests.hub_server import running_hub
from tests.models.test_parity import STOCK

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a token of the stand-in"
COMPLETE = {"model.safetensors", "config.json", "preprocessor_config.json", "README.md", "model.onnx", "arguments.json"}


@pytest.fixture
def hub():
    with running_hub(TOKEN) as hub:
        yield hub


def run(home: Path, endpoint: str, *command: str, cwd: Path = ROOT, **more: str) -> subprocess.CompletedProcess:
    """A command as a user types it, with a home of its own and the stand-in for the Hub."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("proxy")}
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=kept | own | more, capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    """The trained folder as an interrupted push of transformers left it: with a pickle."""
    folder = tmp_path / "shirts"
    folder.mkdir()
    for path in trained.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    (folder / "unknown_centres.npy").write_bytes(b"\x93NUMPY")
    (folder / "calibration.json").write_text("{}")
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_export_push_sends_the_whole_folder_without_pickles_and_prints_the_address(folder, hub, tmp_path):
    result = run(tmp_path, hub.url, "export.py", "--model", str(folder), "--push", "me/shirts")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{hub.url}/me/shirts"
    assert set(hub.files) == COMPLETE | {"unknown_centres.npy", "calibration.json"}
    card = yaml.safe_load(hub.files["README.md"].decode().split("---\n")[1])
    assert card["datasets"] and card["license"] and card["model-index"][0]["results"]
    assert "masterCategory" in hub.files["README.md"].decode()
    assert "cc0-1.0" in hub.files["README.md"].decode()


def test_what_was_pushed_loads_in_stock_transformers(folder, hub, tmp_path):
    assert run(tmp_path, hub.url, "export.py", "--model", str(folder), "--push", "me/shirts").returncode == 0
    draw(1).save(tmp_path / "one.png")
    loaded = run(tmp_path / "cache", hub.url, "-c", STOCK, "me/shirts", str(tmp_path / "one.png"), cwd=tmp_path)
    assert loaded.returncode == 0, loaded.stderr[-3000:]
    local = run(tmp_path, hub.url, "-c", STOCK, str(folder), str(tmp_path / "one.png"), cwd=tmp_path)
    assert json.loads(loaded.stdout.splitlines()[-1]) == json.loads(local.stdout.splitlines()[-1])


def test_train_pushes_when_it_is_done_and_predict_still_reads_the_folder(drawn_dataset, hub, tmp_path):
    output = tmp_path / "shirts"
    given = ["--model", "mobilenet_v2", "--from_scratch", "--dataset", str(drawn_dataset), "--label", "articleType"]
    more = ["--image_size", "32", "--num_train_epochs", "1", "--push_to_hub", "--hub_model_id", "me/shirts"]
    result = run(tmp_path, hub.url, "train.py", *given, *more, "--output_dir", str(output))
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.splitlines()[-1] == f"{hub.url}/me/shirts"
    assert set(hub.files) == COMPLETE
    draw(1).save(tmp_path / "one.png")
    answer = run(tmp_path, hub.url, "predict.py", "--model", str(output), "--image_path", str(tmp_path / "one.png"))
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"HF_TOKEN": ""}, "hf auth login"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_TOKEN": "another"}, "does not know this token"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_a_push_that_cannot_work_ends_in_one_line(folder, hub, tmp_path, more, message):
    result = run(tmp_path, hub.url, "export.py", "--model", str(folder), "--push", "me/shirts", **more)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_a_token_training_does_not_even_begin(drawn_dataset, hub, tmp_path):
    given = ["--dataset", str(drawn_dataset), "--label", "articleType", "--from_scratch", "--push_to_hub"]
    result = run(tmp_path, hub.url, "train.py", *given, "--output_dir", str(tmp_path / "run"), HF_TOKEN="")
    assert result.returncode == 2
    assert "hf auth login" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "run" / "model.safetensors").exists()
