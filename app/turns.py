"""Whose turn it is: a few requests work at once, of the waiting ones the cheap go on first, and in a crowd the
dearest gives way.

    turns = Turns(running=2, waiting=16, seconds=20)
    with turns.request(expected=0.02) as turn:      # BusyError where there is no room and nobody dearer gives way
        with turn():                                # BusyError after 20 s, or where this one had to give way
            ...                                     # some work; a long request takes many turns
        with turn(1.5):                             # work that is expected to take 1.5 s
            ...

What a request has used and what it expects to use count against it (least attained service), so a backlog of costly
requests does not delay a cheap one, whoever sends them. What it has waited counts for it, so none waits for ever. At
least one place is never taken by costly work.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .limits import BusyError

COSTLY_SECONDS = 0.25  # work that is expected to take longer is costly
AGING = 0.1  # a second of waiting makes up for so many seconds of work


class Turn:
    """One request: its place in the order, and the context in which it works."""

    def __init__(self, turns: "Turns", expected: float) -> None:
        self.turns = turns
        self.arrived, self.spent, self.expected = time.monotonic(), 0.0, expected
        self.costly, self.waits = False, False
        self.decided = threading.Event()  # it may go on, or has to give way
        self.may_work = False

    @property
    def rank(self) -> float:
        """The lowest goes first; among cheap ones who came first, so that none of them is overtaken for long."""
        return max(self.spent + self.expected, COSTLY_SECONDS) + AGING * self.arrived

    @contextmanager
    def __call__(self, seconds: float = 0.0) -> Iterator[None]:
        """Raises BusyError."""
        self.turns.wait(self, seconds)
        start = time.monotonic()
        try:
            yield
        finally:
            self.spent += time.monotonic() - start
            self.expected = 0.0
            self.turns.leave(self)


class Turns:
    """Its methods may be called from several threads at once."""

    def __init__(self, running: int, waiting: int, seconds: float) -> None:
        """running: how many work at once; waiting: how many more there may be; seconds: how long one waits."""
        self.running, self.places, self.seconds = running, running + waiting, seconds
        self._lock = threading.Lock()
        self._present: set[Turn] = set()
        self._at_work: set[Turn] = set()

    @property
    def waiting(self) -> int:
        return sum(turn.waits for turn in list(self._present))

    @contextmanager
    def request(self, expected: float = 0.0) -> Iterator[Turn]:
        """expected: seconds of work, as far as that is known. Raises BusyError."""
        turn = Turn(self, expected)
        with self._lock:
            if len(self._present) >= self.places:
                self._give_way(turn)
            self._present.add(turn)
        try:
            yield turn
        finally:
            with self._lock:
                self._present.discard(turn)

    def check_room(self, expected: float = 0.0) -> None:
        """Whether `request` would find a place now. Raises BusyError."""
        with self._lock:
            if len(self._present) >= self.places:
                self._dearest(Turn(self, expected))

    def wait(self, turn: Turn, seconds: float) -> None:
        """Until it may work. Raises BusyError."""
        with self._lock:
            turn.expected = max(turn.expected, seconds)
            turn.costly = seconds > COSTLY_SECONDS
            turn.waits, turn.may_work = True, False
            turn.decided.clear()
            self._let_in()
        turn.decided.wait(self.seconds)
        with self._lock:
            turn.waits = False
            if not turn.may_work:
                raise BusyError

    def leave(self, turn: Turn) -> None:
        with self._lock:
            self._at_work.discard(turn)
            self._let_in()

    def _let_in(self) -> None:
        while len(self._at_work) < self.running:
            costly_are_full = sum(turn.costly for turn in self._at_work) >= max(1, self.running - 1)
            waiting = [turn for turn in self._present if turn.waits and not (turn.costly and costly_are_full)]
            if not waiting:
                return
            first = min(waiting, key=lambda turn: turn.rank)
            first.waits, first.may_work = False, True
            self._at_work.add(first)
            first.decided.set()

    def _give_way(self, newest: Turn) -> None:
        """Raises BusyError where nobody does."""
        dearest = self._dearest(newest)
        dearest.waits = False
        self._present.discard(dearest)
        dearest.decided.set()

    def _dearest(self, newest: Turn) -> Turn:
        """Of those that wait and expect to use more than the newest. Raises BusyError."""
        dearer = [turn for turn in self._present if turn.waits and turn.rank > newest.rank]
        if not dearer:
            raise BusyError
        return max(dearer, key=lambda turn: turn.rank)
