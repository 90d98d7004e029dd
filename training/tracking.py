"""Record a training run in Weights & Biases or Trackio.

    WANDB_API_KEY=... python train.py --report_to wandb ...     # without a key: on disk, for `wandb sync` later
    python train.py --report_to trackio ...                     # a dashboard on this machine, `trackio show`

The Trainer's own callbacks send the metrics of every epoch. Here the run starts, with every resolved argument, and ends
with what a finished model has to show: the test score with its interval in the summary, the most confident mistakes as
images in a table, every class, the confusion matrix, and with WANDB_LOG_MODEL=end the model folder as an artifact.
Keys come from the environment or from `wandb login`, never from the command line, and are sent nowhere else.
evaluation/wandb_runs.py reads the runs back for the leaderboard.
"""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.special import softmax
from transformers import Trainer, TrainingArguments
from transformers.integrations import INTEGRATION_TO_CALLBACK

from app.errors import UserError, one_line
from evaluation.provenance import machine
from evaluation.scoring import score
from evaluation.wandb_runs import has_wandb_key
from training.data import Images
from training.run_state import RunState
from training.scores import SCORES

PROJECT = "snapshelf"
CALLBACK_PROJECT = "huggingface"  # transformers' own default, which is nobody's choice
TRACKERS = ("wandb", "trackio")
MISTAKES = 24
MAX_MATRIX_CLASSES = 60  # W&B draws no larger confusion matrix; the image of the worst 20 classes is always there
# What the published part of a model folder consists of; the Trainer's checkpoints hold pickles.
PUBLISHED = ("*.json", "*.safetensors", "*.onnx", "README.md")


class TrackingError(UserError):
    """A run cannot be recorded; the message says what to do instead."""


@dataclass
class Outcome:
    """What a trained model answered on one split.

    probabilities: (rows, labels) float64. truth: (rows,) label ids. levels: accuracy at each coarser level of the
    taxonomy, by its name.
    """

    split: str
    images: Images
    probabilities: np.ndarray
    truth: np.ndarray
    labels: list[str]
    levels: dict[str, float]

    @property
    def predicted(self) -> np.ndarray:
        """(rows,) label ids."""
        return self.probabilities.argmax(axis=1)


class Tracker:
    """A run that is being recorded; `module` is wandb or trackio, whose calls used here are the same."""

    def __init__(self, name: str, training: TrainingArguments, config: dict, state: RunState):
        """state: holds the name of the run that is continued, and gets that of a new one."""
        self.name = name
        self.module = import_module(name)
        self.training = training
        self.config = config
        self.state = state
        self.log_model = os.environ.get("WANDB_LOG_MODEL", "false").lower() not in ("", "0", "false")
        if name == "wandb":
            self._start_wandb()
        else:  # the Trainer's callback goes on with the run of this name
            training.run_name = state.trackers.setdefault(name, training.run_name)

    def _start_wandb(self) -> None:
        """Start the run before the Trainer's callback would, so that a failure is one line and comes first."""
        # The callback would send checkpoints, which hold pickles: finish() sends the published files instead.
        os.environ["WANDB_LOG_MODEL"] = "false"
        offline = "WANDB_MODE" not in os.environ and not has_wandb_key()
        folder = Path(self.training.output_dir)
        try:
            self.module.init(
                project=os.environ.setdefault("WANDB_PROJECT", PROJECT),
                name=self.training.run_name or folder.name,
                config=self.config,
                mode="offline" if offline else None,
                id=self.state.trackers.get("wandb"),
                resume="allow",
            )
        except (self.module.Error, OSError) as error:
            raise TrackingError(
                f"W&B does not start a run: {one_line(error)}; WANDB_MODE=offline records it on disk instead"
            ) from error
        self.state.trackers["wandb"] = self.module.run.id

    def finish(self, outcome: Outcome) -> None:
        """Send what the finished model has to show, end the run, and print how to see it."""
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
            where = parts_of_run(Path(run.settings.sync_dir), run.id) if offline else None
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
                preds=outcome.predicted.tolist(),
                class_names=outcome.labels,
            )
        self.module.log({**charts, **({} if self.name == "wandb" else summary)})

    def _mistakes(self, outcome: Outcome):
        """A table of the most confident wrong answers, with their images."""
        confidence, predicted = outcome.probabilities.max(axis=1), outcome.predicted
        wrong = np.flatnonzero(predicted != outcome.truth)
        rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES].tolist()
        pixels = outcome.images.__getitems__(rows)[0] if rows else []
        data = [
            [
                self.module.Image(np.asarray(image)),
                identity,
                outcome.labels[outcome.truth[row]],
                outcome.labels[predicted[row]],
                round(float(confidence[row]), 4),
            ]
            for row, identity, image in zip(rows, outcome.images.ids(rows), pixels, strict=True)
        ]
        return self.module.Table(columns=["image", "id", "is", "said", "confidence"], data=data)

    def _send_model(self) -> None:
        """The files of the model folder that train.py publishes; none of them is a pickle."""
        artifact = self.module.Artifact(f"model-{self.module.run.id}", type="model")
        folder = Path(self.training.output_dir)
        for path in sorted(path for pattern in PUBLISHED for path in folder.glob(pattern)):
            artifact.add_file(str(path), name=path.name)
        self.module.run.log_artifact(artifact)


def parts_of_run(folder: Path, run: str) -> str:
    """The folders that hold an offline run, one for each time it was begun or resumed, the oldest first."""
    return " ".join(str(part) for part in sorted(folder.parent.glob(f"offline-run-*-{run}")))


def check_tracking(training: TrainingArguments) -> None:
    """Raises TrackingError before any work: for an unknown tracker, one that is not installed, an exposed token."""
    if training.hub_token:
        raise TrackingError(
            "--hub_token would be visible in the list of processes and in the recorded command; put it into the "
            "environment variable HF_TOKEN, or run `hf auth login`"
        )
    unknown = [name for name in training.report_to if name not in INTEGRATION_TO_CALLBACK and name != "none"]
    if unknown:
        raise TrackingError(f"--report_to {unknown[0]} is not known; {', '.join(TRACKERS)} or none")
    missing = [name for name in TRACKERS if name in training.report_to and find_spec(name) is None]
    if missing:
        raise TrackingError(f"--report_to {missing[0]} needs a package that is not installed: pip install {missing[0]}")


def start_tracking(training: TrainingArguments, config: dict, state: RunState) -> list[Tracker]:
    """Start a run in each tracker that --report_to names; on the first of several processes only.

    config: the resolved arguments and what the leaderboard shows of a run. state: of this training, which tells whether
    it goes on with a recorded run. Raises TrackingError.
    """
    if training.project == CALLBACK_PROJECT:
        training.project = PROJECT
    training.run_name = training.run_name or Path(training.output_dir).name
    if training.process_index != 0:
        return []
    config = {**config, "machine": machine()}
    return [Tracker(name, training, config, state) for name in TRACKERS if name in training.report_to]


def finish_tracking(
    trackers: Sequence[Tracker], trainer: Trainer, images: dict[str, Images], scores: dict[str, float]
) -> None:
    """Show what the finished model answers on the test split, or on validation where there is none; end the runs.

    scores: as run.final_scores gives them.
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
        images=images[split],
        probabilities=softmax(prediction.predictions.astype(np.float64), axis=1),
        truth=prediction.label_ids[0],
        labels=[config.id2label[number] for number in range(config.num_labels)],
        levels={level: scores[f"{split}_{level}_accuracy"] for level in config.taxonomy["levels"][:-1]},
    )
    for tracker in trackers:
        tracker.finish(outcome)


def scores_of(outcome: Outcome) -> tuple[dict[str, float], list[dict]]:
    """The scores with the ends of their intervals, under names such as test_accuracy_low, and one row per class."""
    result = score(outcome.probabilities, outcome.truth, outcome.images.groups(), outcome.labels)
    summary = {}
    for name in SCORES:
        summary[f"{outcome.split}_{name}"] = result[name]["value"]
        summary[f"{outcome.split}_{name}_low"], summary[f"{outcome.split}_{name}_high"] = result[name]["interval"]
    summary |= {f"{outcome.split}_{level}_accuracy": value for level, value in outcome.levels.items()}
    summary[f"{outcome.split}_expected_calibration_error"] = result["expected_calibration_error"]
    summary[f"{outcome.split}_rows"] = len(outcome.truth)
    classes = [
        {"class": name, "images": row["images"], **{key: row[key]["value"] for key in ("precision", "recall", "f1")}}
        for name, row in result["per_class"].items()
    ]
    return summary, classes


def confusion_image(outcome: Outcome) -> Image.Image:
    import matplotlib.pyplot as plt  # a second, for tracked runs only

    from evaluation.figures import confusion_figure

    figure = confusion_figure(outcome.predicted, outcome.truth, outcome.labels)
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    plt.close(figure)
    return Image.open(file).convert("RGB")
