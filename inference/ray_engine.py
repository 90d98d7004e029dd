"""The engine of `predict.py --engine ray`: the same classifier on every machine of a Ray cluster.

    pip install -e ".[scale]"
    ray start --head                                   # and on the other machines: ray start --address HEAD:6379
    python predict.py --image_path s3://shop/photos --engine ray --address auto --output answers.parquet --resume

The code and the model travel to the machines; images do not: each machine opens its own, from a shared file system or
an object store, with this project's loader. (Ray's read_images would decode them its own way, and one bad file would
end the run.) Of a Parquet table each machine reads its own row groups, so that a damaged page costs its group. The
driver takes the rows in the order of the input and checks their numbers, so a row that a machine lost or sent twice
would be noticed.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from app.classifier import Classifier
from app.ensemble import load_models
from app.errors import one_line
from app.titled import TitledImage
from data_prep.pipeline.parquet_tables import ParquetTable
from inference.journal import Row, as_line, as_row
from inference.options import PredictOptions, files_of
from inference.readers.base import InputError, Lookup, NamedImage, Reader
from inference.readers.object_store import open_object
from inference.readers.table import TableReader

ROOT = Path(__file__).resolve().parents[1]
CODE = ("app", "data_prep", "inference")  # the packages that a machine of the cluster needs, Python files only
UNIT = 64  # images that are handed out, and repeated after a failure, together
WAVE = 500_000  # images whose names are held by the driver at the same time
Place = TypeVar("Place")
SPARE_CPUS = 1  # of each machine, for Ray's own tasks, which would wait for ever for a core that a model holds
REASON_LENGTH = 200


class Worker:
    """A loaded model on a machine of the cluster; it uses all its cores."""

    def __init__(self, options: PredictOptions) -> None:
        """options: their `models` are relative to the working directory that Ray made."""
        self.options = options
        self.model = load_models(options.models, options.precision)

    def classify(self, images: Sequence[NamedImage]) -> list[str]:
        """One line of JSON per image, as in the journal."""
        sources = (source for _, source in images)
        options = self.options
        predictions = self.model.stream(sources, options.top_k, options.batch_size, options.tta)
        return [as_line(name, prediction) for (name, _), prediction in zip(images, predictions, strict=True)]


class ImageWorker(Worker):
    """For batches of {"number", "image"}, numpy arrays of (name, source)."""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"number": batch["number"], "row": np.array(self.classify(list(batch["image"])), dtype=object)}


class TableWorker(Worker):
    """For batches of {"number", "table", "group"}: a row group of a Parquet table each, read where it is classified."""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        numbers: list[int] = []
        rows: list[str] = []
        for number, place, group in zip(batch["number"], batch["table"], batch["group"], strict=True):
            images = images_of_group(str(place), int(group), self.options.lookup)
            while unit := list(islice(images, UNIT)):
                rows += self.classify(unit)
                numbers += [int(number)] * len(unit)
        return {"number": np.array(numbers), "row": np.array(rows, dtype=object)}


def images_of_group(place: str, group: int, lookup: Lookup) -> Iterator[NamedImage]:
    """The images of a row group, as the local engine finds them; a damaged one ends with a row that says so."""
    reader = TableReader(place, lookup, open_object if "://" in place else None)
    assert isinstance(reader.table, ParquetTable)
    for record in reader.table.records_of(group, reader.columns):
        yield reader.image_of(record)


def classify_on_cluster(options: PredictOptions, images: Iterable[NamedImage], done: int) -> Iterator[Row]:
    """Rows in the order of the input, as the local engine gives them. Raises InputError, ModelError.

    images: those that are still to do. done: how many came before them.
    """
    tables = [table for table in map(parquet_table, options.readers) if table]
    if tables and len(tables) < len(options.readers):
        raise InputError("--engine ray takes parquet tables or other images, not both at once: run it twice")
    model = load_models(options.models, options.precision)  # what is unusable is reported here, not by another machine
    if options.lookup.title_column and isinstance(model, Classifier):
        model.required_titles()
    with tempfile.TemporaryDirectory() as folder:
        staged = replace(options, readers=(), models=stage(options.models, Path(folder)))
        with connected(options.address or "auto", folder):
            yield from from_tables(tables, staged, done) if tables else from_images(images, staged)


def parquet_table(reader: Reader) -> TableReader | None:
    """The reader of a Parquet table, on this machine or in a store; None for any other."""
    table = reader.as_table()
    return table if table and isinstance(table.table, ParquetTable) else None


def from_images(images: Iterable[NamedImage], options: PredictOptions) -> Iterator[Row]:
    import ray

    images = iter(images)
    while wave := list(islice(images, WAVE)):
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


def from_tables(tables: Iterable[TableReader], options: PredictOptions, done: int) -> Iterator[Row]:
    """Table by table. A table that was begun is read again from its start, and its first rows are not repeated."""
    import ray

    root = options.lookup.image_root
    lookup = replace(options.lookup, image_root=None if root is None else os.path.abspath(root))
    options = replace(options, lookup=lookup)
    for table in tables:
        assert isinstance(table.table, ParquetTable)
        place = table.argument if table.open_file else os.path.abspath(table.argument)
        items = [{"number": i, "table": place, "group": i} for i in range(len(table.table.group_rows))]
        if not items:
            continue
        dataset = ray.data.from_items(items, override_num_blocks=len(items))
        dataset = dataset.map_batches(TableWorker, batch_size=1, **actor_pool(options))
        last = 0
        for row in dataset.iter_rows():
            if not last <= row["number"] <= last + 1:
                raise RuntimeError(f"row group {row['number']} of {table.argument} came where {last + 1} belongs")
            last = row["number"]
            if done:
                done -= 1
                continue
            name, prediction = as_row(row["row"])
            yield as_shown(name, table.argument, place, root), prediction
        if last != len(items) - 1:
            raise RuntimeError(f"{last + 1} of {len(items)} row groups of {table.argument} came back from the cluster")


def as_shown(name: str, table: str, place: str, root: str | None) -> str:
    """An image's name as the local engine gives it."""
    if name.startswith(f"{place}#"):
        return table + name[len(place) :]
    folder = os.path.dirname(place) if root is None else os.path.abspath(root)
    shown = os.path.dirname(table) if root is None else root
    return os.path.join(shown, name[len(folder) + 1 :]) if name.startswith(f"{folder}/") else name


def portable(image: NamedImage) -> NamedImage:
    """Paths made absolute: the machines have another working directory."""
    name, source = image
    if isinstance(source, TitledImage):
        return name, replace(source, image=absolute(source.image))
    return name, absolute(source)


def absolute(image: Place) -> Place:
    return os.path.abspath(image) if isinstance(image, str) else image  # type: ignore[return-value]


def actor_pool(*worker_arguments: object) -> dict[str, Any]:
    """Arguments of map_batches: one actor per machine, with all its cores but SPARE_CPUS; fewer while some are lost."""
    import ray

    machines = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    machines = [cpus for cpus in machines if cpus >= 1]
    if not machines:
        raise InputError("--engine ray: no machine of the cluster has a CPU to spare")
    return {
        "fn_constructor_args": worker_arguments,
        "compute": ray.data.ActorPoolStrategy(min_size=1, initial_size=len(machines), max_size=len(machines)),
        "num_cpus": min(machines) - SPARE_CPUS,
    }


def stage(models: Iterable[Path], folder: Path) -> list[Path]:
    """Copy what the machines need to a folder that Ray sends them. Returns where in it the models lie."""
    for path in sorted(path for package in CODE for path in (ROOT / package).rglob("*.py")):
        copy(path, folder / path.relative_to(ROOT))
    places = []
    for number, model in enumerate(models):  # numbered, because two may have one name
        places.append(Path("models", str(number)))
        for path in files_of(model):
            copy(path, folder / places[-1] / path.name)
    return places


def copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


@contextmanager
def connected(address: str, folder: str) -> Iterator[None]:
    """Connect to the cluster, send it `folder`, and leave it again. Raises InputError where there is no cluster."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError('--engine ray needs Ray: pip install -e ".[scale]"') from None
    try:
        ray.init(address=address, runtime_env={"working_dir": folder}, log_to_driver=False, logging_level="warning")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers ({one_line(error, REASON_LENGTH)}); start one with "
            "`ray start --head`, or give --address local"
        ) from None
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns about intended settings and every slow start
        yield
    finally:
        ray.shutdown()
