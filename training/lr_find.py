"""`--lr_find`: raise the learning rate over a hundred steps and draw the loss (Smith 2017, arXiv:1506.01186).

python train.py --dataset data/mine --lr_find       # OUTPUT/lr_find.png and .csv, and a suggestion; trains nothing
"""

import contextlib
import copy
from pathlib import Path

import numpy as np
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainingArguments

from app.files import replacing
from data_prep.pipeline.tables import write_table
from training.arguments import Arguments, Recipe
from training.checkpoints import check_writable, nothing_left_behind
from training.data import TrainingData
from training.run import build_trainer, label_columns, labeled_model
from training.trainer import DivergedError, ImageTrainer

LOW, HIGH, STEPS = 1e-6, 1.0, 100
WINDOW = 5  # steps that the curve is smoothed over
HOPELESS = 4.0  # times the lowest loss, where the curve ends


class RateFinder(ImageTrainer):
    """An ImageTrainer whose learning rate grows from LOW to HIGH. losses: of its steps."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.losses: list[float] = []

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, lambda step: (HIGH / LOW) ** (step / STEPS))
        return self.lr_scheduler

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.losses.append(float(loss))
        if self.losses[-1] > HOPELESS * min(self.losses):
            self.control.should_training_stop = True
        return loss


def find_rate(data: TrainingData, training: TrainingArguments, arguments: Arguments, recipe: Recipe) -> None:
    """Write the curve into the output folder, and say at which rate the loss falls fastest."""
    output = Path(training.output_dir)
    with nothing_left_behind([output]):
        check_writable(output, "--output_dir")
        losses = losses_of(data, training, arguments, recipe)
        rates = LOW * (HIGH / LOW) ** (np.arange(len(losses)) / STEPS)
        suggested = steepest(rates, losses)
        with replacing(output / "lr_find.csv") as partial:
            write_table(partial, ["learning_rate", "loss"], zip(rates.tolist(), losses, strict=True))
        draw(rates, losses, suggested, output / "lr_find.png")
    advice = f"try --learning_rate {suggested / 2:.0e}"
    print(f"{output / 'lr_find.png'}: the loss falls fastest at {suggested:.1e}; {advice}")


def losses_of(data: TrainingData, training: TrainingArguments, arguments: Arguments, recipe: Recipe) -> list[float]:
    """Of the steps, until the loss is hopeless."""
    short = copy.copy(training)
    short.learning_rate, short.max_steps = LOW, STEPS
    short.eval_strategy = short.save_strategy = "no"
    short.load_best_model_at_end, short.report_to = False, []
    model = labeled_model(arguments, data)
    images = data.images(label_columns(model), model.config.image_size, training.seed)
    finder = build_trainer(model, None, data, images, short, arguments, recipe, RateFinder)
    with contextlib.suppress(DivergedError):  # the end of the curve
        finder.train()
    return [loss for loss in finder.losses if np.isfinite(loss)]


def steepest(rates: np.ndarray, losses: list[float]) -> float:
    """The rate where the smoothed loss falls fastest, per decade."""
    kernel = np.ones(WINDOW) / WINDOW
    smooth = np.convolve(losses, kernel, mode="valid")
    inner = rates[WINDOW // 2 : WINDOW // 2 + len(smooth)]
    return float(inner[np.gradient(smooth, np.log10(inner)).argmin()]) if len(smooth) > 1 else float(rates[0])


def draw(rates: np.ndarray, losses: list[float], suggested: float, path: Path) -> None:
    from matplotlib.figure import Figure  # a second to load

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(rates, losses)
    axes.axvline(suggested, linestyle="--", label=f"falls fastest at {suggested:.1e}")
    axes.set(xlabel="learning rate", ylabel="training loss")
    axes.legend()
    figure.savefig(path, dpi=150)
