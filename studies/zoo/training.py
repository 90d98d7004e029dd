"""One training of the zoo: a row on a task within its budget, and all that is recorded about it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch

from evaluation.checked_export import validation_pixels
from evaluation.provenance import commit
from studies.common.fold_training import PROTOCOL, logged, run_training
from studies.common.units import Result
from studies.slash8.data import SEED
from studies.zoo.budget import Budget, BudgetTrainer, compute_clock
from studies.zoo.energy import EnergyMeter
from studies.zoo.rows import Row, Size
from studies.zoo.speed import graph_facts, model_only_rate
from studies.zoo.tasks import SHARES, Task

ENDLESS = 1_000_000  # epochs; the budget ends the training


@dataclass(frozen=True)
class Plan:
    """What is trained. seconds: of compute for this training; minutes: for the row and task. weights: folder, Hub id or
    None. curve: whether the row was chosen for a learning curve."""

    row: Row
    task: str
    fold: int
    share: int
    size: Size
    seconds: float
    minutes: float
    weights: str | None
    curve: bool

    def arguments(self, task: Task) -> list[str]:
        """Of train.py."""
        weights = ["--pretrained", self.weights] if self.weights else ["--from_scratch"]
        data = ["--dataset", str(task.dataset), "--label", task.label, "--image_size", str(self.size.pixels)]
        steps = ["--num_train_epochs", str(ENDLESS), "--per_device_train_batch_size", str(task.batch_size)]
        return ["--model", self.row.name, *weights, *data, *steps, "--seed", str(SEED), *PROTOCOL]


def device() -> str:
    """`cpu`, or the GPU's name."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def train_plan(plan: Plan, task: Task, command: str, folder: Path) -> Result:
    """`ids` (rows,) held out, `logits` (rows, classes) of the finished model, and by `percent` of the budget spent
    `predicted` (points, rows) and `spent` (points,) seconds."""
    pool = task.pool_of(plan.fold, plan.share)
    budget, clock = Budget(plan.seconds), compute_clock()
    begun = clock()
    with logged(folder), EnergyMeter() as energy:
        run_training(plan.arguments(task), folder, (pool, plan.fold), partial(BudgetTrainer, clock=budget))
    in_all = clock() - begun
    held_out = pool.held_out(plan.fold)
    facts = {
        "command": command,
        **{"size": plan.size.pixels, "reason": plan.size.reason},
        "weights": plan.weights,
        **{"fingerprint": task.fingerprint, "seed": SEED, "training_images": len(pool.trained(plan.fold))},
        **{"images_seen": budget.images, "budget_minutes": round(budget.spent / 60, 4)},
        "minutes_with_answers": round(in_all / 60, 4),
        "training_images_per_second": round(budget.images / budget.spent, 2),
        "joules": energy.joules and round(energy.joules, 1),
        "device": device(),
        **{"commit": commit(), "date": datetime.now(UTC).date().isoformat()},
    }
    if plan.fold == task.folds[0] and plan.share == SHARES[-1]:
        facts |= graph_facts(folder, validation_pixels(folder, task.label, str(task.dataset)))
        if torch.cuda.is_available():
            facts["model_only_images_per_second"] = round(model_only_rate(folder, plan.size.pixels, task.batch_size), 1)
    percents = sorted(budget.predictions)
    arrays = {
        "ids": np.array(task.pool.ids)[held_out],
        "logits": budget.logits.astype(np.float32),
        "percent": np.array(percents),
        "predicted": np.stack([budget.predictions[percent] for percent in percents]).astype(np.int16),
        "spent": np.array([budget.spent_at[percent] for percent in percents]),
    }
    return Result(facts, arrays)
