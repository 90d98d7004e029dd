"""Tracked runs: what W&B and Trackio get of a training, read back from the disk, and that no key is in it."""

import json
import struct
import sys
from pathlib import Path
from uuid import uuid4

import models.torchvision_cpu  # noqa: F401  before transformers

import pytest

import train

SECRETS = {"WANDB_API_KEY": "5ec2e7" * 6 + "5ec2", "HF_TOKEN": "hf_5ec2e7token5ec2e7token5ec2e7"}
TRAINING = ["--model", "basic_cnn", "--from_scratch", "--image_size", "32", "--num_train_epochs", "2"]
BLOCK = 32768  # of W&B's file, LevelDB's log format


def run(dataset: Path, output: Path, *more: str) -> Path:
    given = ["--dataset", str(dataset), "--label", "articleType", "--output_dir", str(output), *TRAINING]
    train.main([*given, "--per_device_train_batch_size", "32", *more])
    return output


def records(folder: Path) -> list:
    """The records of the one offline run below `folder`."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, position, part, found = path.read_bytes(), 7, b"", []
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        part += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            found.append(Record.FromString(part))
            part = b""
    return found


def keys(items) -> set[str]:
    """Of logged items; an image or a table is logged as several, `nested_key` being the path to each."""
    return {item.key or item.nested_key[0] for item in items}


@pytest.fixture(scope="module")
def recorded(drawn_dataset, tmp_path_factory) -> tuple[Path, str]:
    """A folder with an offline W&B run made with keys in the environment, and what the training printed."""
    import wandb

    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch, (folder / "printed.txt").open("w+") as printed:
        for name, value in {**SECRETS, "WANDB_MODE": "offline", "WANDB_DIR": str(folder)}.items():
            patch.setenv(name, value)
        patch.setenv("WANDB_LOG_MODEL", "end")
        patch.setattr(sys, "stdout", printed)
        patch.setattr(sys, "stderr", printed)
        wandb.teardown()  # an earlier test's settings
        run(drawn_dataset, folder / "run", "--report_to", "wandb")
        wandb.teardown()
    return folder, (folder / "printed.txt").read_text()


def test_wandb_gets_arguments_curves_and_the_final_test_score(recorded):
    found = records(recorded[0])
    config = {item.key: item.value_json for record in found for item in record.config.update}
    config |= {item.key: item.value_json for record in found for item in record.run.config.update}
    assert json.loads(config["model"]) == "basic_cnn" and json.loads(config["learning_rate"]) > 0
    assert json.loads(config["command"]).startswith("python train.py") and len(json.loads(config["fingerprint"])) == 16
    history = [keys(record.history.item) for record in found if record.history.item]
    assert sum("eval/accuracy" in step for step in history) == 2, "one point of the learning curve an epoch"
    summary = {item.key: item.value_json for record in found for item in record.summary.update}
    scores = json.loads((recorded[0] / "run" / "all_results.json").read_text())
    assert json.loads(summary["test_accuracy"]) == pytest.approx(scores["test_accuracy"], abs=1e-4)
    assert {"test_macro_f1_low", "test_top5", "test_subCategory_accuracy"} <= set(summary)


def test_wandb_gets_the_surest_mistakes_with_images_and_the_confusion_matrix(recorded):
    found = records(recorded[0])
    logged = set().union(*(keys(record.history.item) for record in found))
    assert {"surest_mistakes", "classes", "confusion"} <= logged
    media = next((recorded[0] / "wandb").glob("offline-run-*/files/media"))
    table = json.loads(next(media.glob("table/surest_mistakes*.json")).read_text())
    assert table["columns"] == ["image", "id", "is", "said", "confidence"]
    assert table["data"] and all(row[2] != row[3] for row in table["data"])
    stored = [name for record in found for name in artifact_files(record) if "surest_mistakes" in record_name(record)]
    assert sum(name.endswith(".png") for name in stored) == len(table["data"]), "an image a row goes with the table"
    assert list(media.glob("images/confusion*.png"))


def artifact_of(record):
    return record.artifact if record.artifact.type else record.request.log_artifact.artifact


def record_name(record) -> str:
    return artifact_of(record).name


def artifact_files(record) -> list[str]:
    return [entry.path for entry in artifact_of(record).manifest.contents]


def test_the_model_goes_up_as_an_artifact_without_a_pickle_if_asked(recorded):
    models = [record for record in records(recorded[0]) if artifact_of(record).type == "model"]
    names = set(artifact_files(models[0]))
    assert {"model.safetensors", "model.onnx", "config.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth"))]


def test_the_line_to_upload_an_offline_run_is_printed(recorded):
    line = next(
        line for line in recorded[1].splitlines() if line.startswith("recorded on disk; to upload it: wandb sync ")
    )
    assert list(Path(line.split("wandb sync ")[1]).glob("*.wandb"))


def test_no_key_is_in_any_file_or_on_the_screen(recorded):
    folder, printed = recorded
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 20
    for secret in SECRETS.values():
        assert secret not in printed
        assert not [str(file) for file in files if secret.encode() in file.read_bytes()]


def test_trackio_gets_the_same(drawn_dataset, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    project = uuid4().hex  # trackio may have read TRACKIO_DIR before, and keeps what earlier runs left
    more = ("--report_to", "trackio", "--project", project, "--export_onnx", "False")
    run(drawn_dataset, tmp_path / "run", *more)
    from trackio.sqlite_storage import SQLiteStorage

    logs = SQLiteStorage.get_logs(project, "run")
    logged = set().union(*logs)
    assert {"eval/accuracy", "surest_mistakes", "confusion", "test_accuracy_low"} <= logged
    assert sum("eval/accuracy" in step for step in logs) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--report_to", "paper"], "--report_to paper is not known; wandb, trackio or none"),
        (["--report_to", "trackio"], "--report_to trackio needs a package that is not installed: pip install trackio"),
        (["--hub_token", "hf_abc"], "put it into the environment variable HF_TOKEN"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(drawn_dataset, tmp_path, monkeypatch, capsys, more, message):
    from training import tracking

    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        run(drawn_dataset, tmp_path / "run", *more)
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert message in last and "hf_abc" not in last
    assert not (tmp_path / "run").exists()
