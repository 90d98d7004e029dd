"""`--time_limit 30m`: image size and epochs that fit into a time, and a training that keeps it.

    clock = Clock(deadline)                            # of time.monotonic()
    train_model(..., trainer_class=partial(TimedTrainer, clock=clock))

The rate is measured before the start and chooses the size. What the machine does later cannot be known, so the learning
rate follows the clock and not the steps: it is at its end when the time is, whatever else the machine has to do.
"""

import math
import re
import time
from collections.abc import Collection

from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback, TrainingArguments

from app.errors import UserError
from training.arguments import Arguments
from training.data import PreparedData
from training.step_rate import Rate, least_size
from training.suited import FEW_IMAGES
from training.trainer import ImageTrainer

UNITS = {"s": 1, "m": 60, "h": 3600}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smh])+")
PART = re.compile(r"(\d+(?:\.\d+)?)([smh])")
SIZES = (224, 192, 160, 128, 96, 64)
LEAST_EPOCHS = 5  # that a larger image must leave time for
EXPORT_SECONDS, EXPORT_SECONDS_PER_WEIGHT = 5.0, 2.5e-6  # of a graph, with the checks
CALIBRATION_IMAGES = 4000  # training images that calibration looks at
GRAPH_TIME = 1.3  # of the exported graph for an image, as a share of the time that evaluation in a training takes
TITLE_SECONDS = 1.5e-3  # for each training image's title
WARM_UP = 0.1  # share of the time
LEAST_SECONDS = 60.0
PATIENCE = 45 * 60.0  # for few images on a CPU where no time is given


def seconds_of(text: str) -> float:
    """Of 90s, 30m, 1h30m. Raises UserError."""
    if not DURATION.fullmatch(text):
        raise UserError(f"--time_limit {text} is not a time; write it like 90s, 30m or 1h30m")
    seconds = sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))
    if seconds < LEAST_SECONDS:
        raise UserError(f"--time_limit {text} is too short: a training takes at least {LEAST_SECONDS:.0f}s")
    return seconds


class Schedule(TrainerCallback):
    """A learning rate that follows how much of a training is over, however many steps that takes."""

    def share(self) -> float:
        """How much of the training is over, from 0 to 1."""
        raise NotImplementedError

    def rate(self, step: int) -> float:
        """The factor of the learning rate now: a warm-up, then half a cosine."""
        share = self.share()
        if share < WARM_UP:
            return max(share / WARM_UP, 0.02)
        return 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))


class Clock(Schedule):
    """Ends the training early enough for what follows it. deadline: of the whole command, on time.monotonic()."""

    def __init__(self, deadline: float, images_to_follow: int):
        """images_to_follow: how many are scored and calibrated with after the last step and the export."""
        self.deadline, self.images_to_follow = deadline, images_to_follow
        self.begun = time.monotonic()
        self.seconds_per_image = 0.0
        self.evaluating_since = 0.0

    def share(self) -> float:
        """How much of the training's time is over."""
        end = self.deadline - GRAPH_TIME * self.images_to_follow * self.seconds_per_image
        return min(1.0, (time.monotonic() - self.begun) / max(end - self.begun, 1.0))

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.begun = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.share() >= 1:
            control.should_training_stop = control.should_evaluate = control.should_save = True

    def on_evaluate(self, args, state, control, metrics=None, **kwargs) -> None:
        if metrics and metrics.get("eval_samples_per_second"):
            self.seconds_per_image = 1 / metrics["eval_samples_per_second"]


class TimedTrainer(ImageTrainer):
    """An ImageTrainer whose learning rate and end a Schedule, such as a Clock, decides."""

    def __init__(self, *args, clock: Schedule, **kwargs):
        super().__init__(*args, **kwargs)
        self.clock = clock
        self.add_callback(clock)

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        if self.lr_scheduler is None:
            clock = self.clock
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, lambda step: clock.rate(step))
        return self.lr_scheduler


def fit_to_time(
    arguments: Arguments,
    training: TrainingArguments,
    given: Collection[str],
    data: PreparedData,
    deadline: float,
    rate: Rate,
) -> Clock:
    """Set image size and epochs where the command line leaves them open. deadline: on time.monotonic()."""
    images = len(data.splits["train"])
    others = sum(len(split) for name, split in data.splits.items() if name != "train")
    deadline -= EXPORT_SECONDS + EXPORT_SECONDS_PER_WEIGHT * rate.num_weights
    deadline -= TITLE_SECONDS * images if arguments.title_column else 0
    left = max(1.0, deadline - time.monotonic())
    if "image_size" not in given:
        least = least_size(arguments)
        wanted = [size for size in SIZES if least <= size <= max(arguments.image_size, least)] or [arguments.image_size]
        fitting = [size for size in wanted if LEAST_EPOCHS * images * rate.seconds(size) <= left]
        arguments.image_size = fitting[0] if fitting else wanted[-1]
    epochs = left / (images * rate.seconds(arguments.image_size))
    training.num_train_epochs = math.ceil(2 * epochs) + 1  # the clock stops it before
    arguments.early_stopping_patience = int(training.num_train_epochs)
    print(f"in the time left: --image_size {arguments.image_size}, about {max(1, round(epochs))} epochs")
    return Clock(deadline, images_to_follow(arguments, images, others))


def images_to_follow(arguments: Arguments, images: int, others: int) -> int:
    """How many are run after the training: for scores, calibration, titles and attributes, each by itself.

    images: of the training. others: of all other splits.
    """
    looked_at = 2 * others + min(images, CALIBRATION_IMAGES)
    looked_at += others if arguments.title_column else 0
    return looked_at + (images + others if arguments.attributes else 0)


def patient_deadline(
    arguments: Arguments, training: TrainingArguments, data: PreparedData, started: float, rate: Rate
) -> float | None:
    """Of a training of few images on a CPU that would take longer than people wait; on time.monotonic(), as started.

    Says how long it would take.
    """
    images = len(data.splits["train"])
    seconds = training.num_train_epochs * images * rate.seconds(arguments.image_size)
    shown = f"about {shown_duration(seconds)} on this machine"
    if seconds <= PATIENCE:
        print(f"that takes {shown}")
        return None
    if images >= FEW_IMAGES:
        print(f"that takes {shown}; --time_limit 1h would fit it to an hour")
        return None
    print(f"that would take {shown}: fitted to {shown_duration(PATIENCE)}; --time_limit 3h gives it more")
    return started + PATIENCE


def shown_duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} hours"
