"""Eight categories of a shopping app from screenshots: architectures, imbalance, what lifts the score; ships the best.

    python -m data_prep.slash_screenshots --input screenshots/grid screenshots/single --output data/slash
    python -m studies.slash8 --mobilenet DIR                 # all rows, a training for each of five folds: 60 minutes
    python -m studies.slash8 --dry_run                       # what is to do and how long it takes
    python -m studies.slash8 --only lite0_192 probe_lite0
    python -m studies.slash8 --only vgg16 resnet50           # slow rows, also with --all
    python -m studies.slash8 --report                        # the page alone, from what was run
    python -m studies.slash8 --ship lite0_192                # that recipe on all images, into runs/slash8

Folds keep images of one screenshot and near-duplicates together, since that is how new images come. A row whose
weights are not at hand, or that was not run, is absent from results/slash8.md. Started again, the study goes on.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from app.errors import one_line_errors
from studies.common.fold_training import pooled_pixels, train_fold
from studies.common.options import StudyOptions, study_parser
from studies.common.units import Unit, fingerprint_of_weights
from studies.slash8.data import FOLDS, SEED, SlashData, prepare
from studies.slash8.results_page import write_results
from studies.slash8.rows import PROBES, ROWS, Row
from studies.slash8.ship import ship
from training.network import Network, with_mirror_images

SECONDS_PER_PROBE = 40
WEIGHTS = ("mobilenet", "lite0", "lite1", "lite2", "fashion")


@dataclass(frozen=True)
class Options(StudyOptions):
    runs: Path = field(default=Path("runs/studies/slash8"), metadata={"help": "folder for the results of the units"})
    dataset: Path = field(default=Path("data/slash"), metadata={"help": "what data_prep.slash_screenshots wrote"})
    mobilenet: str = field(default="google/mobilenet_v2_1.0_224", metadata={"help": "weights of MobileNetV2"})
    lite0: str = field(default="pretrained/efficientnet_lite0", metadata={"help": "what models/convert.py wrote"})
    lite1: str = field(default="pretrained/efficientnet_lite1", metadata={"help": "the same"})
    lite2: str = field(default="pretrained/efficientnet_lite2", metadata={"help": "the same"})
    fashion: str = field(default="runs/fashion", metadata={"help": "weights of the project's fashion model"})
    all: bool = field(default=False, metadata={"help": "the slow rows too, another hour and more"})
    ship: str | None = field(default=None, metadata={"help": "train this row on all images", "metavar": "ROW"})
    output: Path = field(default=Path("runs/slash8"), metadata={"help": "of --ship"})
    epochs: int | None = field(default=None, metadata={"help": "other than the rows say, for a quick try"})


def main(argv: list[str] | None = None) -> None:
    parser = study_parser(Options, "slash8", __doc__)
    options = Options(**vars(parser.parse_args(argv)))
    weights = {name: getattr(options, name) for name in WEIGHTS}
    changes = {"epochs": options.epochs, "size": options.image_size}
    rows = [replace(row, **{name: value for name, value in changes.items() if value}) for row in ROWS]
    failed = []
    with one_line_errors(parser):
        data = prepare(options.dataset, options.runs)
        units = [*probe_units(data, weights, options.image_size), *training_units(data, weights, rows)]
        if not options.report and not options.ship:
            failed = options.run_chosen(units, everyday_rows(options.all))
        if not options.dry_run:
            print(write_results(data, rows, units, options.runs, options.results))
        if options.ship:
            ship(options.ship, rows, data, weights, units, options.runs, options.output)
    if failed:
        sys.exit(f"not all rows could be run: {', '.join(failed)}")


def everyday_rows(slow_too: bool) -> list[str]:
    return [*PROBES, *(row.name for row in ROWS if slow_too or not row.slow)]


def training_units(data: SlashData, weights: Mapping[str, str], rows: Sequence[Row]) -> list[Unit]:
    """A unit for each fold of each row."""
    units = []
    for row in rows:
        start = row.weights and weights[row.weights]
        arguments = [*row.arguments(start), "--seed", str(SEED)]
        for fold in range(FOLDS):
            made_by = {
                "arguments": row.arguments(row.weights),
                **{"size": row.size, "views": row.views, "folds": FOLDS, "fold": fold, "seed": SEED},
                **{"data": data.fingerprint, "weights": fingerprint_of_weights(start)},
            }
            work = partial(train_fold, arguments, data.pages, data.pool, row.size, fold, row.views)
            seconds = row.seconds(data.images_per_fold)
            units.append(Unit(row.name, f"fold_{fold}", made_by, seconds, work, weights=start))
    return units


def probe_units(data: SlashData, weights: Mapping[str, str], other_size: int | None) -> list[Unit]:
    units = []
    for name, (start, own_size) in PROBES.items():
        size, source = other_size or own_size, weights[start]
        made_by = {"size": size, "data": data.fingerprint, "weights": fingerprint_of_weights(source)}
        work = partial(embed, source, data.pages, size)
        units.append(Unit(name, "embeddings", made_by, SECONDS_PER_PROBE, work, weights=source))
    return units


def embed(weights: str, dataset: Path, size: int, folder: Path) -> dict[str, np.ndarray]:
    """`embeddings` (2, rows, dim) float32 of all images and their mirror images, in the order of the pool."""
    network = Network(weights)
    return {"embeddings": np.stack([network.embeddings(v) for v in with_mirror_images(pooled_pixels(dataset, size))])}
