"""The pieces of work of a study, each done once: a training of one fold, say. Their results lie in small files.

    unit = Unit("mobilenet_v2", "fold_0", {"arguments": [...], "fingerprint": "…"}, seconds=50, work=train_it)
    run_missing([unit], Path("runs/studies/slash8"), dry_run=False)
    result_of(unit, folder).arrays["logits"]

A unit's file carries a hash of `made_by`, so that a changed recipe or other data are another unit and the old result is
never taken for it. A study that is killed loses the unit it was at, nothing else.
"""

import hashlib
import json
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.errors import UserError
from app.files import replacing, write_json
from evaluation.provenance import machine
from models.export_onnx import ExportError
from models.registry import MODELS

KEY_DIGITS = 10
WEIGHTS_FILE = "model.safetensors"


class MissingModelError(UserError):
    """The model that a unit starts from is not there."""


@dataclass(frozen=True)
class Unit:
    """row: the line of the table it belongs to. part: which part of it. made_by: all that decides the result.

    seconds: what it takes on two quiet cores. work: gets a folder of its own, which goes afterwards unless `keep`, and
    returns arrays, or a Result with facts beside them. weights: folder or Hub id that it starts from, if any.
    """

    row: str
    part: str
    made_by: dict
    seconds: float
    work: Callable[[Path], "dict[str, np.ndarray] | Result"] = field(repr=False)
    keep: bool = False
    weights: str | None = None

    @property
    def key(self) -> str:
        content = json.dumps(self.made_by, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:KEY_DIGITS]

    def path(self, folder: Path) -> Path:
        return folder / self.row / f"{self.part}-{self.key}.json"

    def model_folder(self, folder: Path) -> Path:
        return self.path(folder).with_suffix("")


@dataclass(frozen=True)
class Result:
    """What a finished unit left: `facts` has made_by, seconds, machine and its work's own; arrays are the work's."""

    facts: dict
    arrays: dict[str, np.ndarray]


def result_of(unit: Unit, folder: Path) -> Result | None:
    """None where the unit was not run. Raises UserError for a damaged file, naming it."""
    path = unit.path(folder)
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            return Result(facts, dict(arrays))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} or its .npz is damaged ({error}); delete both, the study makes them again") from error


def run_missing(units: Sequence[Unit], folder: Path, dry_run: bool) -> list[str]:
    """Do what is not there yet, in this order; with dry_run only say what that would be. Gives the rows that failed.

    A row whose weights cannot be had or whose loss is not finite any more costs that row only.
    """
    missing = [unit for unit in units if not unit.path(folder).exists()]
    minutes = sum(unit.seconds for unit in missing) / 60
    print(f"{len(units)} units, {len(missing)} to do, about {minutes:.0f} minutes on two quiet cores")
    failed: list[str] = []
    for number, unit in enumerate(missing, start=1):
        print(f"{number:4} of {len(missing)}  {unit.row}, {unit.part}: about {unit.seconds:.0f} s", flush=True)
        if dry_run or unit.row in failed:
            continue
        try:
            print(f"           done in {run(unit, folder):.0f} s", flush=True)
        except (SystemExit, OSError, UserError, ExportError) as error:
            failed.append(unit.row)
            print(f"           FAILED, the row is left out: {error}", file=sys.stderr, flush=True)
    return failed


def run(unit: Unit, folder: Path) -> float:
    """Do one unit and keep its result; gives the seconds it took. The JSON comes last: with it the unit is done."""
    check_weights(unit.weights)
    start = time.perf_counter()
    own_folder, path = unit.model_folder(folder), unit.path(folder)
    own_folder.mkdir(parents=True, exist_ok=True)
    outcome = unit.work(own_folder)
    facts, arrays = (outcome.facts, outcome.arrays) if isinstance(outcome, Result) else ({}, outcome)
    seconds = time.perf_counter() - start
    with replacing(path.with_suffix(".npz")) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    write_json(path, {"made_by": unit.made_by, "seconds": round(seconds, 1), "machine": machine(), **facts})
    if not unit.keep:
        shutil.rmtree(own_folder)
    return seconds


def check_weights(weights: str | None) -> None:
    """Raises MissingModelError for what is neither a folder nor a Hub id of models/registry.py: the Hub takes long."""
    on_hub = {spec.checkpoint for spec in MODELS.values()}
    if weights is not None and weights not in on_hub and not Path(weights).is_dir():
        raise MissingModelError(f"its weights {weights} are not there; --help says which option names them")


def fingerprint_of_weights(weights: str | None) -> str | None:
    """A hash of a local folder's weights; a Hub id stands for itself."""
    path = Path(weights or "") / WEIGHTS_FILE
    if weights is None or not path.is_file():
        return weights
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
