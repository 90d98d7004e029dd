"""Fourteen architectures, from a plain CNN to Vision Transformers, each with the same budget of compute.

    python -m data_prep.kaggle_fashion --output data/kaggle_fashion
    python -m data_prep.slash_screenshots --input screenshots/grid screenshots/single --output data/slash
    python -m models.convert dinov2_small                       # and efficientnet_lite0, 1, 2: into pretrained/
    python -m studies.zoo --minutes 20                          # core-minutes per row and task
    python -m studies.zoo --minutes 20 --dry_run                # what is to do, at which input size, and how long
    python -m studies.zoo --minutes 20 --only vgg16 resnet50 --tasks kaggle
    python -m studies.zoo --minutes 20 --only mobilenet_v2 --learning_curve mobilenet_v2   # 25 and 50% of the data too
    python -m studies.zoo --minutes 20 --report                 # the page alone, from what was run

A row starts from the weights in pretrained/NAME, with --hub else from the Hub's, else from scratch, and the page says
which. Kaggle's validation split and the screenshots out of fold are scored, never a test split. The budget is processor
time of all threads, and GPU-minutes where there is a GPU. Rows that were not run are named in results/zoo.md. Started
again, the study goes on.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import torch

from app.errors import UserError, one_line_errors
from evaluation.provenance import command_line
from models.registry import MODELS
from studies.common.options import StudyOptions, study_parser
from studies.common.units import Unit, fingerprint_of_weights
from studies.slash8.data import SEED
from studies.zoo.results_page import write_results
from studies.zoo.rows import CORES, ROWS, Row, Size, best_size
from studies.zoo.tasks import KAGGLE, SHARES, SLASH, Task, catalog_task, screenshots_task
from studies.zoo.training import Plan, device, train_plan
from training.arguments import bf16_is_fast

OVERHEAD_S = 30  # start, decoding from the cache, the answers, the graph


@dataclass(frozen=True)
class Options(StudyOptions):
    runs: Path = field(default=Path("runs/studies/zoo"), metadata={"help": "folder for the results of the units"})
    minutes: float = field(
        default=20.0, metadata={"help": "core-minutes (GPU: minutes) per row and task, all its folds"}
    )
    kaggle: Path = field(default=Path("data/kaggle_fashion"), metadata={"help": "what data_prep.kaggle_fashion wrote"})
    slash: Path = field(default=Path("data/slash"), metadata={"help": "what data_prep.slash_screenshots wrote"})
    tasks: list[str] = field(
        default_factory=lambda: [KAGGLE, SLASH], metadata={"help": f"what to train: {KAGGLE}, {SLASH}"}
    )
    pretrained: Path = field(default=Path("pretrained"), metadata={"help": "folder with weights in folders by name"})
    hub: bool = field(default=False, metadata={"help": "take the Hub's weights where that folder has none"})
    learning_curve: list[str] = field(
        default_factory=list, metadata={"help": "rows that also learn from 25 and 50%% of the data", "metavar": "ROW"}
    )

    def __post_init__(self):
        """Raises UserError."""
        if not self.minutes > 0:
            raise UserError(f"--minutes must be above 0, such as 20, not {self.minutes:g}")
        names = [row.name for row in ROWS]
        for option, allowed in (("tasks", [KAGGLE, SLASH]), ("learning_curve", names)):
            unknown = [value for value in getattr(self, option) if value not in allowed]
            if unknown:
                raise UserError(f"--{option} {unknown[0]} is not known; it takes {', '.join(allowed)}")


def main(argv: list[str] | None = None) -> None:
    parser = study_parser(Options, "zoo", __doc__)
    failed = []
    with one_line_errors(parser):
        options = Options(**vars(parser.parse_args(argv)))
        tasks = open_tasks(options)
        command = command_line("-m studies.zoo", argv)
        plans = all_plans(tasks, options)
        units = {plan: unit_of(plan, tasks[plan.task], command) for plan in plans}
        if options.dry_run:
            print("\n".join(planned(plans)))
        if not options.report:
            wanted = [plan for plan in plans if plan.task in options.tasks]
            chosen = [units[plan] for plan in wanted if plan.share == SHARES[-1] or plan.curve]
            failed = options.run_chosen(chosen, [row.name for row in ROWS])
        if not options.dry_run:
            print(write_results(tasks, units, options.runs, options.results))
    if failed:
        sys.exit(f"not all rows could be run: {', '.join(failed)}")


def open_tasks(options: Options) -> dict[str, Task]:
    """The chosen tasks, and for the page those that others have run. Raises DatasetError."""
    tasks = {}
    if KAGGLE in options.tasks or options.kaggle.is_dir():
        tasks[KAGGLE] = catalog_task(options.kaggle)
    if SLASH in options.tasks or options.slash.is_dir():
        tasks[SLASH] = screenshots_task(options.slash, options.runs)
    return tasks


def all_plans(tasks: dict[str, Task], options: Options) -> list[Plan]:
    """Every row with every task, fold and share of the data, in the order in which they are run."""
    return [
        plan_of(row, task, fold, share, options)
        for row in ROWS
        for task in tasks.values()
        for share in reversed(SHARES)
        for fold in task.folds
    ]


def plan_of(row: Row, task: Task, fold: int, share: int, options: Options) -> Plan:
    weights = row.weights(options.pretrained, options.hub)
    seconds = 60 * options.minutes / len(task.folds)
    gpu = torch.cuda.is_available()
    if options.image_size:
        size = Size(row.fits(options.image_size), "--image_size")
    else:
        size = best_size(row, task.name, weights is not None, task.training_images(SHARES[-1]), seconds, gpu)
    curve = row.name in options.learning_curve
    return Plan(row, task.name, fold, share, size, seconds, options.minutes, weights, curve)


def unit_of(plan: Plan, task: Task, command: str) -> Unit:
    made_by = {
        **{"row": plan.row.name, "task": plan.task, "fold": plan.fold, "share": plan.share},
        **{"size": plan.size.pixels, "minutes": plan.minutes, "batch_size": task.batch_size, "seed": SEED},
        **{"data": task.fingerprint, "weights": hash_of(plan.weights), "model": defaults_of(plan.row.name)},
        **{"device": device(), "bf16": bf16_is_fast()},
    }
    work = partial(train_plan, plan, task, command)
    seconds = OVERHEAD_S + plan.seconds / (1 if torch.cuda.is_available() else CORES)
    part = f"{plan.task}_{plan.share}_fold_{plan.fold}"
    return Unit(plan.row.name, part, made_by, seconds, work, weights=plan.weights)


@cache
def hash_of(weights: str | None) -> str | None:
    """fingerprint_of_weights, once for all folds."""
    return fingerprint_of_weights(weights)


def defaults_of(model: str) -> list[float]:
    """What a change of models/registry.py would make another training."""
    spec = MODELS[model]
    return [spec.learning_rate, spec.scratch_learning_rate, spec.layer_decay]


def planned(plans: Sequence[Plan]) -> list[str]:
    """The input sizes and weights of the rows, for the screen."""
    lines = {(plan.row.name, plan.task): plan for plan in plans}
    return [
        f"{name:<20} {task:<7} {plan.size.pixels:>3} px, {Path(plan.weights).name if plan.weights else 'from scratch'}"
        f": {plan.size.reason}"
        for (name, task), plan in lines.items()
    ]
