"""Clean images against real ones: how much a model loses from one source to another, and what closes the gap.

    python -m data_prep.image_folder --input clothing --output data/clothing
    python -m data_prep.fashion_mnist --output data/fashion_mnist
    python -m data_prep.kaggle_fashion --output data/kaggle_fashion
    python -m studies.domain_gap --fashion runs/fashion
    python -m studies.domain_gap --dry_run                  # what is to do and how long it takes
    python -m studies.domain_gap --only kaggle clothing joint
    python -m studies.domain_gap --report                   # the page alone, from what was run
    python -m studies.domain_gap --ship runs/shipped/fashion  # the fashion model to ship

The page is results/domain_gap.md. Started again, the study goes on; rows that were not run are absent.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.errors import one_line_errors
from evaluation.provenance import command_line
from studies.common.fold_training import PROTOCOL, logged, run_training
from studies.common.options import StudyOptions, study_parser
from studies.common.units import WEIGHTS_FILE, MissingModelError, Unit, fingerprint_of_weights
from studies.domain_gap.adaptation import adapt
from studies.domain_gap.batch_norm import adapt_batch_norm
from studies.domain_gap.clustering import sort_images
from studies.domain_gap.coarse_labels import train_jointly
from studies.domain_gap.common_labels import common_probabilities
from studies.domain_gap.data import Source, few_images, open_source
from studies.domain_gap.results_page import PHOTOS, write_results
from studies.domain_gap.rows import CATALOG_IMAGES, KEPT_MODELS, MODEL, ROWS, SEED, SHIPPED, Row
from studies.domain_gap.ship import ship_model
from training.network import Network

# The long trainings go on from their last checkpoint where they were stopped.
RESUMABLE = ("--save_strategy", "steps", "--save_steps", "300", "--resume_from_checkpoint", "True")


@dataclass(frozen=True)
class Options(StudyOptions):
    runs: Path = field(
        default=Path("runs/studies/domain_gap"), metadata={"help": "folder for the results of the units"}
    )
    kaggle: Path = field(default=Path("data/kaggle_fashion"), metadata={"help": "the catalogue"})
    clothing: Path = field(default=Path("data/clothing"), metadata={"help": "people's own photos"})
    fashion_mnist: Path = field(default=Path("data/fashion_mnist"), metadata={"help": "gray images of 28 px"})
    pretrained: Path = field(default=Path("pretrained"), metadata={"help": "folder of what models/convert.py wrote"})
    fashion: str = field(default="runs/fashion", metadata={"help": "weights of the project's fashion model"})
    ship: Path | None = field(default=None, metadata={"help": f"write the model of {SHIPPED} here"})
    steps: int | None = field(default=None, metadata={"help": "at most so many per training, for a quick try"})


class Models(NamedTuple):
    """Of other trainings: the weights that a row starts from, a folder or a Hub id, and the folders of its teachers."""

    start: str | None
    teachers: list[str]


def main(argv: list[str] | None = None) -> None:
    parser = study_parser(Options, "domain_gap", __doc__)
    options = Options(**vars(parser.parse_args(argv)))
    prepared = {"fashion_mnist": options.fashion_mnist, "kaggle": options.kaggle, PHOTOS: options.clothing}
    failed = []
    with one_line_errors(parser):
        sources = {name: open_source(name, folder, options.runs) for name, folder in prepared.items()}
        rows = [shortened(row, options.steps, options.image_size) for row in ROWS]
        units = all_units(rows, sources, options)
        if not options.report and not options.ship:
            failed = options.run_chosen(units, [row.name for row in rows if not row.gpu])
        if options.ship:
            trained = next(unit.model_folder(options.runs) for unit in units if unit.row == SHIPPED)
            command = command_line("-m studies.domain_gap", argv)
            ship_model(trained, options.kaggle, sources[PHOTOS], command, options.ship)
        elif not options.dry_run:
            print(write_results(sources, rows, units, options.runs, options.results))
    if failed:
        sys.exit(f"not all rows could be run: {', '.join(failed)}")


def shortened(row: Row, steps: int | None, size: int | None) -> Row:
    return replace(row, steps=min(row.steps, steps or row.steps), size=size or row.size)


def all_units(rows: Sequence[Row], sources: Mapping[str, Source], options: Options) -> list[Unit]:
    """A unit per row; a row that starts from another's model, which comes before it, finds it through `units`."""
    units: dict[str, Unit] = {}
    for row in rows:
        earlier = units[row.start] if row.start in KEPT_MODELS else None
        start = str(earlier.model_folder(options.runs)) if earlier else first_weights(row.start, options)
        taught_by = [units[teacher] for teacher in row.teachers]
        models = Models(start, [str(unit.model_folder(options.runs)) for unit in taught_by])
        made_by = {
            "arguments": row.arguments(row.start, row.teachers),
            "source": row.source,
            "data": {source.name: source.fingerprint for source in sources.values()},
            "start": earlier.key if earlier else fingerprint_of_weights(start),
        }
        if row.source == "clusters":
            made_by["features"] = fingerprint_of_weights(features_of(options))
        if row.teachers:
            made_by["teachers"] = [unit.key for unit in taught_by]
        work = partial(answer, row, models, sources, options)
        keep, needed = row.name in KEPT_MODELS, None if earlier else start
        units[row.name] = Unit(row.name, "answers", made_by, row.seconds(), work, keep, needed)
    return list(units.values())


def first_weights(start: str | None, options: Options) -> str | None:
    """The folder of a row's `start` that is no other row."""
    if start in (None, "fashion"):
        return start and options.fashion
    return str(options.pretrained / (MODEL if start == "imagenet" else start))


def features_of(options: Options) -> str:
    return str(options.pretrained / "efficientnet_lite2")


def answer(
    row: Row, models: Models, sources: Mapping[str, Source], options: Options, folder: Path
) -> dict[str, np.ndarray]:
    """For each source (rows, common classes) float32 sums of probabilities on its scored images.

    `clothing_adapted` are those on photos with test-time BatchNorm.
    """
    network = Network(fit(row, models, sources, options, folder))
    answers = {name: common_probabilities(network, source.scored_pixels(row.size)) for name, source in sources.items()}
    if row.adapted:
        photos = sources[PHOTOS].scored_pixels(row.size)
        adapt_batch_norm(network, photos)
        answers[f"{PHOTOS}_adapted"] = common_probabilities(network, photos)
    return answers


def fit(row: Row, models: Models, sources: Mapping[str, Source], options: Options, folder: Path) -> Path | str | None:
    """Train a row's model; gives its folder. Raises MissingModelError where it starts from a row that was not run."""
    photos, start = sources[PHOTOS], models.start
    for name, model in [(row.start, start), *zip(row.teachers, models.teachers, strict=True)]:
        if name in KEPT_MODELS and not (Path(model) / WEIGHTS_FILE).is_file():
            raise MissingModelError(f"it needs the model of another row; run the row {name} first")
    if row.source is None:
        return start
    arguments = [*row.arguments(start, models.teachers), *PROTOCOL]
    if row.source == "unlabelled":
        adapt(Path(start), photos.pixels("train", row.size), np.unique(photos.truth).tolist(), row.steps, SEED, folder)
    elif row.source == "clusters":
        catalog = few_images(sources["kaggle"], CATALOG_IMAGES, options.runs, SEED)
        sort_images(Path(start), features_of(options), catalog, photos, row.size, folder)
    elif row.source == "joint":
        catalog = ["--dataset", str(options.kaggle), "--label", "articleType"]
        argv = [*arguments, *catalog, *RESUMABLE, "--export_onnx", str(row.name in KEPT_MODELS)]
        command = f"python -m studies.domain_gap --only {row.name}"
        with logged(folder):
            train_jointly(argv, [photos, sources["fashion_mnist"]], row.repeats, command, folder)
    else:
        few = row.source.startswith("few_")
        count = int(row.source.removeprefix("few_")) if few else 0
        dataset = few_images(photos, count, options.runs, SEED) if few else sources[row.source].folder
        with logged(folder):
            run_training([*arguments, "--dataset", str(dataset)], folder)
    return folder
