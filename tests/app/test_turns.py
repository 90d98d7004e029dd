"""Whose turn it is: the cheapest first, costly work never in every place, and in a crowd the dearest gives way."""

import threading
import time

import pytest

from app.limits import BusyError
from app.turns import COSTLY_SECONDS, Turns

COSTLY = 2 * COSTLY_SECONDS


class Caller(threading.Thread):
    """A request that asks for a turn and works until it is told to stop. result: "worked" or "busy"."""

    def __init__(self, turns: Turns, expected: float = 0.0, seconds: float = 0.0, order: list | None = None) -> None:
        super().__init__(daemon=True)
        self.turns, self.expected, self.seconds = turns, expected, seconds
        self.order = [] if order is None else order
        self.works, self.stop, self.result = threading.Event(), threading.Event(), ""
        self.start()

    def run(self) -> None:
        try:
            with self.turns.request(self.expected) as turn, turn(self.seconds):
                self.order.append(self)
                self.works.set()
                self.stop.wait(10)
            self.result = "worked"
        except BusyError:
            self.result = "busy"

    def ended(self) -> str:
        self.stop.set()
        self.join(10)
        return self.result


def until(condition) -> None:
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    assert condition()


def working(turns: Turns, **options) -> Caller:
    caller = Caller(turns, **options)
    assert caller.works.wait(10)
    return caller


def waiting(turns: Turns, **options) -> Caller:
    before = turns.waiting
    caller = Caller(turns, **options)
    until(lambda: turns.waiting == before + 1)
    return caller


def test_some_work_some_wait_and_the_others_are_sent_away():
    turns = Turns(running=1, waiting=1, seconds=10)
    first = working(turns)
    second = waiting(turns)
    assert Caller(turns).ended() == "busy"
    with pytest.raises(BusyError):
        turns.check_room()
    assert (first.ended(), second.ended()) == ("worked", "worked")
    turns.check_room()


def test_who_waits_too_long_is_sent_away_and_leaves_nothing_behind():
    turns = Turns(running=1, waiting=1, seconds=0.05)
    first = working(turns)
    assert Caller(turns).ended() == "busy"
    assert turns.waiting == 0
    first.ended()
    assert working(turns).ended() == "worked"


@pytest.mark.parametrize(
    ("came", "worked"),
    [
        ((2.0, 0.1, 1.0), [0.1, 1.0, 2.0]),  # the cheapest first
        ((0.2, 0.01, 0.1), [0.2, 0.01, 0.1]),  # all cheap: who came first
    ],
)
def test_of_those_that_wait_the_cheapest_works_first_and_of_cheap_ones_who_came_first(came, worked):
    turns, order = Turns(running=1, waiting=5, seconds=10), []
    first = working(turns)
    callers = [waiting(turns, expected=expected, order=order) for expected in came]
    for caller in callers:
        caller.stop.set()
    first.ended()
    assert [caller.ended() for caller in callers] == ["worked"] * 3
    assert [caller.expected for caller in order] == worked


def test_what_a_request_has_used_counts_against_it():
    turns, order = Turns(running=1, waiting=5, seconds=10), []
    with turns.request() as long:
        with long():
            time.sleep(0.3)
        first = working(turns)
        ended = threading.Thread(target=lambda: order.append(long) if _works(long) else None)
        ended.start()
        until(lambda: turns.waiting == 1)
        newcomer = waiting(turns, order=order)
        newcomer.stop.set()
        first.ended()
        ended.join(10)
    assert order == [newcomer, long]


def _works(turn) -> bool:
    with turn():
        return True


def test_a_costly_one_that_has_waited_long_enough_goes_before_a_newcomer(monkeypatch):
    monkeypatch.setattr("app.turns.AGING", 100)
    turns, order = Turns(running=1, waiting=5, seconds=10), []
    first = working(turns)
    old = waiting(turns, expected=1.0, order=order)
    time.sleep(0.05)
    new = waiting(turns, order=order)
    for caller in (old, new):
        caller.stop.set()
    first.ended()
    assert (old.ended(), new.ended()) == ("worked", "worked")
    assert order == [old, new]


def test_costly_work_leaves_one_place_for_the_others():
    turns = Turns(running=2, waiting=5, seconds=10)
    first = working(turns, seconds=COSTLY)
    second = waiting(turns, seconds=COSTLY)
    assert working(turns).ended() == "worked"
    assert not second.works.is_set()
    first.ended()
    assert second.works.wait(10)
    second.ended()


def test_in_a_crowd_the_dearest_of_those_that_wait_gives_way_to_a_cheap_newcomer():
    turns = Turns(running=1, waiting=2, seconds=10)
    first = working(turns)
    dear, dearest = waiting(turns, expected=3), waiting(turns, expected=5)
    turns.check_room()
    newcomer = Caller(turns)
    dearest.join(10)
    assert dearest.result == "busy"
    with pytest.raises(BusyError):
        turns.check_room(9)
    assert [caller.ended() for caller in (first, newcomer, dear)] == ["worked"] * 3
