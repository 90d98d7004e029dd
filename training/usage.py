"""What is said of a mistyped option or model name: the nearest ones that there are, also by other tools' words.

suggestion("--epochs", {"--num_train_epochs", "--optim"})     # "did you mean --num_train_epochs?"
"""

import argparse
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from app.errors import UserError
from models.registry import MODELS

# The words of timm, fastai, Ultralytics and Keras for what is called otherwise here.
ALIASES = {
    "amp": ("bf16", "fp16"),
    "arch": ("model",),
    "aug": ("augment",),
    "augmentation": ("augment",),
    "backbone": ("model",),
    "batch": ("per_device_train_batch_size",),
    "batch_size": ("per_device_train_batch_size",),
    "bs": ("per_device_train_batch_size",),
    "checkpoint": ("pretrained", "resume_from_checkpoint"),
    "data": ("dataset",),
    "data_dir": ("dataset",),
    "device": ("use_cpu",),
    "epochs": ("num_train_epochs",),
    "img_size": ("image_size",),
    "imgsz": ("image_size",),
    "input": ("dataset",),
    "lr": ("learning_rate",),
    "model_ema": ("ema",),
    "name": ("output_dir",),
    "opt": ("optim",),
    "optimizer": ("optim",),
    "output": ("output_dir",),
    "patience": ("early_stopping_patience",),
    "project": ("output_dir",),
    "resume": ("resume_from_checkpoint",),
    "scheduler": ("lr_scheduler_type",),
    "smoothing": ("label_smoothing_factor",),
    "time": ("time_limit",),
    "wd": ("weight_decay",),
    "weights": ("pretrained",),
    "workers": ("dataloader_num_workers",),
}
SHOWN = 3
LIKENESS = 0.6  # of two names, as difflib counts


def given_options(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> dict[str, Any]:
    """What the command line itself says, without the defaults."""
    absent = object()
    asked = argparse.Namespace(**{action.dest: absent for action in parser._actions})
    parser.parse_known_args(argv, asked)  # it sets a default only where the namespace has nothing
    return {name: value for name, value in vars(asked).items() if value is not absent}


def unknown_option(words: Iterable[str], options: Collection[str]) -> str:
    """The error for the words that no option took; the first that looks like an option is what was mistyped."""
    words = list(words)
    word = next((word for word in words if word.startswith("-")), words[0])
    if not word.startswith("-"):
        return f"{word!r} belongs to no option; --help lists them"
    word = word.partition("=")[0]
    meant = nearest(word.lstrip("-").replace("-", "_"), [option.lstrip("-") for option in options])
    return f"there is no option {word}; {did_you_mean([f'--{name}' for name in meant])}--help lists all"


def check_model_name(name: str) -> None:
    """Raises UserError for what is neither in the table, nor a Hub id, nor a folder, before any work."""
    path = Path(name)
    if name in MODELS or path.exists():
        return
    if "/" in name and (path.is_absolute() or path.parent.is_dir() or len(path.parts) > 2):
        raise UserError(f"--model {name}: there is no such folder; a name of the Hub is like USER/NAME")
    if "/" in name:
        return
    raise UserError(
        f"--model {name} is not known; {did_you_mean(nearest(name, MODELS))}the names are {', '.join(MODELS)}, and a "
        "Hub id such as google/vit-base-patch16-224 or a folder works too"
    )


def did_you_mean(names: Collection[str]) -> str:
    """A clause that ends with `: `, or an empty string without names."""
    return f"did you mean {', '.join(names)}? " if names else ""


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """The names that are most probably meant, best first; those that begin with the word before those like it."""
    names, word = list(names), word.lower()
    if meant := [name for name in ALIASES.get(word, ()) if name in names]:
        return meant
    parts = [name for name in names if name.startswith(word)]
    parts = parts or [name for name in names if len(word) > 2 and word in name]
    return (parts or get_close_matches(word, names, SHOWN, LIKENESS))[:SHOWN]
