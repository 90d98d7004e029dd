"""Visitors' lessons: one is taught at a time, a few wait, each belongs to whoever knows its id, and all go again.

    with teaching(option) as teacher:                         # None where nobody can teach here
        lesson = teacher.begin("shop.zip", upload, client)    # RequestError in plain words
        for status in teacher.follow(lesson): ...             # waits for its turn, then for train.py
        teacher.classifier(lesson)                            # of lesson.state READY
        teacher.lesson(lesson.id)                             # UnknownLessonError for any other id

A lesson whose visitor stops asking is ended. Its folder lies in that of the uploads, so that it goes when the server
stops, and after a crash at the next start; it goes earlier after TAUGHT_SECONDS without use.
"""

import csv
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .. import limits
from ..classifier import Classifier
from ..guard.stored import lesson_folder, safe_name
from ..limits import BusyError, RequestError
from .child import MODEL, PHOTOS, PROGRESS, STDERR, STDOUT, Child, Step
from .download import write_download
from .offered import TRAIN, is_offered
from .photos import Photos
from .scores import Scores, read_scores

WAITING, RUNNING, READY, FAILED = "waiting", "running", "ready", "failed"
LOOK_SECONDS = 0.25  # between two looks at the process
FOLLOW_SECONDS = 0.4  # between two looks of the page
FOLLOWED_SECONDS = 3.0  # without a look; then the page is gone or was loaded again
IDLE_SECONDS = 20.0  # between two looks at whose time is over
LOADED = 2  # taught models in memory
PREVIOUS = "previous"
LEFT = "Teaching stopped because the page was closed."
CANCELED = "Canceled. Nothing was kept of this attempt."
REJECTED = Path("data", "photos", "rejected.csv")  # what train.py left out


class UnknownLessonError(RequestError):
    """An id that is not one, or not any more."""

    def __init__(self) -> None:
        minutes = limits.TAUGHT_SECONDS // 60
        super().__init__(f"This model is gone: it is deleted {minutes} minutes after its last use. Please teach again.")


@dataclass(eq=False)
class Lesson:
    """name: for the download. problem: why the last attempt gave no model. left_out: (photo, reason) of that one."""

    id: str
    name: str
    client: str
    folder: Path
    photos: Photos
    state: str = WAITING
    step: Step = Step("", 0.0)
    problem: str = ""
    scores: Scores | None = None
    left_out: Sequence[tuple[str, str]] = ()
    rejected: Counter[str] = field(default_factory=Counter)  # of these by category, what train.py could not use
    seconds: float = 0.0
    download: Path | None = None
    canceled: bool = False
    seen: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)

    @property
    def is_active(self) -> bool:
        return self.state in (WAITING, RUNNING)

    def usable(self) -> dict[str, int]:
        """Photos by category, as far as train.py has said."""
        return {name: count - self.rejected[name] for name, count in sorted(self.photos.counts.items())}


@dataclass(frozen=True, slots=True)
class Status:
    """What the page shows of a lesson under way. ahead: lessons before it."""

    state: str
    step: Step
    ahead: int


@contextmanager
def teaching(option: bool = False) -> Iterator["Teacher | None"]:
    """Yields None where it was not asked for, or cannot be had."""
    if not is_offered(option):
        yield None
        return
    teacher = Teacher()
    try:
        yield teacher
    finally:
        teacher.close()


class Teacher:
    """Its methods may be called from several threads at once."""

    def __init__(self, train: Path = TRAIN) -> None:
        self._train = train
        self._lessons: dict[str, Lesson] = {}
        self._queue: list[Lesson] = []  # the first may be under way
        self._loaded: dict[str, Classifier] = {}  # by lesson, the last used one at the end
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._closed = False
        self._thread: threading.Thread | None = None  # the child is its thread's: it ends with it

    def begin(self, name: str, upload: Path, client: str) -> Lesson:
        """Raises RequestError for photos from which nothing can be learned, and BusyError."""
        self._check_room(client)
        folder = lesson_folder()
        try:
            lesson = Lesson(secrets.token_urlsafe(24), "", client, folder, Photos.of(upload, folder / PHOTOS))
            lesson.name = Path(safe_name(name)).stem
            with self._lock:
                self._check_room(client)
                self._make_place(client)
                self._lessons[lesson.id] = lesson
                self._enqueue(lesson)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return lesson

    def again(self, lesson: Lesson) -> None:
        """With the photos that were added. Raises RequestError."""
        with self._lock:
            if lesson.is_active:
                return
            self._check_room(lesson.client)
            self._enqueue(lesson)

    def lesson(self, lesson_id: str | None) -> Lesson:
        """Raises UnknownLessonError."""
        with self._lock:
            lesson = self._lessons.get(lesson_id) if isinstance(lesson_id, str) else None
            if lesson is None:
                raise UnknownLessonError
            lesson.used = lesson.seen = time.monotonic()
            return lesson

    def is_followed(self, lesson_id: str) -> bool:
        lesson = self._lessons.get(lesson_id)
        return lesson is not None and time.monotonic() - lesson.seen < FOLLOWED_SECONDS

    def follow(self, lesson: Lesson) -> Iterator[Status]:
        """Until it is ready or has failed; to stop asking ends it."""
        while lesson.is_active:
            lesson.seen = time.monotonic()
            with self._lock:
                ahead = self._queue.index(lesson) if lesson in self._queue else 0
            yield Status(lesson.state, lesson.step, ahead)
            time.sleep(FOLLOW_SECONDS)

    def cancel(self, lesson: Lesson) -> None:
        with self._lock:
            lesson.canceled = True
            if lesson.state == WAITING:
                self._end(lesson, CANCELED)

    def add_photo(self, lesson: Lesson, category: str, data: bytes) -> None:
        """Raises RequestError."""
        with self._lock:
            if lesson.is_active:
                raise RequestError("Please wait until teaching is done.")
            lesson.photos.add(category, data)

    def classifier(self, lesson: Lesson) -> Classifier:
        """Raises RequestError where there is no model yet."""
        with self._lock:
            if not (lesson.folder / MODEL).is_dir() or lesson.is_active:
                raise RequestError("There is no model yet: teach it first.")
            found = self._loaded.pop(lesson.id, None)
            found = found or Classifier.load(lesson.folder / MODEL, workers=limits.MAX_RUNNING)
            self._loaded[lesson.id] = found
            while len(self._loaded) > LOADED:
                self._loaded.pop(next(iter(self._loaded)))
            return found

    def close(self) -> None:
        """Ends what is under way and deletes everything."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
        if self._thread:
            self._thread.join()
        for lesson in list(self._lessons.values()):
            self._forget(lesson)

    # --- whose turn it is ---------------------------------------------------------------------------------------------

    def _check_room(self, client: str) -> None:
        """Raises RequestError."""
        with self._lock:
            if any(lesson.client == client for lesson in self._queue):
                raise RequestError("You are already teaching a model. Wait until it is done, or cancel it.")
            if len(self._queue) > limits.MAX_TEACH_WAITING:
                raise BusyError

    def _make_place(self, client: str) -> None:
        """The models that nobody has used for longest give way, those of this client first. Raises BusyError."""
        kept = sorted((one for one in self._lessons.values() if not one.is_active), key=lambda lesson: lesson.used)
        own = [lesson for lesson in kept if lesson.client == client]
        while own and len(own) >= max(1, limits.CLIENT_SHARE * limits.MAX_TAUGHT):
            self._forget(own.pop(0))
        if len(self._lessons) >= limits.MAX_TAUGHT:
            kept = [lesson for lesson in kept if lesson.id in self._lessons]
            if not kept:
                raise BusyError
            self._forget(kept[0])

    def _enqueue(self, lesson: Lesson) -> None:
        lesson.state, lesson.step, lesson.problem, lesson.canceled = WAITING, Step("", 0.0), "", False
        lesson.seen = lesson.used = time.monotonic()
        self._queue.append(lesson)
        if self._thread is None:
            self._thread = threading.Thread(target=self._teach_until_closed, daemon=True)
            self._thread.start()
        self._work.notify_all()

    def _teach_until_closed(self) -> None:
        while True:
            with self._lock:
                self._drop_old()
                if not self._queue and not self._closed:
                    self._work.wait(IDLE_SECONDS)
                if self._closed:
                    return
                lesson = next(iter(self._queue), None)
                if lesson is None:
                    continue
                lesson.state = RUNNING
                self._loaded.pop(lesson.id, None)
            self._end(lesson, self._teach(lesson))

    def _teach(self, lesson: Lesson) -> str:
        """Why there is no new model, "" where there is one."""
        clear(lesson.folder)
        started = time.monotonic()
        try:
            child = Child(self._train, lesson.folder)
            try:
                while step := child.step():
                    lesson.step = step
                    if reason := self._reason_to_stop(lesson):
                        child.kill(reason)
                        break
                    time.sleep(LOOK_SECONDS)
            finally:
                problem = child.problem()
            rejected = rejected_photos(lesson.folder)
            names = [(lesson.photos.names.get(name, name), reason) for name, reason in rejected]
            lesson.left_out = [*lesson.photos.left_out, *names]
            lesson.rejected = Counter(name.partition("/")[0] for name, _ in rejected)
            if not problem:
                lesson.photos.num_new = 0
                lesson.scores = read_scores(lesson.folder / MODEL)
                lesson.download = write_download(lesson.folder / MODEL, lesson.folder, lesson.name)
        except OSError:
            problem = "There was no space on this server's disk. Please try again later."
        lesson.seconds = time.monotonic() - started
        tidy(lesson.folder, bool(problem))
        return problem

    def _reason_to_stop(self, lesson: Lesson) -> str:
        with self._lock:
            for other in [one for one in self._queue if one is not lesson and is_left(one)]:
                self._end(other, LEFT)
            if lesson.canceled:
                return CANCELED
            return LEFT if self._closed or is_left(lesson) else ""

    def _end(self, lesson: Lesson, problem: str) -> None:
        with self._lock:
            lesson.problem = problem
            if lesson in self._queue:
                self._queue.remove(lesson)
            has_model = (lesson.folder / MODEL).is_dir()
            lesson.state = READY if has_model else FAILED
            lesson.used = time.monotonic()
            if not has_model:
                self._forget(lesson)

    # --- what goes again ----------------------------------------------------------------------------------------------

    def _drop_old(self) -> None:
        oldest = time.monotonic() - limits.TAUGHT_SECONDS
        for lesson in [one for one in self._lessons.values() if not one.is_active and one.used < oldest]:
            self._forget(lesson)

    def _forget(self, lesson: Lesson) -> None:
        with self._lock:
            self._lessons.pop(lesson.id, None)
            self._loaded.pop(lesson.id, None)
        shutil.rmtree(lesson.folder, ignore_errors=True)


def is_left(lesson: Lesson) -> bool:
    return time.monotonic() - lesson.seen > limits.LEFT_SECONDS


def clear(folder: Path) -> None:
    """For another attempt; the model of the last one waits aside."""
    shutil.rmtree(folder / PREVIOUS, ignore_errors=True)
    if (folder / MODEL).is_dir():
        (folder / MODEL).rename(folder / PREVIOUS)


def tidy(folder: Path, has_failed: bool) -> None:
    """Only the photos, the model and its download stay; after a failure the model from before."""
    for name in ("data", "tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (PROGRESS, STDOUT, STDERR):
        (folder / name).unlink(missing_ok=True)
    if has_failed:
        shutil.rmtree(folder / MODEL, ignore_errors=True)
        with suppress(OSError):  # there was none
            (folder / PREVIOUS).rename(folder / MODEL)
    shutil.rmtree(folder / PREVIOUS, ignore_errors=True)


def rejected_photos(folder: Path) -> list[tuple[str, str]]:
    """What train.py could not use: names in our zip, and why."""
    try:
        with (folder / REJECTED).open(encoding="utf-8", newline="") as file:
            return [(row["file"], row["reason"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, csv.Error):
        return []
