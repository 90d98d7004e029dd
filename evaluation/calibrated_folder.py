"""Calibrate a model folder: fit on held-out images, and write calibration.json beside the graph.

content, held_out = calibrate_folder(classifier, ["data/mine"], folder, "python train.py ...")
content, held_out = calibrate_folder(classifier, ["data/mine"], folder, command, oof=folder / "oof.parquet")
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from app.calibration import model_hash
from app.classifier import Classifier
from app.model_files import MODEL_FILE
from data_prep.pipeline.card import dataset_fingerprint
from evaluation.calibration import SPLIT, HeldOut, fit_calibration, held_out_outputs, write_calibration
from evaluation.kinds import LabelMap

OUT_OF_FOLD = "out of fold"


@dataclass(frozen=True)
class Promise:
    """target_precision: share of ok answers to be right. coverage: of sets of labels, None for none. others: folders of
    images of other things. label_map: what classes of other names mean."""

    target_precision: float = 0.99
    coverage: float | None = None
    others: Sequence[Path] = ()
    label_map: LabelMap = field(default_factory=dict)


def calibrate_folder(
    classifier: Classifier,
    datasets: Sequence[str],
    folder: Path,
    command: str,
    promise: Promise | None = None,
    oof: Path | None = None,
) -> tuple[dict, HeldOut]:
    """The content of calibration.json, and what it was fitted on. command: what the user typed. Raises UserError."""
    promise = promise or Promise()
    held_out = held_out_outputs(classifier, datasets, promise.label_map, promise.others, oof)
    fitted, detector = fit_calibration(classifier.taxonomy, held_out, promise.target_precision, promise.coverage)
    content = {
        **fitted,
        "dataset": ", ".join(held_out.kinds),
        "fingerprint": ", ".join(map(dataset_fingerprint, datasets)),
        "split": OUT_OF_FOLD if oof else SPLIT,
        "model_sha256": model_hash(folder / MODEL_FILE),
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
    }
    write_calibration(folder, content, detector)
    return content, held_out
