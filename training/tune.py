"""`--tune 20`: search learning rate, input size, augmentation and decay with Optuna, then train with the best of them.

    python train.py --dataset data/mine --tune 20 --time_limit 4h

Each trial is a training of a third of the epochs, judged by its best validation accuracy; an option that the command
line gives is not searched. OUTPUT/tune.db keeps the trials, so the same command goes on after an interruption. With a
time limit half of it is for the search. A cluster of agents does the same with training/sweep.yaml (`wandb sweep`).
"""

import copy
import shutil
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from transformers import TrainingArguments

from app.errors import UserError
from training.arguments import Arguments, Recipe
from training.data import TrainingData
from training.run import train_model
from training.trainer import DivergedError

SHARE_OF_EPOCHS = 3
SHARE_OF_TIME = 0.5
RATES = (0.2, 5.0)  # times the model's own learning rate
DECAYS = (1e-4, 0.3)
AUGMENTATIONS = ("basic", "trivial", "rand")
SIZE_STEPS = (0.75, 1.0, 1.25)  # times the input size, in multiples of 32
DATABASE = "tune.db"


def tune(
    data: TrainingData,
    training: TrainingArguments,
    arguments: Arguments,
    recipe: Recipe,
    given: Collection[str],
    deadline: float | None,
) -> None:
    """Set the options that the best trial had. Raises UserError.

    deadline: of the whole command, on time.monotonic().
    """
    optuna = import_optuna()
    output = Path(training.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage, sampler = f"sqlite:///{output / DATABASE}", optuna.samplers.TPESampler(seed=training.seed)
    study = optuna.create_study(
        storage=storage, sampler=sampler, study_name=data.fingerprint(), direction="maximize", load_if_exists=True
    )

    def accuracy(trial) -> float:
        chosen = suggest(trial, training, arguments, given)
        value = try_out(data, training, arguments, recipe, chosen, output / f"trial_{trial.number}")
        print(f"trial {trial.number}: {value:.4f} with {in_words(chosen)}")
        return value

    timeout = None if deadline is None else max(1.0, (deadline - time.monotonic()) * SHARE_OF_TIME)
    left = arguments.tune - sum(trial.state.is_finished() for trial in study.trials)
    if left > 0:
        study.optimize(accuracy, n_trials=left, timeout=timeout, catch=(DivergedError,))
    if not any(trial.value is not None for trial in study.trials):
        raise UserError("no trial of --tune came to an end: give a lower --learning_rate, or more --time_limit")
    adopt(study.best_params, arguments, recipe, training)
    print(f"best of {len(study.trials)}: {study.best_value:.4f} with {in_words(study.best_params)}")


def import_optuna():
    """Raises UserError where it is missing."""
    try:
        import optuna
    except ImportError:
        raise UserError('--tune needs Optuna: pip install -e ".[track]"') from None
    return optuna


def suggest(trial, training: TrainingArguments, arguments: Arguments, given: Collection[str]) -> dict:
    """Values for the options that the command line leaves open."""
    rate, size = training.learning_rate, arguments.image_size
    sizes = sorted({max(32, round(size * step / 32) * 32) for step in SIZE_STEPS})
    ways = {
        "learning_rate": lambda: trial.suggest_float("learning_rate", RATES[0] * rate, RATES[1] * rate, log=True),
        "weight_decay": lambda: trial.suggest_float("weight_decay", *DECAYS, log=True),
        "augment": lambda: trial.suggest_categorical("augment", AUGMENTATIONS),
        "image_size": lambda: trial.suggest_categorical("image_size", sizes),
    }
    return {name: draw() for name, draw in ways.items() if name not in given}


def try_out(
    data: TrainingData,
    training: TrainingArguments,
    arguments: Arguments,
    recipe: Recipe,
    chosen: dict,
    folder: Path,
) -> float:
    """The best validation accuracy of a short training, whose folder goes afterwards."""
    own, own_recipe, short = replace(arguments, export_onnx=False), replace(recipe), copy.copy(training)
    short.num_train_epochs = max(1, int(training.num_train_epochs) // SHARE_OF_EPOCHS)
    short.output_dir, short.report_to = str(folder), []
    adopt(chosen, own, own_recipe, short)
    try:
        trainer = train_model(data, short, own, own_recipe, command=f"a trial of --tune {arguments.tune}")
        return float(trainer.state.best_metric or 0.0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def adopt(chosen: dict, arguments: Arguments, recipe: Recipe, training: TrainingArguments) -> None:
    for name, value in chosen.items():
        owner = next(part for part in (arguments, recipe, training) if hasattr(part, name))
        setattr(owner, name, value)


def in_words(chosen: dict) -> str:
    shown = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in chosen.items()}
    return " ".join(f"--{name} {value}" for name, value in shown.items())
