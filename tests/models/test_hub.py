"""A model folder goes to the Hub complete and without a pickle, and stock transformers loads it from there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants

import export
import predict
import train
from app.classifier import Classifier
from tests.drawings import draw
from tests.hub_server import Hub, running_hub
from tests.models.test_parity import STOCK

TOKEN = "a token of the stand-in"
COMPLETE = {"model.safetensors", "config.json", "preprocessor_config.json", "README.md", "model.onnx", "arguments.json"}


def use_hub(patch: pytest.MonkeyPatch, home: Path, endpoint: str, token: str = TOKEN, offline: bool = False) -> None:
    """What HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE set in a process of its own."""
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("proxy")]:
        patch.delenv(name)
    patch.setenv("HF_TOKEN", token)
    patch.setattr(constants, "ENDPOINT", endpoint)
    patch.setattr(constants, "HF_HUB_OFFLINE", offline)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    patch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
    huggingface_hub.close_session()  # one of another test knows another network


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    with running_hub(TOKEN) as hub:
        use_hub(monkeypatch, tmp_path, hub.url)
        yield hub
    huggingface_hub.close_session()


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory) -> Path:
    """The trained folder as an interrupted push of transformers left it: with a pickle."""
    folder = tmp_path_factory.mktemp("pushed") / "shirts"
    folder.mkdir()
    for path in trained.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    (folder / "unknown_centres.npy").write_bytes(b"\x93NUMPY")
    (folder / "calibration.json").write_text("{}")
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_export_push_sends_the_whole_folder_without_pickles_and_stock_transformers_loads_it(
    folder, hub, tmp_path, capsys
):
    export.main(["--model", str(folder), "--push", "me/shirts"])
    assert capsys.readouterr().out.splitlines()[-1] == f"{hub.url}/me/shirts"
    assert set(hub.files) == COMPLETE | {"unknown_centres.npy", "calibration.json"}
    card = yaml.safe_load(hub.files["README.md"].decode().split("---\n")[1])
    assert card["datasets"] and card["license"] and card["model-index"][0]["results"]
    assert "masterCategory" in hub.files["README.md"].decode()
    assert "cc0-1.0" in hub.files["README.md"].decode()
    assert said_by_stock_transformers("me/shirts", hub, tmp_path) == said_by_classifier(folder, tmp_path)


def said_by_stock_transformers(repository: str, hub: Hub, home: Path) -> dict[str, float]:
    """In an empty folder and a process of its own, which knows the Hub by the variables that a user sets."""
    draw(1).save(home / "one.png")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
    }
    command = [sys.executable, "-c", STOCK, repository, str(home / "one.png")]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    by_pipeline, _ = json.loads(done.stdout.splitlines()[-1])[str(home / "one.png")]
    return {label: round(score, 3) for label, score in by_pipeline.items()}


def said_by_classifier(folder: Path, home: Path) -> dict[str, float]:
    classifier = Classifier.load(shutil.copytree(folder, home / "own", ignore=shutil.ignore_patterns("*.bin", "cal*")))
    (prediction,) = classifier.predict([home / "one.png"], top_k=len(classifier.labels))
    return pytest.approx({one.label: one.confidence for one in prediction.top_k}, abs=1e-3)


def test_train_pushes_when_it_is_done_and_predict_still_reads_the_folder(drawn_dataset, hub, tmp_path, capsys):
    output = tmp_path / "shirts"
    given = ["--model", "basic_cnn", "--from_scratch", "--dataset", str(drawn_dataset), "--label", "articleType"]
    more = ["--image_size", "32", "--num_train_epochs", "1", "--push_to_hub", "--hub_model_id", "me/shirts"]
    train.main([*given, *more, "--output_dir", str(output)])
    assert f"{hub.url}/me/shirts" in capsys.readouterr().out.splitlines()
    assert set(hub.files) >= {*COMPLETE, "calibration.json", "scorecard.json"}
    assert not [name for name in hub.files if name.endswith((".bin", ".pt", ".pth", ".pkl", ".parquet"))]
    draw(1).save(tmp_path / "one.png")
    predict.main(["--model", str(output), "--image_path", str(tmp_path / "one.png")])
    assert "one.png" in capsys.readouterr().out


def fails_in_one_line(command, arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        command(arguments)
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"token": ""}, "hf auth login"),
        ({"offline": True}, "HF_HUB_OFFLINE is set"),
        ({"token": "another"}, "does not know this token"),
        ({"endpoint": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_a_push_that_cannot_work_ends_in_one_line(folder, hub, tmp_path, monkeypatch, capsys, given, message):
    use_hub(monkeypatch, tmp_path, **({"endpoint": hub.url} | given))
    assert message in fails_in_one_line(export.main, ["--model", str(folder), "--push", "me/shirts"], capsys)


def test_without_a_token_training_does_not_even_begin(drawn_dataset, hub, tmp_path, monkeypatch, capsys):
    use_hub(monkeypatch, tmp_path, hub.url, token="")
    given = ["--dataset", str(drawn_dataset), "--label", "articleType", "--from_scratch", "--push_to_hub"]
    assert "hf auth login" in fails_in_one_line(train.main, [*given, "--output_dir", str(tmp_path / "run")], capsys)
    assert not (tmp_path / "run" / "model.safetensors").exists()
