"""predict.py as a user runs it, in this process or in one of its own."""

import json
import subprocess
import sys
from pathlib import Path

import predict

ROOT = Path(__file__).resolve().parents[2]


def run(capsys, model: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `predict.py --model MODEL --image_path ARGUMENTS`."""
    try:
        code = predict.main(["--model", model, "--image_path", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def labels_in(jsonl: str) -> list[str | None]:
    return [json.loads(line)["label"] for line in jsonl.splitlines()]


def process(model: str, *arguments: str, **options) -> subprocess.Popen:
    command = [sys.executable, ROOT / "predict.py", "--model", model, "--image_path", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
