"""Record a training run in Weights & Biases or Trackio, and read W&B's runs back for the leaderboard.

    WANDB_API_KEY=... python train.py --report_to wandb ...     # without a key: on disk, for `wandb sync` later
    python train.py --report_to trackio ...                     # a dashboard on this machine, `trackio show`

The Trainer's own callbacks send the metrics of every epoch. Here the run starts, with every resolved argument, and ends
with what a finished model has to show: the test score with its interval in the summary, the surest mistakes as images
in a table, every class, the confusion matrix, and with WANDB_LOG_MODEL=end the model folder as an artifact.
Keys come from the environment or from `wandb login`, never from the command line, and go nowhere from here.
"""

import io
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.special import softmax

if TYPE_CHECKING:  # leaderboard.py reads runs without it, which saves seconds
    from transformers import Trainer, TrainingArguments

PROJECT = "snapshelf"
CALLBACK_PROJECT = "huggingface"  # transformers' own default, which is nobody's choice
TRACKERS = ("wandb", "trackio")
MISTAKES = 24
MAX_MATRIX_CLASSES = 60  # W&B draws no larger confusion matrix; the image of the worst 20 classes is always there
SCORES = ("accuracy", "macro_f1", "top5")
ERROR_LENGTH = 300
# What the published part of a model folder consists of; the Trainer's checkpoints hold pickles.
PUBLISHED = ("*.json", "*.safetensors", "*.onnx", "README.md")


class TrackingError(ValueError):
    """A run cannot be recorded; the message is one line with the way out."""


@dataclass
class Outcome:
    """What a trained model answered on one split.

    probabilities: (rows, labels) float64. truth: (rows,) label ids. ids, groups: of the rows. images: whose
    `__getitems__` gives uint8 pixels of rows. levels: accuracy at each coarser level of the taxonomy, by its name.
    """

    split: str
    probabilities: np.ndarray
    truth: np.ndarray
    labels: list[str]
    ids: list[str]
    groups: list[str]
    images: object
    levels: dict[str, float]


class Tracker:
    """A run that is being recorded; `module` is wandb or trackio, whose calls are the same as far as used here."""

    def __init__(self, name: str, training: "TrainingArguments", facts: dict):
        self.name = name
        self.module = import_module(name)
        self.training = training
        self.facts = facts
        self.log_model = os.environ.get("WANDB_LOG_MODEL", "false").lower() not in ("", "0", "false")
        if name == "wandb":
            self._start_wandb()

    def _start_wandb(self) -> None:
        """Start the run before the Trainer's callback would, so that a refusal is one line and comes first."""
        # The callback would send checkpoints, which hold pickles: finish() sends the published files instead.
        os.environ["WANDB_LOG_MODEL"] = "false"
        offline = "WANDB_MODE" not in os.environ and not has_wandb_key()
        folder = Path(self.training.output_dir)
        try:
            self.module.init(
                project=os.environ.setdefault("WANDB_PROJECT", PROJECT),
                name=self.training.run_name or folder.name,
                config=self.facts,
                mode="offline" if offline else None,
            )
        except (self.module.Error, OSError) as error:
            raise TrackingError(
                f"W&B does not start a run: {one_line(error)}; WANDB_MODE=offline records it on disk instead"
            ) from error

    def finish(self, outcome: Outcome) -> None:
        """Send what the finished model has to show, end the run, and say how to see it."""
        if self.name == "trackio":  # its callback ended the run with the training
            options = {"project": self.training.project, "name": self.training.run_name, "resume": "must"}
            self.module.init(**options, space_id=self.training.trackio_space_id)
        try:
            self._send(outcome)
            if self.log_model and self.name == "wandb":
                self._send_model()
        finally:
            run = getattr(self.module, "run", None)
            offline = self.name == "wandb" and run is not None and run.settings.mode in ("offline", "dryrun")
            where = Path(run.settings.sync_dir) if offline else None
            self.module.finish()
            if self.name == "wandb":
                os.environ["WANDB_LOG_MODEL"] = "end" if self.log_model else "false"
        if where:
            print(f"recorded on disk; to upload it: wandb sync {where}")
        elif self.name == "trackio":
            print(f"recorded; to see it: trackio show --project {self.training.project}")

    def _send(self, outcome: Outcome) -> None:
        summary, classes = scores_of(outcome)
        if self.name == "wandb":
            self.module.run.summary.update(summary)
        charts = {
            "surest_mistakes": self._mistakes(outcome),
            "classes": self.module.Table(columns=list(classes[0]), data=[list(row.values()) for row in classes]),
            "confusion": self.module.Image(confusion_image(outcome)),
        }
        if self.name == "wandb" and len(outcome.labels) <= MAX_MATRIX_CLASSES:
            charts["confusion_matrix"] = self.module.plot.confusion_matrix(
                y_true=outcome.truth.tolist(),
                preds=outcome.probabilities.argmax(axis=1).tolist(),
                class_names=outcome.labels,
            )
        self.module.log({**charts, **({} if self.name == "wandb" else summary)})

    def _mistakes(self, outcome: Outcome):
        """A table of the wrong answers that the model was surest of, with their images."""
        confidence, predicted = outcome.probabilities.max(axis=1), outcome.probabilities.argmax(axis=1)
        wrong = np.flatnonzero(predicted != outcome.truth)
        rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES].tolist()
        pixels = outcome.images.__getitems__(rows)[0] if rows else []
        data = [
            [
                self.module.Image(np.asarray(image)),
                outcome.ids[row],
                outcome.labels[outcome.truth[row]],
                outcome.labels[predicted[row]],
                round(float(confidence[row]), 4),
            ]
            for row, image in zip(rows, pixels, strict=True)
        ]
        return self.module.Table(columns=["image", "id", "is", "said", "confidence"], data=data)

    def _send_model(self) -> None:
        """The files of the model folder that train.py publishes; none of them is a pickle."""
        artifact = self.module.Artifact(f"model-{self.module.run.id}", type="model")
        folder = Path(self.training.output_dir)
        for path in sorted(path for pattern in PUBLISHED for path in folder.glob(pattern)):
            artifact.add_file(str(path), name=path.name)
        self.module.run.log_artifact(artifact)


def check_tracking(training: "TrainingArguments") -> None:
    """Raises TrackingError before any work: for an unknown tracker, one that is not installed, a token in the open."""
    if training.hub_token:
        raise TrackingError(
            "--hub_token would stand in the list of processes and in the recorded command; put it into the environment "
            "variable HF_TOKEN, or run `hf auth login`"
        )
    from transformers.integrations import INTEGRATION_TO_CALLBACK

    unknown = [name for name in training.report_to if name not in INTEGRATION_TO_CALLBACK and name != "none"]
    if unknown:
        raise TrackingError(f"--report_to {unknown[0]} is not known; {', '.join(TRACKERS)} or none")
    missing = [name for name in TRACKERS if name in training.report_to and find_spec(name) is None]
    if missing:
        raise TrackingError(f"--report_to {missing[0]} needs a package that is not installed: pip install {missing[0]}")


def start_tracking(training: "TrainingArguments", facts: dict) -> list[Tracker]:
    """Start a run in each tracker that --report_to names; on the first of several processes only.

    facts: the resolved arguments and what the leaderboard shows of a run. Raises TrackingError in one line.
    """
    if training.project == CALLBACK_PROJECT:
        training.project = PROJECT
    training.run_name = training.run_name or Path(training.output_dir).name
    if training.process_index != 0:
        return []
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return [Tracker(name, training, {**facts, "machine": machine}) for name in TRACKERS if name in training.report_to]


def finish_tracking(trackers: Sequence[Tracker], trainer: "Trainer", images: dict, scores: dict[str, float]) -> None:
    """Show what the finished model answers on the test split, or on validation where there is none; end the runs.

    scores: as train.final_scores gives them.
    """
    if not set(TRACKERS) & set(trainer.args.report_to):
        return
    split = "test" if "test" in images else "validation"
    prediction = trainer.predict(images[split], metric_key_prefix=split)  # by all processes together
    if not trackers:
        return
    config = trainer.model.config
    outcome = Outcome(
        split=split,
        probabilities=softmax(prediction.predictions.astype(np.float64), axis=1),
        truth=prediction.label_ids[0],
        labels=[config.id2label[number] for number in range(config.num_labels)],
        ids=images[split].ids(list(range(len(images[split])))),
        groups=images[split].groups(),
        images=images[split],
        levels={level: scores[f"{split}_{level}_accuracy"] for level in config.taxonomy["levels"][:-1]},
    )
    for tracker in trackers:
        tracker.finish(outcome)


def has_wandb_key() -> bool:
    """Whether W&B would find a key without asking for it: in the environment or in the login file."""
    import wandb
    from wandb.sdk.lib.wbauth import read_netrc_auth  # wandb.api.api_key does the same and warns

    host = wandb.setup().settings.base_url
    return bool(os.environ.get("WANDB_API_KEY")) or read_netrc_auth(host=host) is not None


def scores_of(outcome: Outcome) -> tuple[dict[str, float], list[dict]]:
    """The scores with the ends of their intervals, under names such as test_accuracy_low, and a row a class."""
    from evaluation.scoring import score

    found = score(outcome.probabilities, outcome.truth, outcome.groups, outcome.labels)
    summary = {}
    for name in SCORES:
        summary[f"{outcome.split}_{name}"] = found[name]["value"]
        summary[f"{outcome.split}_{name}_low"], summary[f"{outcome.split}_{name}_high"] = found[name]["interval"]
    summary |= {f"{outcome.split}_{level}_accuracy": value for level, value in outcome.levels.items()}
    summary[f"{outcome.split}_expected_calibration_error"] = found["expected_calibration_error"]
    summary[f"{outcome.split}_rows"] = len(outcome.truth)
    classes = [
        {"class": name, "images": row["images"], **{key: row[key]["value"] for key in ("precision", "recall", "f1")}}
        for name, row in found["per_class"].items()
    ]
    return summary, classes


def confusion_image(outcome: Outcome) -> Image.Image:
    import matplotlib.pyplot as plt

    from evaluation.figures import confusion_figure  # matplotlib takes a second to load

    figure = confusion_figure(outcome.probabilities.argmax(axis=1), outcome.truth, outcome.labels)
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    plt.close(figure)
    return Image.open(file).convert("RGB")


def wandb_runs(project: str) -> tuple[list[dict], int]:
    """The runs of a W&B project as leaderboard.py has them, and how many others there are.

    What only validate.py measures is None. Raises ValueError in one line without a key, a network or the project.
    """
    import wandb

    if not has_wandb_key():
        raise ValueError("no W&B key: set WANDB_API_KEY, or run `wandb login`; its page is wandb.ai/authorize")
    runs, others = [], 0
    try:
        for run in wandb.Api().runs(project):
            found = leaderboard_row(run)
            runs += [found] if found else []
            others += not found
    except (wandb.Error, ValueError, OSError) as error:
        raise ValueError(f"W&B does not give the runs of {project}: {one_line(error)}") from error
    return runs, others


def leaderboard_row(run) -> dict | None:
    """A run of wandb.Api in the form of validate.py's; None if train.py did not record a test score in it."""
    summary, config = dict(run.summary), dict(run.config)
    if "test_accuracy" not in summary or "fingerprint" not in config:
        return None
    scores = {}
    for name in (*SCORES, "subCategory_accuracy", "masterCategory_accuracy"):
        if f"test_{name}" in summary:
            ends = [summary.get(f"test_{name}_{end}") for end in ("low", "high")]
            scores[name] = {"value": summary[f"test_{name}"], "interval": ends}
    return {
        "name": run.name,
        "dataset": Path(str(config.get("dataset"))).name,
        "fingerprint": config["fingerprint"],
        "split": "test",
        "rows": summary.get("test_rows"),
        **scores,
        "expected_calibration_error": summary.get("test_expected_calibration_error"),
        "parameters": config.get("model/num_parameters"),
        "megabytes": None,
        "images_per_second": None,
        "machine": config.get("machine"),
        "commit": getattr(run, "commit", None),
        "date": str(run.created_at)[:10],
        "training": config.get("command"),
        "command": None,
        "seed": config.get("seed"),
    }


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:ERROR_LENGTH]
