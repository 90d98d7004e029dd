"""leaderboard.py: the table of the runs, the smallest model that is as good as the best, and W&B's runs."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import wandb

import leaderboard
from evaluation.leaderboard import END, START
from evaluation.runs import FACTS

ROWS = 16


def run(name: str, correct: np.ndarray, megabytes: float, **changed) -> dict:
    """What validate.py writes, as far as the leaderboard reads it."""
    interval = {"value": float(correct.mean()), "interval": [0.0, 1.0]}
    facts = dict.fromkeys(FACTS, "-") | {"megabytes": megabytes, "images_per_second": 50.0}
    where = {"dataset": "drawn", "fingerprint": "f" * 16, "split": "test", "rows": len(correct)}
    scores = {"accuracy": interval, "macro_f1": interval, "top5": interval, "expected_calibration_error": 0.1}
    bits = {"correct_rows": np.packbits(correct).tobytes().hex()}
    return {"name": name, **where, **scores, **facts, **bits, "seed": 42, **changed}


def results(folder: Path, *runs: dict) -> Path:
    (folder / "runs").mkdir()
    for content in runs:
        (folder / "runs" / f"{content['name']}.json").write_text(json.dumps(content))
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_leaderboard_names_the_smallest_model_that_is_as_good(tmp_path):
    right = np.ones(ROWS, np.uint8)
    almost = np.r_[0, right[1:]].astype(np.uint8)
    results(tmp_path, run("large", right, 20.0), run("small", almost, 5.0), run("poor", 0 * right, 1.0))
    (tmp_path / "README.md").write_text(f"# Mine\n\n{START}\nold\n{END}\nkept\n")
    leaderboard.main(["--results", str(tmp_path)])
    text = (tmp_path / "README.md").read_text()
    assert "small is the smallest model as good as large (p = 1.00)." in text
    assert "old" not in text and text.startswith("# Mine") and text.endswith("kept\n")
    assert [row["name"] for row in table(tmp_path / "leaderboard.csv")] == ["large", "small", "poor"]
    assert {row["seed"] for row in table(tmp_path / "leaderboard.csv")} == {"42"}


def test_runs_on_other_data_stand_in_a_table_of_their_own(tmp_path):
    right = np.ones(ROWS, np.uint8)
    worse = np.r_[np.zeros(8), np.ones(8)].astype(np.uint8)
    results(tmp_path, run("here", worse, 1.0), run("there", right, 9.0, fingerprint="0" * 16))
    leaderboard.main(["--results", str(tmp_path)])
    text = (tmp_path / "README.md").read_text()
    assert text.count("| model |") == 2 and "as good as" not in text


def test_a_file_that_is_not_a_run_is_named(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "odd.json").write_text("{}")
    with pytest.raises(SystemExit):
        leaderboard.main(["--results", str(tmp_path)])
    assert "odd.json is not a run that validate.py wrote" in capsys.readouterr().err


# --- Weights & Biases ------------------------------------------------------------------------------------------------


def wandb_run(name: str, accuracy: float | None, **config):
    """A run as wandb.Api gives it."""
    ends = {"test_accuracy_low": 0.8, "test_accuracy_high": 0.9, "test_macro_f1": 0.6}
    summary = {} if accuracy is None else {"test_accuracy": accuracy, "test_rows": 3953, **ends}
    known = {"dataset": "data/fashion", "fingerprint": "f" * 16, "command": "python train.py --model vit", "seed": 42}
    facts = {"model/num_parameters": 5_000_000, **known, **config}
    return SimpleNamespace(name=name, summary=summary, config=facts, created_at="2026-05-01T10:00:00")


@pytest.fixture
def account(monkeypatch):
    """Runs in a stand-in for W&B's server."""
    runs: list = []
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(runs=lambda project: runs if project == "shop" else None))
    return runs


def test_the_runs_of_wandb_get_the_same_columns(account, tmp_path, capsys):
    account += [wandb_run("vit_tiny", 0.85), wandb_run("resnet50", 0.88), wandb_run("unfinished", None)]
    leaderboard.main(["--wandb", "shop", "--results", str(tmp_path / "new")])
    rows = table(tmp_path / "new" / "leaderboard_wandb.csv")
    assert [(row["name"], row["accuracy"], row["accuracy_low"]) for row in rows] == [
        ("resnet50", "0.88", "0.8"),
        ("vit_tiny", "0.85", "0.8"),
    ]
    assert rows[0]["parameters"] == "5000000" and rows[0]["dataset"] == "fashion" and rows[0]["images_per_second"] == ""
    right = np.ones(ROWS, np.uint8)
    results(tmp_path, run("local", right, 1.0))
    leaderboard.main(["--results", str(tmp_path)])
    assert list(rows[0]) == list(table(tmp_path / "leaderboard.csv")[0])
    out = capsys.readouterr().out
    assert "| resnet50 | 88.0 (80.0–90.0) | 60.0 |" in out and "1 others have no test score" in out


def test_without_a_key_one_line_says_where_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(SystemExit) as stopped:
        leaderboard.main(["--wandb", "shop", "--results", str(tmp_path)])
    assert stopped.value.code == 2
    assert "no W&B key: set WANDB_API_KEY, or run `wandb login`" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("error", [ValueError("Could not find project shop"), wandb.errors.CommError("offline\nnow")])
def test_what_wandb_refuses_is_one_line(account, tmp_path, monkeypatch, capsys, error):
    def refuse(project):
        raise error

    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(runs=refuse))
    with pytest.raises(SystemExit):
        leaderboard.main(["--wandb", "shop", "--results", str(tmp_path)])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("leaderboard.py: error: W&B does not give the runs of shop: ")


def test_a_project_without_scores_says_so(account, tmp_path, capsys):
    account += [wandb_run("other", None)]
    with pytest.raises(SystemExit):
        leaderboard.main(["--wandb", "shop", "--results", str(tmp_path)])
    assert "none of the 1 runs of shop has a test score that train.py recorded" in capsys.readouterr().err
    assert not (tmp_path / "leaderboard_wandb.csv").exists()
