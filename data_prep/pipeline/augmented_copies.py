"""Changed copies of images (rotated, flipped, scaled), made on all cores and kept on disk until they are written."""

import hashlib
import io
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from data_prep.pipeline.facts import obey_parent
from data_prep.pipeline.images import ImageReference

ROTATION_DEGREES = 15
SCALE_RANGE = (0.85, 1.15)
FLIP_CHANCE = 0.5
JPEG_QUALITY = 95
JPEG_FORMATS = ("JPEG", "MPO")
CHUNK = 16  # copies a task
COMMIT_EVERY = 500  # copies: what a killed run loses at most
FEW_COPIES = 100  # below this a pool takes longer to start than the work
COPIES_VERSION = 1  # part of the key: raise it when `change` draws something else


@dataclass(slots=True, frozen=True)
class CopyTask:
    """One copy to make. key: what it depends on; the same key gives the same copy."""

    name: str
    key: str
    image: ImageReference


@dataclass(slots=True)
class CopyStore:
    """Finished copies by key in one SQLite file, so that a killed run can go on."""

    connection: sqlite3.Connection

    @classmethod
    def open(cls, path: Path) -> "CopyStore":
        """Raises ValueError when another run holds the file."""
        connection = sqlite3.connect(path, timeout=1)
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("CREATE TABLE IF NOT EXISTS copies (key TEXT PRIMARY KEY, data BLOB)")
            connection.commit()
        except sqlite3.OperationalError as error:
            raise ValueError(
                f"{path.parent} is in use by another run; wait for it or choose another --output"
            ) from error
        except sqlite3.DatabaseError:  # a killed machine left it damaged
            connection.close()
            path.unlink()
            return cls.open(path)
        return cls(connection)

    def has(self, key: str) -> bool:
        return self.connection.execute("SELECT 1 FROM copies WHERE key = ?", [key]).fetchone() is not None

    def get(self, key: str) -> bytes:
        return self.connection.execute("SELECT data FROM copies WHERE key = ?", [key]).fetchone()[0]

    def put(self, key: str, data: bytes) -> None:
        self.connection.execute("INSERT OR REPLACE INTO copies VALUES (?, ?)", [key, data])

    def close(self) -> None:
        self.connection.commit()
        self.connection.close()


@dataclass(slots=True, frozen=True)
class StoredCopy:
    """A finished copy, read from the store."""

    store: CopyStore
    name: str

    def read(self) -> bytes:
        return self.store.get(self.name)

    def key(self) -> str:
        return self.name


def make_copies(tasks: Sequence[CopyTask], store: CopyStore, num_proc: int) -> None:
    """Fill the store with the copies that it lacks."""
    waiting = [task for task in tasks if not store.has(task.key)]
    with tqdm(total=len(waiting), desc="changing copies", unit="image", disable=None) as progress:
        for number, (key, data) in enumerate(change_in_processes(waiting, num_proc), start=1):
            store.put(key, data)
            if number % COMMIT_EVERY == 0:
                store.connection.commit()
            progress.update()
    store.connection.commit()


def change_in_processes(tasks: Sequence[CopyTask], num_proc: int) -> Iterator[tuple[str, bytes]]:
    """(key, file) of each task, in `num_proc` processes where that pays."""
    if num_proc <= 1 or len(tasks) < FEW_COPIES:
        yield from map(change_task, tasks)
        return
    chunks = [tasks[start : start + CHUNK] for start in range(0, len(tasks), CHUNK)]
    pool = ProcessPoolExecutor(num_proc, mp_context=get_context("spawn"), initializer=start_worker)
    try:
        for done in pool.map(change_chunk, chunks):
            yield from done
    except BrokenProcessPool as error:
        raise ValueError(
            "a worker process died while changing copies, probably for lack of memory; "
            "run the same command again with --num_proc 1 (finished copies are kept)"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_worker() -> None:
    """In a worker: one thread, as the processes share the cores already."""
    import torch

    torch.set_num_threads(1)
    obey_parent()


def change_chunk(chunk: Sequence[CopyTask]) -> list[tuple[str, bytes]]:
    """What `change_task` says of each; runs in a worker."""
    return [change_task(task) for task in chunk]


def change_task(task: CopyTask) -> tuple[str, bytes]:
    """The key and the file of one copy. Raises ValueError that names the copy where its image cannot be read."""
    try:
        return task.key, change(task.image.read(), task.key)
    except (ValueError, OSError) as error:
        raise ValueError(f"cannot change {task.name}: {error}; data_prep.doctor finds such images") from error


def change(data: bytes, key: str) -> bytes:
    """A rotated, perhaps flipped, scaled copy of the same size: JPEG for a JPEG, PNG for anything else.

    Edges are repeated outwards before the image turns, so that no black corners give a copy away. The key seeds the
    draw. Raises ImageError for an image that cannot be read.
    """
    import models.torchvision_cpu  # noqa: F401  before torchvision

    import torch
    from PIL import Image
    from torchvision.transforms import InterpolationMode, v2

    from app.images import load_image

    with Image.open(io.BytesIO(data)) as original:
        image_format = "JPEG" if original.format in JPEG_FORMATS else "PNG"
    image = load_image(data)
    turn = v2.Compose(
        [
            v2.Pad(max(image.size) // 2, padding_mode="edge"),
            v2.RandomHorizontalFlip(FLIP_CHANCE),
            v2.RandomAffine(ROTATION_DEGREES, scale=SCALE_RANGE, interpolation=InterpolationMode.BILINEAR),
            v2.CenterCrop((image.height, image.width)),
        ]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(key))
        changed = turn(image)
    stream = io.BytesIO()
    changed.save(stream, image_format, **({"quality": JPEG_QUALITY} if image_format == "JPEG" else {}))
    return stream.getvalue()


def seed_of(key: str) -> int:
    """A number that depends on the key only, in every process."""
    return int.from_bytes(hashlib.sha256(f"{COPIES_VERSION}|{key}".encode()).digest()[:8], "big") >> 1
