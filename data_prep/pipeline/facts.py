"""Look at every image of a source once, on all cores, and remember finished work so that a killed run can go on."""

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path

from tqdm import tqdm

from data_prep.pipeline.images import ImageFacts, ImageReference, check_image

CHUNK = 16  # images a task: large enough to hide the cost of a message, small enough to keep the progress bar alive
COMMIT_EVERY = 1000  # images: what a killed run loses at most
FEW_IMAGES = 100  # below this a pool takes longer to start than the work
FACTS_VERSION = 1  # part of the key: raise it when check_image changes its mind
COLUMNS = [field.name for field in fields(ImageFacts)]


class FactsCache:
    """Facts by key in one SQLite file, locked while it is open."""

    def __init__(self, path: Path):
        """Raises ValueError when another run holds the file."""
        self.waiting = 0
        self.connection = sqlite3.connect(path, timeout=1)
        try:
            self.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self.connection.execute("BEGIN EXCLUSIVE")  # the mode alone locks nothing before the first write
            self.connection.execute(f"CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, {', '.join(COLUMNS)})")
            self.connection.commit()
            self.filled = self.connection.execute("SELECT 1 FROM facts LIMIT 1").fetchone() is not None
        except sqlite3.OperationalError as error:
            raise ValueError(
                f"{path.parent} is in use by another run; wait for it or choose another --output"
            ) from error
        except sqlite3.DatabaseError:
            self.connection.close()
            path.unlink()
            self.__init__(path)

    def get(self, key: str) -> ImageFacts | None:
        row = self.connection.execute(f"SELECT {', '.join(COLUMNS)} FROM facts WHERE key = ?", [key]).fetchone()
        if row is None:
            return None
        found = ImageFacts(*row)
        found.phash &= 2**64 - 1
        return found

    def put(self, key: str, facts: ImageFacts) -> None:
        values = [getattr(facts, name) for name in COLUMNS]  # astuple copies deeply, ten times slower
        phash = COLUMNS.index("phash")
        values[phash] -= 2**64 if values[phash] >= 2**63 else 0  # SQLite's integers are signed
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        self.connection.execute(f"INSERT OR REPLACE INTO facts VALUES ({marks})", [key, *values])
        self.waiting += 1
        if self.waiting % COMMIT_EVERY == 0:
            self.connection.commit()

    def close(self) -> None:
        self.connection.commit()
        self.connection.close()


def check_all(
    references: Sequence[ImageReference], num_proc: int = 1, cache: FactsCache | None = None
) -> Iterator[ImageFacts]:
    """Facts of every reference, in order. An image that cannot be read gets a reason; the rest goes on."""
    known = find_known(references, cache)
    waiting = [reference for index, reference in enumerate(references) if index not in known]
    fresh = check_in_processes(waiting, num_proc)
    with tqdm(total=len(references), desc="checking images", unit="image", disable=None) as progress:
        for index in range(len(references)):
            if index in known:
                facts = known.pop(index)
            else:
                key, facts = next(fresh)
                if cache and key:
                    cache.put(key, facts)
            progress.update()
            yield facts


def find_known(references: Sequence[ImageReference], cache: FactsCache | None) -> dict[int, ImageFacts]:
    """Facts by position that an interrupted run has left in the cache."""
    known = {}
    if cache is not None and cache.filled:
        for index, reference in enumerate(references):
            key = cache_key(reference)
            facts = cache.get(key) if key else None
            if facts is not None:
                known[index] = facts
    return known


def check_in_processes(references: Sequence[ImageReference], num_proc: int) -> Iterator[tuple[str, ImageFacts]]:
    """(key, facts) of each reference, found in `num_proc` processes where that pays."""
    if num_proc <= 1 or len(references) < FEW_IMAGES:
        yield from map(check_reference, references)
        return
    chunks = [references[start : start + CHUNK] for start in range(0, len(references), CHUNK)]
    # spawn: forking a process that has threads (tqdm, Arrow, torch) can hang.
    pool = ProcessPoolExecutor(num_proc, mp_context=get_context("spawn"), initializer=obey_parent)
    try:
        for found in pool.map(check_chunk, chunks):
            yield from found
    except BrokenProcessPool as error:
        raise ValueError(
            "a worker process died while checking images, probably for lack of memory; "
            "run the same command again with --num_proc 1 (finished work is kept)"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def obey_parent() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when the parent is gone, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the parent's death; a worker that waits for work would outlive it."""
    wait([parent_process().sentinel])
    os._exit(1)


def check_chunk(chunk: Sequence[ImageReference]) -> list[tuple[str, ImageFacts]]:
    """What `check_reference` says of each; runs in a worker."""
    return [check_reference(reference) for reference in chunk]


def check_reference(reference: ImageReference) -> tuple[str, ImageFacts]:
    """(key, facts) of one image. The key is empty when the bytes cannot be had: that may change without a trace."""
    try:
        return cache_key(reference), check_image(reference.read())
    except FileNotFoundError:
        return "", ImageFacts(reason="missing file")
    except PermissionError:
        return "", ImageFacts(reason="no permission to read it")
    except OSError as error:
        return "", ImageFacts(reason=f"cannot be read: {error.strerror or type(error).__name__}")
    except ValueError as error:
        return "", ImageFacts(reason=str(error))


def cache_key(reference: ImageReference) -> str:
    """The key of a reference, or an empty string (nothing is remembered) when it is not there."""
    try:
        return f"{FACTS_VERSION}|{reference.key()}"
    except OSError:
        return ""
