"""What is checked before a training starts, so that nothing fails hours later that could be known at once."""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel, TrainingArguments

from app.errors import UserError
from training.run_state import LOCK_FILE, CheckpointError, damage

CHECKPOINT = re.compile(r"checkpoint-(\d+)")
ADAM_COPIES = 2  # AdamW's two moments are as large as the weights
FOLDER_COPIES = 2  # model.safetensors and model.onnx


class OutputError(UserError):
    """A folder cannot be written, or its disk does not have enough room; the message says what would help."""


def check_writable(folder: Path, option: str) -> None:
    """Make the folder that the user gave as `option`. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {option} {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write {option} {folder}: permission denied; give another folder with {option}")


@contextmanager
def nothing_left_behind(folders: Iterable[Path]) -> Iterator[None]:
    """After an error the folders that were not there before, and those above them, go if nothing was put into them."""
    made = [place for folder in folders for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except Exception:
        for place in made:
            if place.is_dir() and {path.name for path in place.iterdir()} <= {LOCK_FILE}:
                (place / LOCK_FILE).unlink(missing_ok=True)
                place.rmdir()
        raise


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

    Raises CheckpointError. One that is damaged, such as by a kill, is passed over for the one before, which is said.
    """
    if not wants_to_resume(training):
        return None
    given = training.resume_from_checkpoint
    if given.lower() != "true":
        if not Path(given).is_dir():
            raise CheckpointError(f"no checkpoint folder {given}; True takes the newest of --output_dir")
        if reason := damage(Path(given)):
            raise CheckpointError(f"{given} is not a complete checkpoint: {reason}; True takes the newest complete one")
        return given
    damaged = []
    for checkpoint in reversed(checkpoints(Path(training.output_dir))):
        if reason := damage(checkpoint):
            damaged.append(f"{checkpoint.name} cannot be used ({reason})")
            continue
        _say_on_leader(training, damaged, f"going on from {checkpoint}")
        return str(checkpoint)
    damaged = damaged or [f"no checkpoint in {training.output_dir} yet"]
    _say_on_leader(training, damaged, "starting from the beginning")
    return None


def _say_on_leader(training: TrainingArguments, reasons: list[str], consequence: str) -> None:
    if reasons and training.process_index == 0:
        print(f"{', '.join(reasons)}: {consequence}", file=sys.stderr)


def wants_to_resume(training: TrainingArguments) -> bool:
    given = training.resume_from_checkpoint
    return given is not None and given.lower() != "false"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint folders of an output folder, the oldest step first."""
    return sorted((path for path in folder.glob("checkpoint-*") if CHECKPOINT.fullmatch(path.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    match = CHECKPOINT.fullmatch(checkpoint.name)
    return int(match[1]) if match else 0


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of an output folder."""
    return next((path for path in reversed(checkpoints(folder)) if not damage(path)), None)


def superseded(output: Path, checkpoint: str | None) -> list[Path]:
    """The checkpoints that this training does not go on from: they would pass for its own newest ones.

    All of a training that starts from the beginning, else those after the checkpoint that it goes on from.
    """
    if checkpoint is None or Path(checkpoint).resolve().parent != output.resolve():
        return checkpoints(output)
    return [path for path in checkpoints(output) if step_of(path) > step_of(Path(checkpoint).resolve())]
