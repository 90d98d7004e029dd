"""What follows a training: calibration, the scorecard and the last screen.

finish(Finished(folder, dataset, label, command, started))               # by the validation and test splits
finish(Finished(folder, dataset, label, command, started), oof=path)     # by out-of-fold answers
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from datasets import DatasetDict

from app.classifier import Classifier
from app.errors import UserError
from app.files import write_json
from data_prep.pipeline.prepared import load_prepared
from evaluation.calibrated_folder import OUT_OF_FOLD, calibrate_folder
from evaluation.calibration import fitted_softmax
from evaluation.predictions import run_split
from evaluation.provenance import machine
from training.model_card import SCORECARD_FILE
from training.scorecard import Scored, lines_of, make_scorecard


@dataclass(frozen=True)
class Finished:
    """A complete model folder. command: what the user typed. started: time.monotonic() of the command's start."""

    folder: Path
    dataset: str
    label: str
    command: str
    started: float


def finish(
    done: Finished,
    oof: Path | None = None,
    learned: Sequence[str] = ("train",),
    extras: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Calibrate, write scorecard.json and say how good the model is and what to type next.

    oof: out-of-fold answers, for a model that has learned more than the train split. learned: the splits. extras: what
    the calibrated folder learns besides; gives lines for the screen.
    """
    try:
        card = judge(done, oof, learned)
    except UserError as error:  # the model is there, and worth more than its scores
        print(f"note: the model is in {done.folder}, but its scorecard cannot be made: {error}", file=sys.stderr)
    else:
        write_json(done.folder / SCORECARD_FILE, card)
        print("\n".join(lines_of(card)))
    try:
        if lines := extras():
            print("\n".join(["", *lines]))
    finally:
        say_where(done)


def say_where(done: Finished) -> None:
    """How long it took, where the model is, and what to type next."""
    print(f"\n{duration(time.monotonic() - done.started)} in all; the model is in {done.folder}. Next:")
    print(f"    python predict.py --model {done.folder} --image_path photo.jpg")


def judge(done: Finished, oof: Path | None, learned: Sequence[str]) -> dict:
    """Calibrate, and give the content of scorecard.json. Raises UserError."""
    classifier = Classifier.load(done.folder, precision="fp32", calibrated=False)
    content, held_out = calibrate_folder(classifier, [done.dataset], done.folder, done.command, oof=oof)
    splits = load_prepared(done.dataset, done.label, ["train"])
    if len(splits.get("test", ())) and "test" not in learned:
        scored = Scored("test", run_split(classifier, done.dataset, "test"))
    else:
        scored = Scored(OUT_OF_FOLD if oof else "validation", next(iter(held_out.kinds.values())))
    facts = {
        "command": done.command,
        "dataset": Path(done.dataset).resolve().name,
        "fingerprint": content["fingerprint"],
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "seconds": round(time.monotonic() - done.started, 1),
    }
    images = taught(splits, done.label, learned)
    return make_scorecard(classifier, scored, held_out, fitted_softmax(content), images, facts)


def taught(splits: DatasetDict, label: str, learned: Sequence[str]) -> Counter:
    """Training images by label; classes without one count too."""
    numbers = np.concatenate([np.asarray(splits[name][label]) for name in learned])
    names = splits["train"].features[label].names
    counts = np.bincount(numbers[numbers >= 0], minlength=len(names))
    return Counter(dict(zip(names, counts.tolist(), strict=True)))


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
