"""What is checked before a training starts, so that nothing fails hours later that could be known at once."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

from transformers import PreTrainedModel, TrainingArguments

from app.errors import UserError

TRAINER_STATE = "trainer_state.json"  # the file that Trainer writes last
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
ADAM_COPIES = 2  # AdamW's two moments are as large as the weights
FOLDER_COPIES = 2  # model.safetensors and model.onnx


class OutputError(UserError):
    """A folder cannot be written, or its disk does not have enough room; the message says what would help."""


class CheckpointError(UserError):
    """There is nothing to resume from where --resume_from_checkpoint points."""


def check_writable(folder: Path, option: str) -> None:
    """Make the folder that the user gave as `option`. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {option} {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write {option} {folder}: permission denied; give another folder with {option}")


def check_room(
    model: PreTrainedModel, training: TrainingArguments, averaged: bool, cache: Path | None, cached: int
) -> None:
    """Compare what the training will write with what the disks have left. Raises OutputError.

    averaged: whether checkpoints hold the average of the weights too. cache, cached: the folder for decoded images,
    if there is one, and the bytes that will be written to it.
    """
    output = Path(training.output_dir)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    checkpoint = weights * (1 + averaged + (0 if training.save_only_model else ADAM_COPIES))
    existing = sum(file.stat().st_size for file in output.glob("checkpoint-*/*"))
    checkpoints = max(0, checkpoint * _checkpoints(training) - existing)
    needs = [(output, checkpoints + FOLDER_COPIES * weights), (cache or output, cached)]
    for folder, _ in needs:
        disk = folder.stat().st_dev
        needed = sum(size for other, size in needs if other.stat().st_dev == disk)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise OutputError(
                f"the disk of {folder} has {_megabytes(free)} left, and the training writes {_megabytes(needed)} to it "
                f"(checkpoints {_megabytes(checkpoints)}, decoded images {_megabytes(cached)}): make room, give "
                "another --output_dir or --cache_dir, or keep fewer checkpoints with --save_total_limit 1"
            )


def _checkpoints(training: TrainingArguments) -> int:
    """How many checkpoints are on the disk at a time: a new one is complete before an old one is deleted."""
    if training.save_strategy == "no":
        return 0
    return training.save_total_limit + 1 if training.save_total_limit else int(training.num_train_epochs)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def checkpoint_to_resume(training: TrainingArguments) -> str | None:
    """The checkpoint that --resume_from_checkpoint means: a folder, or True for the newest of the output folder.

    Raises CheckpointError.
    """
    given = training.resume_from_checkpoint
    if given is None or given.lower() == "false":
        return None
    if given.lower() != "true":
        if not Path(given).is_dir():
            raise CheckpointError(f"no checkpoint folder {given}; True takes the newest of --output_dir")
        if not is_complete(Path(given)):
            raise CheckpointError(f"{given} is not a complete checkpoint; True takes the newest complete one")
        return given
    newest = newest_checkpoint(Path(training.output_dir))
    if newest is None:
        print(f"no checkpoint in {training.output_dir} yet: starting from the beginning", file=sys.stderr)
    return newest and str(newest)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of an output folder; one that a kill left half-written does not count."""
    matches = [(CHECKPOINT.fullmatch(path.name), path) for path in folder.glob("checkpoint-*")]
    steps = {int(match[1]): path for match, path in matches if match and is_complete(path)}
    return steps[max(steps)] if steps else None


def is_complete(checkpoint: Path) -> bool:
    """Whether Trainer's state is there and whole."""
    try:
        json.loads((checkpoint / TRAINER_STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
