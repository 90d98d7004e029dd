"""The same command under torchrun: two processes train what one does, on the same global batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOBAL_BATCH = 16


def run(dataset: Path, output: Path, processes: int) -> dict[str, float]:
    """Scores of one epoch of a model without BatchNorm, whose statistics are each process's own."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), str(ROOT / "train.py")]
    command += ["--model", "vit_tiny", "--from_scratch", "--image_size", "32", "--augment", "none", "--bf16", "False"]
    command += ["--dataset", str(dataset), "--label", "articleType", "--output_dir", str(output)]
    command += ["--per_device_train_batch_size", str(GLOBAL_BATCH // processes), "--num_train_epochs", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, "--export_onnx", "False"], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=900
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((output / "all_results.json").read_text())


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(drawn_dataset, tmp_path):
    one, two = (run(drawn_dataset, tmp_path / str(processes), processes) for processes in (1, 2))
    assert two["validation_loss"] == pytest.approx(one["validation_loss"], abs=1e-3)
    assert two["test_loss"] == pytest.approx(one["test_loss"], abs=1e-3)
    assert two["test_accuracy"] == one["test_accuracy"]
