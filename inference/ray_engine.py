"""The engine of `predict.py --engine ray`: the same classifier on every machine of a Ray cluster.

    pip install -r requirements-scale.txt
    ray start --head                                   # and on the other machines: ray start --address HEAD:6379
    python predict.py --image_path s3://shop/photos --engine ray --address auto --output answers.parquet --resume

The code and the model travel to the machines; images do not: each machine opens its own, from a shared file system or
an object store, with this project's loader. (Ray's read_images would decode them its own way, and one bad file would
end the run.) Parquet tables with bytes are read by ray.data.read_parquet. The driver takes the rows in the order of the
input and checks their numbers, so a row that was lost or came twice with a machine would be noticed.
"""

import argparse
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from app.ensemble import load_models
from inference.journal import Row, as_line, as_row
from inference.readers.find import Input, InputError

ROOT = Path(__file__).resolve().parents[1]
CODE = ("app", "data_prep", "inference")  # the packages that a machine of the cluster needs, Python files only
MODEL_FILES = ("model*.onnx", "*.json")
UNIT = 64  # images that are handed out, and repeated after a failure, together
WAVE = 500_000  # images whose names are held by the driver at the same time
SPARE_CPUS = 1  # of each machine, for Ray's own tasks, which would wait for ever for a core that a model holds
READ_CPUS = 0.25


class Worker:
    """A loaded model on a machine of the cluster; it uses all its cores."""

    def __init__(self, options: dict) -> None:
        """options: `models`, folders relative to the working directory that Ray made, and what load_models takes."""
        self.options = options
        self.model = load_models(options["models"], options["precision"])

    def classify(self, images: list[Input]) -> list[str]:
        """One line of JSON an image, as in the journal."""
        sources = (source for _, source in images)
        options = [self.options[name] for name in ("top_k", "batch_size", "tta")]
        predictions = self.model.stream(sources, *options)
        return [as_line(name, prediction) for (name, _), prediction in zip(images, predictions, strict=True)]


class ImageWorker(Worker):
    """For batches of {"number", "image"}, numpy arrays of (name, source)."""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"number": batch["number"], "row": np.array(self.classify(list(batch["image"])), dtype=object)}


class ParquetWorker(Worker):
    """For batches of a parquet table, pyarrow tables with the images' column."""

    def __call__(self, batch):
        import pyarrow as pa

        from inference.readers.table import from_cell

        cells = batch.column(self.options["image_column"]).to_pylist()
        return pa.table({"row": self.classify([from_cell(self.options["table"], cell, "") for cell in cells])})


def classify_on_cluster(args: argparse.Namespace, inputs: Iterable[Input], done: int) -> Iterator[Row]:
    """Rows in the order of the input, as the local engine gives them. Raises InputError, ModelError.

    inputs: the images that are still to do. done: how many came before them.
    """
    are_tables = [path.lower().endswith(".parquet") for path in args.image_path]
    if any(are_tables) and not all(are_tables):
        raise InputError("--engine ray takes parquet tables or other images, not both at once: run it twice")
    load_models(args.models, args.precision)  # an unusable model is told here, not by a machine of the cluster
    with tempfile.TemporaryDirectory() as folder, connected(args, stage(args, Path(folder))):
        options = {name: getattr(args, name) for name in ("top_k", "batch_size", "tta", "precision")}
        options["models"] = [f"models/{number}" for number in range(len(args.models))]
        yield from from_tables(args, options, done) if any(are_tables) else from_images(inputs, options)


def from_images(inputs: Iterable[Input], options: dict) -> Iterator[Row]:
    import ray

    inputs = iter(inputs)
    while wave := list(islice(inputs, WAVE)):
        items = [{"number": number, "image": portable(image)} for number, image in enumerate(wave)]
        dataset = ray.data.from_items(items, override_num_blocks=-(-len(items) // UNIT))
        dataset = dataset.map_batches(ImageWorker, batch_size=UNIT, **actor_pool(options))
        next_number = 0
        for row in dataset.iter_rows():
            if row["number"] != next_number:
                raise RuntimeError(f"row {row['number']} of the cluster came where {next_number} belongs")
            next_number += 1
            yield as_row(row["row"])
        if next_number != len(wave):
            raise RuntimeError(f"{next_number} of {len(wave)} rows came back from the cluster")


def from_tables(args: argparse.Namespace, options: dict, done: int) -> Iterator[Row]:
    """Table by table. A table that was begun is read again from its start, and its first rows are not repeated."""
    import ray

    from inference.readers.table import check_table, count_rows

    for table in args.image_path:
        rows = count_rows(table)
        if done >= rows:
            done -= rows
            continue
        column = check_table(table, args.image_column)
        place = table if "://" in table else os.path.abspath(table)
        dataset = ray.data.read_parquet(place, columns=[column], num_cpus=READ_CPUS)
        pool = actor_pool(options | {"table": place, "image_column": column})
        dataset = dataset.map_batches(ParquetWorker, batch_size=UNIT, batch_format="pyarrow", **pool)
        number = 0
        for number, row in enumerate(dataset.iter_rows(), start=1):
            name, prediction = as_row(row["row"])
            if number > done:
                yield as_shown(name, table, place, number), prediction
        if number != rows:
            raise RuntimeError(f"{number} of {rows} rows of {table} came back from the cluster")
        done = 0


def as_shown(name: str, table: str, place: str, number: int) -> str:
    """An image's name as the local engine gives it."""
    folder = os.path.dirname(place)
    if not name:
        return f"{table}#{number}"
    return os.path.join(os.path.dirname(table), name[len(folder) + 1 :]) if name.startswith(f"{folder}/") else name


def portable(image: Input) -> Input:
    """Paths made absolute: the machines have another working directory."""
    name, source = image
    return name, os.path.abspath(source) if isinstance(source, str) else source


def actor_pool(options: dict) -> dict:
    """Arguments of map_batches: one actor a machine, with all its cores but SPARE_CPUS; fewer while some are lost."""
    import ray

    machines = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    machines = [cpus for cpus in machines if cpus >= 1]
    if not machines:
        raise InputError("--engine ray: no machine of the cluster has a CPU to spare")
    return {
        "fn_constructor_args": (options,),
        "compute": ray.data.ActorPoolStrategy(min_size=1, initial_size=len(machines), max_size=len(machines)),
        "num_cpus": min(machines) - SPARE_CPUS,
    }


def stage(args: argparse.Namespace, folder: Path) -> Path:
    """Copy what the machines need, code and models, to a folder that Ray sends them."""
    for path in sorted(path for package in CODE for path in (ROOT / package).rglob("*.py")):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for number, model in enumerate(args.models):
        target = folder / "models" / str(number)
        target.mkdir(parents=True)
        for path in sorted(path for pattern in MODEL_FILES for path in model.glob(pattern)):
            shutil.copyfile(path, target / path.name)
    return folder


@contextmanager
def connected(args: argparse.Namespace, folder: Path) -> Iterator[None]:
    """Connect to the cluster and leave it again. Raises InputError where there is none."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install -r requirements-scale.txt") from None
    address = args.address or "auto"
    try:
        ray.init(
            address=address, runtime_env={"working_dir": str(folder)}, log_to_driver=False, logging_level="warning"
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"--address {address}: no Ray cluster answers ({reason}); start one with `ray start --head`, or give "
            "--address local"
        ) from None
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns of what is meant, and of every slow start
        yield
    finally:
        ray.shutdown()
