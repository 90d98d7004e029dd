"""train.py from the command line to the last screen: prepare, choose, train, calibrate, say how good it is.

run(parse_command_line(parser, argv), "python train.py --dataset photos/", started=time.monotonic())
"""

import io
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

from datasets import DatasetDict

from app.errors import UserError
from data_prep.pipeline.card import CARD_NAME
from data_prep.pipeline.prepared import load_prepared
from models.hub import push_folder
from models.registry import build_model
from training.arguments import CommandLine
from training.attributes import attributes_after_training, check_attributes_option
from training.cross_validation import check_folds, cross_validate
from training.data import PreparedData, open_data
from training.finish import Finished, finish
from training.frozen import FEW_IMAGES, train_frozen
from training.lr_find import find_rate
from training.own_data import prepared_dataset, refuse_reading_options
from training.progress import say
from training.run import take_push, train_model
from training.suited import choose_weights, suit, suitable_size
from training.time_limit import TimedTrainer, fit_to_time, seconds_of
from training.titles import check_titles, titles_after_training
from training.tracking import check_tracking
from training.tune import tune

CHOOSES_NETWORK = {"model", "pretrained", "from_scratch", "folds", "streaming"}


def run(line: CommandLine, command: str, started: float) -> None:
    """command: what the user typed. started: time.monotonic(). Raises UserError, DivergedError and ExportError."""
    arguments, training = line.arguments, line.training
    check_tracking(training)
    check_folds(arguments)
    limit = seconds_of(arguments.time_limit) if arguments.time_limit else None
    if limit and (arguments.folds or arguments.streaming):
        raise UserError("--time_limit is for one training on a dataset of this machine: leave out --folds, --streaming")
    push = not arguments.folds and take_push(training)
    with training.main_process_first(desc="prepare"):
        prepare_data(line, command)
    everything_open = not line.given & CHOOSES_NETWORK
    done = Finished(Path(training.output_dir), arguments.dataset, arguments.label, command, started)
    if arguments.frozen or (everything_open and "frozen" not in line.given and has_few_images(arguments.dataset)):
        is_done = fit_layer(line, done)
    else:
        is_done = train_network(line, done, started + limit if limit else None)
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
    label = arguments.label if "label" in given else None
    say(arguments.progress_file, "prepare")
    arguments.dataset, arguments.label = prepared_dataset(arguments.dataset, own, label, command)
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


def train_network(line: CommandLine, done: Finished, deadline: float | None) -> bool:
    """Whether there is a finished folder, which this process wrote. deadline: of the command, on time.monotonic()."""
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
        tune(data, training, arguments, recipe, given, deadline)
    if deadline:
        clock = fit_to_time(arguments, training, given, data, deadline)
        train_one = partial(train_one, trainer_class=partial(TimedTrainer, clock=clock))
    if not train_one(data, training).is_world_process_zero():
        return False
    if arguments.scorecard and arguments.export_onnx and not arguments.streaming:
        finish(done)
    titles_after_training(done.folder, arguments, done.command)
    attributes_after_training(done.folder, arguments, done.command)
    return True


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
