"""A resumed run is the same run: other data or options are refused, damage is passed over, one training a folder."""

import json
import shutil
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import pytest
from drawings import fill

import train
from data_prep import image_folder
from training.run_state import one_training

TINY = ["--model", "basic_cnn", "--from_scratch", "--image_size", "32", "--per_device_train_batch_size", "16"]
KEEP_ALL = ["--save_total_limit", "9", "--export_onnx", "False"]
RESUME = ["--resume_from_checkpoint", "True"]


def prepare(folder: Path, classes: str, first_seed: int = 0) -> Path:
    """A prepared dataset of patterns, twelve of each class."""
    counts = {"train": 8, "validation": 2, "test": 2}
    names = [
        f"{split}/{label}/{number}.jpg" for label in classes for split in counts for number in range(counts[split])
    ]
    files = {name: first_seed + number for number, name in enumerate(names)}
    image_folder.main(["--input", str(fill(folder / "images", files)), "--output", str(folder / "dataset")])
    return folder / "dataset"


def run(dataset: Path, output: Path, *more: str) -> None:
    train.main(
        ["--dataset", str(dataset), "--output_dir", str(output), *TINY, "--num_train_epochs", "2", *KEEP_ALL, *more]
    )


def refused(capsys, dataset: Path, output: Path, *more: str) -> str:
    """The one line with which the command ends."""
    with pytest.raises(SystemExit) as stopped:
        run(dataset, output, *more)
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("three"), "abc")


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory) -> Path:
    """A training of two epochs with both of its checkpoints."""
    output = tmp_path_factory.mktemp("finished") / "run"
    run(dataset, output)
    return output


@pytest.fixture
def stopped_run(finished, tmp_path) -> Path:
    """The folder as a kill after the second checkpoint leaves it."""
    output = tmp_path / "run"
    output.mkdir()
    for part in ("run.json", "checkpoint-2", "checkpoint-4"):
        copy = shutil.copytree if (finished / part).is_dir() else shutil.copy
        copy(finished / part, output / part)
    return output


def scores(folder: Path) -> dict:
    return json.loads((folder / "all_results.json").read_text())


# The same training


def test_another_dataset_with_the_same_labels_is_refused_by_its_fingerprint(stopped_run, dataset, tmp_path, capsys):
    other = prepare(tmp_path, "abc", first_seed=500)
    line = refused(capsys, other, stopped_run, *RESUME)
    fingerprint = json.loads((stopped_run / "run.json").read_text())["fingerprint"]
    assert f"checkpoint-4 was trained on a dataset with fingerprint {fingerprint}, and {other} has " in line
    assert "give the dataset that it was trained on, or start a new training: another --output_dir" in line


@pytest.mark.parametrize(
    ("classes", "difference"),
    [
        ("ab", "the dataset lacks 1 (c)"),
        ("abcd", "it lacks 1 (d)"),
        ("abx", "it lacks 1 (x) and the dataset lacks 1 (c)"),
    ],
)
@pytest.mark.parametrize("with_state", [True, False])
def test_other_classes_are_refused_by_their_names(stopped_run, tmp_path, capsys, classes, difference, with_state):
    if not with_state:  # a checkpoint of an earlier version: its config tells the labels
        for note in stopped_run.glob("**/run.json"):
            note.unlink()
    line = refused(capsys, prepare(tmp_path / "other", classes), stopped_run, *RESUME)
    assert "checkpoint-4 was trained on other labels than those of " in line and difference in line


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--learning_rate", "0.5"], "was begun with --learning_rate 0.01, and this is 0.5"),
        (["--mixup", "0.2"], "was begun with --mixup 0.0, and this is 0.2"),
        (["--image_size", "48"], "was begun with --image_size 32, and this is 48"),
        (["--num_train_epochs", "9"], "was begun with --num_train_epochs 2.0, and this is 9.0"),
        (["--model", "residual_cnn"], "was begun with --model basic_cnn, and this is residual_cnn"),
    ],
)
def test_another_recipe_is_refused_by_the_first_option_that_differs(stopped_run, dataset, capsys, more, said):
    began = json.loads((stopped_run / "checkpoint-4" / "run.json").read_text())
    said = said.replace("learning_rate 0.01", f"learning_rate {began['learning_rate']}")
    assert said in refused(capsys, dataset, stopped_run, *RESUME, *more)


def test_a_checkpoint_given_by_name_is_compared_too(finished, tmp_path, capsys):
    other = prepare(tmp_path, "abx")
    line = refused(capsys, other, tmp_path / "run", "--resume_from_checkpoint", str(finished / "checkpoint-2"))
    assert "checkpoint-2 was trained on other labels" in line


def test_what_decides_nothing_may_change(stopped_run, dataset, tmp_path):
    run(dataset, stopped_run, *RESUME, "--cache_dir", str(tmp_path / "cache"), "--save_total_limit", "1")
    assert "test_accuracy" in scores(stopped_run)


# Damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"])
def test_a_cut_off_newest_checkpoint_gives_way_to_the_one_before(stopped_run, dataset, capsys, name, with_state):
    if not with_state:
        (stopped_run / "checkpoint-4" / "run.json").unlink()
    cut(stopped_run / "checkpoint-4" / name)
    run(dataset, stopped_run, *RESUME)
    said = [line for line in capsys.readouterr().err.splitlines() if "checkpoint-4 cannot be used" in line]
    assert len(said) == 1 and name in said[0] and said[0].endswith(f"going on from {stopped_run / 'checkpoint-2'}")
    assert scores(stopped_run)["epoch"] == 2


def test_one_changed_byte_of_the_weights_is_noticed(stopped_run, dataset, capsys):
    flip(stopped_run / "checkpoint-4" / "model.safetensors")
    run(dataset, stopped_run, *RESUME)
    assert "checkpoint-4 cannot be used (model.safetensors is damaged)" in capsys.readouterr().err


def test_a_missing_file_is_noticed_and_without_a_good_checkpoint_the_training_starts_anew(stopped_run, dataset, capsys):
    (stopped_run / "checkpoint-4" / "optimizer.pt").unlink()
    cut(stopped_run / "checkpoint-2" / "model.safetensors")
    run(dataset, stopped_run, *RESUME)
    said = capsys.readouterr().err
    assert "checkpoint-4 cannot be used (optimizer.pt is missing), checkpoint-2 cannot be used " in said
    assert "starting from the beginning" in said and scores(stopped_run)["epoch"] == 2


def test_a_damaged_checkpoint_given_by_name_is_an_error(stopped_run, dataset, capsys):
    flip(stopped_run / "checkpoint-4" / "optimizer.pt")
    line = refused(capsys, dataset, stopped_run, "--resume_from_checkpoint", str(stopped_run / "checkpoint-4"))
    assert "checkpoint-4 is not a complete checkpoint: optimizer.pt is damaged; True takes the newest" in line


# One training a folder


def test_a_second_training_in_the_same_folder_is_one_line(dataset, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with one_training(tmp_path / "run"):
        line = refused(capsys, dataset, tmp_path / "run")
    assert f"another training is writing into {tmp_path / 'run'}: wait for it, or give another --output_dir" in line
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_checkpoints_of_an_earlier_training_do_not_pass_for_the_newest(stopped_run, dataset, capsys):
    (stopped_run / "checkpoint-4").rename(stopped_run / "checkpoint-4000")
    run(dataset, stopped_run, "--num_train_epochs", "1", "--save_total_limit", "1")
    said = capsys.readouterr().err
    assert "holds checkpoints of an earlier training" in said and "add --resume_from_checkpoint True" in said
    assert [path.name for path in stopped_run.glob("checkpoint-*")] == ["checkpoint-2"]
    assert json.loads((stopped_run / "checkpoint-2" / "run.json").read_text())["num_train_epochs"] == 1


# One recorded run


def test_a_resumed_run_is_the_same_run_of_wandb(stopped_run, dataset, tmp_path, monkeypatch, capsys):
    import wandb

    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()
    run(dataset, tmp_path / "new", "--report_to", "wandb", "--run_name", "mine")
    shutil.rmtree(tmp_path / "new" / "checkpoint-4")
    wandb.teardown()
    run(dataset, tmp_path / "new", "--report_to", "wandb", *RESUME)
    wandb.teardown()
    parts = sorted(tmp_path.glob("wandb/offline-run-*"))
    assert len({part.name.rsplit("-", 1)[1] for part in parts}) == 1 <= len(parts)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "wandb sync" in line][1:]
    assert all(str(part) in line for part in parts)
    run(dataset, tmp_path / "new", "--report_to", "wandb")  # from the beginning: a run of its own
    wandb.teardown()
    assert len({part.name.rsplit("-", 1)[1] for part in tmp_path.glob("wandb/offline-run-*")}) == 2


def test_a_resumed_run_is_the_same_run_of_trackio(stopped_run, dataset, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    given = ["--report_to", "trackio", "--project", tmp_path.parent.name + tmp_path.name]
    run(dataset, tmp_path / "new", *given, "--run_name", "mine")
    shutil.rmtree(tmp_path / "new" / "checkpoint-4")
    run(dataset, tmp_path / "new", *given, *RESUME)
    from trackio.sqlite_storage import SQLiteStorage

    assert SQLiteStorage.get_runs(given[-1]) == ["mine"]
