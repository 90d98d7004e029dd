"""One function over many items, on all cores."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TypeVar

from app.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
CHUNK = 16  # items per task: large enough to hide the cost of a message, small enough to keep a progress bar alive


def map_in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    num_proc: int,
    few: int,
    chunk: int = CHUNK,
    prepare_worker: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """`function` of each item, in order, in `num_proc` processes.

    few: with fewer items a pool would take longer to start than the work. prepare_worker: runs once in each process.
    """
    if num_proc <= 1 or len(items) < few:
        yield from map(function, items)
        return
    # spawn: forking a process that has threads (tqdm, Arrow, torch) can hang.
    pool = ProcessPoolExecutor(num_proc, get_context("spawn"), initializer=start_worker, initargs=[prepare_worker])
    try:
        yield from pool.map(function, items, chunksize=chunk)
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process died, probably for lack of memory; run the same command again with --num_proc 1"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_worker(prepare_worker: Callable[[], None] | None) -> None:
    """In a worker: leave Ctrl-C to the parent, and end when the parent is gone, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if prepare_worker:
        prepare_worker()


def end_with_parent() -> None:
    """Wait for the parent's death; a worker that waits for work would outlive it."""
    wait([parent_process().sentinel])
    os._exit(1)
