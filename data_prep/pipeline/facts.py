"""Look at every image of a source once, on all cores, and remember finished work so that a killed run can go on."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from tqdm import tqdm

from app.errors import UserError
from data_prep.pipeline.finished_work import FinishedWork
from data_prep.pipeline.images import ImageFacts, ImageReference, check_image, read_problem
from data_prep.pipeline.processes import map_in_processes

FEW_IMAGES = 100  # below this a pool takes longer to start than the work
FACTS_VERSION = 3  # part of the key: raise it when check_image changes its mind
COLUMNS = [field.name for field in fields(ImageFacts)]


class FactsCache(FinishedWork):
    """Facts by key on disk, locked while it is open."""

    def __init__(self, path: Path):
        super().__init__(path, COLUMNS)


def check_all(
    references: Sequence[ImageReference], num_proc: int = 1, cache: FactsCache | None = None
) -> Iterator[ImageFacts]:
    """Facts of every reference, in order. An image that cannot be read gets a reason and fails alone."""
    known = find_known(references, cache)
    waiting = [reference for index, reference in enumerate(references) if index not in known]
    fresh = map_in_processes(check_reference, waiting, num_proc, FEW_IMAGES)
    for index in tqdm(range(len(references)), "checking images", unit="image", disable=None):
        if index in known:
            yield known.pop(index)
            continue
        key, facts = next(fresh)
        if cache and key:
            cache.put(key, [getattr(facts, name) for name in COLUMNS])  # astuple copies deeply, ten times slower
        yield facts


def find_known(references: Sequence[ImageReference], cache: FactsCache | None) -> dict[int, ImageFacts]:
    """Facts by position that an interrupted run has left in the cache."""
    if cache is None or cache.was_empty:
        return {}
    finished = {index: cache.get(cache_key(reference)) for index, reference in enumerate(references)}
    return {index: ImageFacts(*values) for index, values in finished.items() if values}


def check_reference(reference: ImageReference) -> tuple[str, ImageFacts]:
    """(key, facts) of one image. The key is empty when the bytes cannot be had: that may change without a trace."""
    try:
        return cache_key(reference), check_image(reference.read())
    except (OSError, UserError) as error:
        return "", ImageFacts(reason=read_problem(error))


def cache_key(reference: ImageReference) -> str:
    """The key of a reference, or an empty string (nothing is remembered) when it is not there."""
    try:
        return f"{FACTS_VERSION}|{reference.key()}"
    except OSError:
        return ""
