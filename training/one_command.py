"""train.py from the command line to the last screen: prepare, choose, train, calibrate, say how good it is.

run(parse_command_line(parser, argv), "python train.py --dataset photos/", started=time.monotonic())
"""

import io
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import torch
from datasets import DatasetDict

from app.errors import UserError
from data_prep.pipeline.card import CARD_NAME
from data_prep.pipeline.prepared import load_prepared
from models.hub import push_folder
from models.registry import build_model
from training.arguments import Arguments, CommandLine
from training.attributes import attributes_after_training, check_attributes_option
from training.cpu_speed import keep_freed_memory
from training.cross_validation import check_folds, cross_validate
from training.data import PreparedData, open_data
from training.finish import Finished, finish
from training.frozen import FEW_IMAGES, train_frozen
from training.lr_find import find_rate
from training.own_data import Wanted, prepared_dataset, refuse_reading_options
from training.progress import say
from training.run import take_push, train_model
from training.step_rate import Rate
from training.suited import choose_weights, suit, suitable_size
from training.time_limit import Clock, TimedTrainer, fit_to_time, patient_deadline, seconds_of
from training.titles import check_titles, titles_after_training
from training.tracking import check_tracking
from training.tune import tune

CHOOSES_NETWORK = {"model", "pretrained", "from_scratch", "folds", "streaming"}


def run(line: CommandLine, command: str, started: float) -> None:
    """command: what the user typed. started: time.monotonic(). Raises UserError, DivergedError and ExportError."""
    arguments, training = line.arguments, line.training
    if not torch.accelerator.is_available():
        keep_freed_memory()
    check_tracking(training)
    check_folds(arguments)
    limit = seconds_of(arguments.time_limit) if arguments.time_limit else None
    if limit and (arguments.folds or arguments.streaming):
        raise UserError("--time_limit is for one training on a dataset of this machine: leave out --folds, --streaming")
    if limit and training.world_size > 1:
        raise UserError(
            "--time_limit is for one process, whose clock it follows: leave it out, or start without torchrun"
        )
    push = not arguments.folds and take_push(training)
    with training.main_process_first(desc="prepare"):
        prepare_data(line, command)
    everything_open = not line.given & CHOOSES_NETWORK
    done = Finished(Path(training.output_dir), arguments.dataset, arguments.label, command, started)
    if arguments.frozen or (everything_open and "frozen" not in line.given and has_few_images(arguments.dataset)):
        is_done = fit_layer(line, done)
    else:
        is_done = train_network(line, done, limit)
    if push and is_done:
        print(push_folder(done.folder, training.hub_model_id, training.hub_private_repo))


def prepare_data(line: CommandLine, command: str) -> None:
    """Choose the weights where nobody did, and make a prepared dataset of what was given."""
    arguments, _, training, own, given = line
    everything_open = not given & CHOOSES_NETWORK
    if everything_open:
        choose_weights(arguments)
    if arguments.streaming:  # shards are read where they are
        refuse_reading_options(arguments.dataset, own)
        return
    is_own = "://" not in arguments.dataset and not (Path(arguments.dataset) / CARD_NAME).is_file()
    if is_own and Path(arguments.dataset).exists():
        check_weights(line)
    label = arguments.label if "label" in given else ""
    wanted = Wanted(label, arguments.title_column or "", arguments.attributes)
    say(arguments.progress_file, "prepare")
    arguments.dataset, columns = prepared_dataset(arguments.dataset, own, wanted, command)
    arguments.label, arguments.title_column = columns.label, columns.title or None
    if everything_open and "output_dir" not in given:
        training.output_dir = f"runs/{Path(arguments.dataset).resolve().name}"


def fit_layer(line: CommandLine, done: Finished) -> bool:
    """A linear layer on frozen features; whether there is a finished folder."""
    arguments, _, training, _, given = line
    for option in ("title_column", "attributes"):
        if getattr(arguments, option):
            raise UserError(f"--{option} needs a trained network and held-out images: add --frozen False")
    data = open_whole(line)
    if not given & CHOOSES_NETWORK and "image_size" not in given:
        arguments.image_size = suitable_size(data)
    oof, learned = train_frozen(data, arguments, training.seed, done.folder, done.command)
    say(arguments.progress_file, "score")
    finish(done, oof, learned)
    return True


def train_network(line: CommandLine, done: Finished, limit: float | None) -> bool:
    """Whether there is a finished folder, which this process wrote. limit: seconds for the whole command."""
    arguments, recipe, training, _, given = line
    data = open_data(arguments, recipe)
    check_titles(arguments, data)
    check_attributes_option(arguments, data)
    train_one = partial(train_model, arguments=arguments, recipe=recipe, command=done.command)
    if arguments.folds:
        cross_validate(data, arguments, training, train_one)
        return False
    if not given & CHOOSES_NETWORK:
        suit(arguments, recipe, training, given, data)
    if arguments.lr_find:
        find_rate(data, training, arguments, recipe)
        return False
    if arguments.tune:
        tune(data, training, arguments, recipe, given, done.started + limit if limit else None)
    if clock := clock_of(line, data, done.started, limit):
        train_one = partial(train_one, trainer_class=partial(TimedTrainer, clock=clock))
    if not train_one(data, training).is_world_process_zero():
        return False
    extras = partial(titles_and_attributes, done.folder, arguments, done.command)
    if arguments.scorecard and arguments.export_onnx and not arguments.streaming:
        finish(done, extras=extras)
    elif lines := extras():
        print("\n".join(lines))
    return True


def titles_and_attributes(folder: Path, arguments: Arguments, command: str) -> list[str]:
    """Teach them to a finished folder where the command line asks for them, and say how well that went."""
    return [
        *titles_after_training(folder, arguments, command),
        *attributes_after_training(folder, arguments, command),
    ]


def clock_of(line: CommandLine, data: PreparedData, started: float, limit: float | None) -> Clock | None:
    """For a training that has to keep a time: the user's, or that which people wait for a few images on a CPU."""
    arguments, _, training, _, given = line
    is_open = not given & (CHOOSES_NETWORK | {"num_train_epochs", "max_steps"})
    is_long = is_open and not torch.accelerator.is_available() and training.world_size == 1
    if not limit and not is_long:
        return None
    rate = Rate.of(arguments)
    deadline = started + limit if limit else patient_deadline(arguments, training, data, started, rate)
    return fit_to_time(arguments, training, given, data, deadline, rate) if deadline else None


def check_weights(line: CommandLine) -> None:
    """Before the images are read: whether the network can be had and reads images of this size. Raises UserError."""
    arguments = line.arguments
    with redirect_stdout(io.StringIO()):  # what it says of the head is for the training's own start
        build_model(arguments.model, ["a", "b"], arguments.image_size, arguments.pretrained, arguments.from_scratch)


def open_whole(line: CommandLine) -> PreparedData:
    """The dataset, whatever splits have images."""
    dataset, label = line.arguments.dataset, line.arguments.label
    filled = {name: split for name, split in load_prepared(dataset, label, ["train"]).items() if len(split)}
    return PreparedData(dataset, label, DatasetDict(filled), Path(line.arguments.cache_dir or f"{dataset}/cache"))


def has_few_images(dataset: str) -> bool:
    """Whether a linear layer and cross-validation suit them better; said on the screen."""
    counts = {name: len(split) for name, split in DatasetDict.load_from_disk(dataset).items()}
    few = sum(counts.values()) < FEW_IMAGES
    if few or not counts.get("validation"):
        print(
            f"{sum(counts.values()):,} images are few: a linear layer on frozen features, scored by cross-validation "
            "(--frozen False trains the whole network instead)",
            file=sys.stderr,
        )
    return few or not counts.get("validation")
