"""What a training is, written into its folder and into each of its checkpoints, so that a resumed run is the same one.

with one_training(Path("runs/mine")):                       # a second one in this folder is refused
    state = RunState.begin(Path("runs/mine"), identity(...), checkpoint)   # refuses a checkpoint of another training
"""

import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from transformers import TrainingArguments

from app.errors import UserError
from app.files import write_json
from training.arguments import Arguments, Recipe

RUN_FILE = "run.json"
LOCK_FILE = ".training.lock"
TRAINER_STATE = "trainer_state.json"  # the file that Trainer writes last
OF_EACH_PROCESS = "rng_state"  # files that the other processes write in their own time
READ_BYTES = 1 << 20
SHOWN_LABELS = 3
# Options that may differ between a run and its continuation: where things lie, and what comes after the training.
FREE = {
    "dataset",
    "label",
    "cache_dir",
    "fold",
    "export_onnx",
    "early_stopping_patience",
    "scorecard",
    "frozen",
    "tune",
    "lr_find",
    "attributes",
}
# TrainingArguments without which a continuation would be another training.
DECISIVE = (
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate"),
    *("weight_decay", "lr_scheduler_type", "warmup_steps", "label_smoothing_factor", "max_grad_norm", "optim"),
    *("seed", "data_seed"),
)
NEW_START = "or start a new training: another --output_dir, without --resume_from_checkpoint"


class CheckpointError(UserError):
    """There is nothing to resume from where --resume_from_checkpoint points, or it is of another training."""


class BusyError(UserError):
    """Another training is writing into the folder."""


@contextmanager
def one_training(folder: Path, leader: bool = True) -> Iterator[None]:
    """Holds the folder for one training; leader: whether this process is the first of those that train together.

    Raises BusyError. The system lets go of the lock when the process ends, however it ends.
    """
    if not leader:
        yield
        return
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BusyError(
            f"another training is writing into {folder}: wait for it, or give another --output_dir"
        ) from error
    try:
        yield
    finally:
        lock.release()


def identity(
    labels: Sequence[str], fingerprint: str | None, training: TrainingArguments, arguments: Arguments, recipe: Recipe
) -> dict[str, Any]:
    """What a continuation must have in common with the run that it continues, what matters most first."""
    options = {**asdict(arguments), **asdict(recipe)}
    given = training.to_dict()
    return {
        "label": arguments.label,
        "labels": list(labels),
        "fingerprint": fingerprint,
        **{name: value for name, value in options.items() if name not in FREE},
        **{name: given[name] for name in DECISIVE},
    }


@dataclass
class RunState:
    """One training in its folder. trackers: by name what names this run there. superseded: checkpoints that go."""

    folder: Path
    identity: dict[str, Any]
    trackers: dict[str, str] = field(default_factory=dict)
    superseded: list[Path] = field(default_factory=list)

    @classmethod
    def begin(cls, folder: Path, identity: dict[str, Any], dataset: str, checkpoint: str | None) -> "RunState":
        """The state of a new run, or of the one that the checkpoint is from. Raises CheckpointError."""
        state = cls(folder, json.loads(json.dumps(identity)))
        if checkpoint:
            check_identity(Path(checkpoint), state.identity, dataset)
            state.trackers = read_state(folder).get("trackers", {}) or read_state(Path(checkpoint)).get("trackers", {})
        return state

    def write(self) -> None:
        write_json(self.folder / RUN_FILE, {**self.identity, "trackers": self.trackers})

    def before_checkpoint(self, checkpoint: Path) -> None:
        """Take away what would make a half-written checkpoint look whole, and what an earlier training left."""
        for old in self.superseded:
            shutil.rmtree(old, ignore_errors=True)
        self.superseded = []
        for name in (RUN_FILE, TRAINER_STATE):
            (checkpoint / name).unlink(missing_ok=True)

    def after_checkpoint(self, checkpoint: Path) -> None:
        """The identity of the run and the checksums of the files that are now complete."""
        names = (path.name for path in checkpoint.iterdir() if path.is_file() and path.name != RUN_FILE)
        sums = {name: checksum(checkpoint / name) for name in sorted(names) if not name.startswith(OF_EACH_PROCESS)}
        write_json(checkpoint / RUN_FILE, {**self.identity, "trackers": self.trackers, "checksums": sums})


def read_state(folder: Path) -> dict[str, Any]:
    """The content of run.json; empty where there is none that can be read."""
    try:
        content = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def checksum(path: Path) -> int:
    """CRC-32 of a file: it tells damage, at the speed of the disk."""
    value = 0
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            value = zlib.crc32(part, value)
    return value


def damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint, or an empty string."""
    try:
        json.loads((checkpoint / TRAINER_STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{TRAINER_STATE} is missing or not complete"
    for name, expected in read_state(checkpoint).get("checksums", {}).items():
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if checksum(checkpoint / name) != expected:
            return f"{name} is damaged"
    return _unreadable(checkpoint)


def _unreadable(checkpoint: Path) -> str:
    """The first file that its own format calls damaged, for checkpoints without checksums."""
    for path in sorted(checkpoint.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError):
            return f"{path.name} is damaged"
    for path in sorted([*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth")]):
        try:
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
        except (zipfile.BadZipFile, OSError):
            return f"{path.name} is damaged"
        if broken:
            return f"{path.name} is damaged"
    return ""


def check_identity(checkpoint: Path, now: dict[str, Any], dataset: str) -> None:
    """Raises CheckpointError that names the first difference between the checkpoint's training and this one."""
    before = read_state(checkpoint) or _labels_alone(checkpoint)
    for name in (key for key in now if key in before and before[key] != now[key]):
        if name == "labels":
            difference = label_differences(before[name], now[name]) or "they are in another order"
            raise CheckpointError(
                f"{checkpoint} was trained on other labels than those of {dataset}: {difference}; give the dataset "
                f"that it was trained on, {NEW_START}"
            )
        if name == "fingerprint":
            raise CheckpointError(
                f"{checkpoint} was trained on a dataset with fingerprint {before[name]}, and {dataset} has {now[name]}"
                f": give the dataset that it was trained on, {NEW_START}"
            )
        raise CheckpointError(
            f"{checkpoint} was begun with --{name} {before[name]}, and this is {now[name]}: give the same again, "
            f"{NEW_START}"
        )


def _labels_alone(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint without run.json tells: the labels in its config."""
    try:
        names = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["id2label"]
    except (OSError, ValueError, KeyError):
        return {}
    return {"labels": [names[number] for number in sorted(names, key=int)]}


def label_differences(own: Sequence[str], labels: Sequence[str]) -> str:
    """Which labels a model or the dataset lacks, in words; empty if none."""
    known, wanted = set(own), set(labels)
    missing, extra = [label for label in labels if label not in known], [label for label in own if label not in wanted]
    return " and ".join(
        f"{what} {len(names)} ({', '.join(names[:SHOWN_LABELS])}{', …' if len(names) > SHOWN_LABELS else ''})"
        for what, names in (("it lacks", missing), ("the dataset lacks", extra))
        if names
    )
