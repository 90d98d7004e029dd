"""Changed copies of images (rotated, flipped, scaled), made on all cores and kept on disk until they are written."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from app.errors import UserError
from app.images import JPEG_FORMATS, load_image, open_checked
from data_prep.pipeline.finished_work import FinishedWork
from data_prep.pipeline.images import ImageReference
from data_prep.pipeline.processes import map_in_processes

ROTATION_DEGREES = 15
SCALE_RANGE = (0.85, 1.15)
FLIP_CHANCE = 0.5
JPEG_QUALITY = 95
FEW_COPIES = 100  # below this a pool takes longer to start than the work
COPIES_VERSION = 1  # part of the key: raise it when `change` draws something else
STORE_COLUMNS = ("data",)


@dataclass(slots=True, frozen=True)
class CopyTask:
    """One copy to make. key: what it depends on; the same key gives the same copy."""

    name: str
    key: str
    image: ImageReference


@dataclass(slots=True, frozen=True)
class StoredCopy:
    """A finished copy, read from the store."""

    store: FinishedWork
    name: str

    def read(self) -> bytes:
        return self.store.get(self.name)[0]

    def key(self) -> str:
        return self.name


def make_copies(tasks: Sequence[CopyTask], store: FinishedWork, num_proc: int) -> None:
    """Fill the store, whose columns are STORE_COLUMNS, with the copies that it lacks."""
    waiting = [task for task in tasks if task.key not in store]
    copies = map_in_processes(change_task, waiting, num_proc, FEW_COPIES, prepare_worker=use_one_thread)
    progress = tqdm(copies, "changing copies", len(waiting), unit="image", disable=None)
    for task, data in zip(waiting, progress, strict=True):
        store.put(task.key, [data])
    store.commit()


def use_one_thread() -> None:
    """The processes share the cores already."""
    import torch

    torch.set_num_threads(1)


def change_task(task: CopyTask) -> bytes:
    """The file of one copy. Raises UserError that names the copy where its image cannot be read."""
    try:
        return change(task.image.read(), task.key)
    except (UserError, OSError) as error:
        raise UserError(f"cannot change {task.name}: {error}; data_prep.doctor finds such images") from error


def change(data: bytes, key: str) -> bytes:
    """A rotated, perhaps flipped, scaled copy of the same size: JPEG for a JPEG, PNG for anything else.

    Edges are repeated outwards before the image turns, so that no black corners give a copy away. The key seeds the
    draw. Raises ImageError for an image that cannot be read.
    """
    import models.torchvision_cpu  # noqa: F401  before torchvision

    import torch
    from torchvision.transforms import InterpolationMode, v2

    with open_checked(data) as original:
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
