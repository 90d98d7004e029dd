"""The folder of the page's uploads: bounded, emptied after a time and at the end, and after a crash at the next start.

    with upload_folder() as folder:        # sets GRADIO_TEMP_DIR, where Gradio keeps its files, for this process
        page = build_page()                # its examples stay
        with emptied(folder):
            serve(page)

Each process has a folder of its own there, with a lock that the system releases however the process ends; a folder
whose lock is free was left behind.
"""

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .. import limits
from ..limits import BusyError

VARIABLE = "GRADIO_TEMP_DIR"
PARENT = "snapshelf"
LESSON = "teach-"  # begins the names of folders that have times and limits of their own (app/teach)
LOCK = ".lock"
SWEEP_SECONDS = 60
RECENT_SECONDS = 60  # a file this young may be about to be used and never makes room for another
MAX_NAME_BYTES = 150
PIECE = 2**20
FORBIDDEN = frozenset('<>:"/\\|?*') | {chr(number) for number in range(32)}


@contextmanager
def upload_folder() -> Iterator[Path]:
    before = os.environ.get(VARIABLE)
    parent = Path(before or Path(tempfile.gettempdir()) / f"{PARENT}-{os.getuid()}")
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_leftovers(parent)
    folder = Path(tempfile.mkdtemp(prefix="uploads-", dir=parent))
    os.environ[VARIABLE] = str(folder)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if before is None:
                os.environ.pop(VARIABLE, None)
            else:
                os.environ[VARIABLE] = before


@contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """Removes what comes after this moment when its time is over."""
    kept, stop = {path for path, _ in files_in(folder)}, threading.Event()

    def sweep_until_stopped() -> None:
        while not stop.wait(min(SWEEP_SECONDS, limits.STORED_SECONDS)):
            sweep(folder, kept)

    sweeper = threading.Thread(target=sweep_until_stopped, daemon=True)
    sweeper.start()
    try:
        yield
    finally:
        stop.set()
        sweeper.join(SWEEP_SECONDS)


def remove_leftovers(parent: Path) -> None:
    """The folders of processes that are gone."""
    for folder in parent.glob("uploads-*"):
        try:
            with (folder / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # it is in use, or somebody else's
            continue


def sweep(folder: Path, kept: set[Path]) -> None:
    """Remove what is older than its time, and folders in which nothing is left."""
    end = time.time() - limits.STORED_SECONDS
    for path, status in files_in(folder):
        if path not in kept and status.st_mtime < end:
            _remove(path)


def lesson_folder() -> Path:
    """A new folder among the uploads, whose name nobody can guess; it goes with all of them when the server stops."""
    parent = Path(os.environ.get(VARIABLE) or Path(tempfile.gettempdir()) / f"{PARENT}-{os.getuid()}")
    folder = parent / f"{LESSON}{os.urandom(16).hex()}"
    folder.mkdir(mode=0o700, parents=True)
    return folder


def files_in(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(LESSON)]
        for name in names:
            with suppress(OSError):
                path = Path(place, name)
                found.append((path, path.lstat()))
    return [item for item in found if item[0].name != LOCK]


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
        path.parent.rmdir()


class Store:
    """Uploads under the names that callers gave them, each in a folder of its own."""

    def __init__(self) -> None:
        self.owners: dict[Path, str] = {}
        self._lock = threading.Lock()

    def save(self, file: BinaryIO, name: str, folder: Path, client: str) -> Path:
        """Raises BusyError where there is no room for it."""
        target = folder / os.urandom(16).hex() / safe_name(name)
        with self._lock:
            target.parent.mkdir(parents=True)
            try:
                file.seek(0)
                with target.open("xb") as out:
                    while piece := file.read(PIECE):
                        out.write(piece)
                self._make_room(folder, client, target)
            except BaseException:
                _remove(target)
                raise
            self.owners[target] = client
        return target

    def discard(self, path: Path) -> None:
        """Delete what somebody uploaded, when nobody needs it any more; anything else in the folder stays."""
        with self._lock:
            if self.owners.pop(path, None) is not None:
                _remove(path)

    def _make_room(self, folder: Path, client: str, newest: Path) -> None:
        """Older uploads give way to new ones, those of this client first. Raises BusyError."""
        files = sorted(files_in(folder), key=lambda item: item[1].st_mtime)
        present = {path for path, _ in files}
        self.owners = {path: owner for path, owner in self.owners.items() if path in present}
        total = sum(status.st_size for _, status in files)
        own = sum(status.st_size for path, status in files if path == newest or self.owners.get(path) == client)
        share = limits.CLIENT_SHARE * limits.MAX_STORED_BYTES
        recent = time.time() - RECENT_SECONDS
        for path, status in files:
            if own <= share and total <= limits.MAX_STORED_BYTES:
                return
            owner = self.owners.get(path)
            if owner is None or status.st_mtime > recent or (own > share and owner != client):
                continue
            _remove(path)
            total -= status.st_size
            own -= status.st_size if owner == client else 0
        if own > share or total > limits.MAX_STORED_BYTES:
            raise BusyError


def safe_name(name: str) -> str:
    """The last part of a name without what file systems dislike; the ending survives."""
    last = name.replace("\\", "/").rpartition("/")[2]
    clean = "".join(character for character in last if character not in FORBIDDEN).strip(". ") or "file"
    stem, ending = os.path.splitext(clean)
    stem = stem.encode()[: MAX_NAME_BYTES - len(ending.encode()[:20])].decode("utf-8", "ignore")
    return (stem + ending[:20]) or "file"
