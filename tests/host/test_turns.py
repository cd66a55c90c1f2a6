"""Waiting for the control thread to have served what came from the parent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from dspex_runtime.host.turns import Turns


class Parent:
    """The parent's end of a control pipe, and the turns of the thread that reads the other one."""

    def __init__(self) -> None:
        self.theirs, self.ours = socket.socketpair()
        self.woken = 0
        self.turns = Turns(self.ours.fileno(), self._wake)
        self.turns.end()

    def _wake(self) -> None:
        self.woken += 1

    def turn(self) -> bool:
        """One turn of the control thread; returns whether it was asked to read whatever its own wait has told it."""
        asked = self.turns.begin()
        self.ours.setblocking(False)
        try:
            self.ours.recv(100)
        except BlockingIOError:
            pass
        self.turns.end()
        return asked


@pytest.fixture
def parent() -> Iterator[Parent]:
    parent = Parent()
    yield parent
    parent.theirs.close()
    parent.ours.close()


def test_where_nothing_has_come_nobody_waits(parent: Parent) -> None:
    assert parent.turns.unserved() is None
    assert parent.woken == 0


def test_what_has_come_is_waited_for_and_the_control_thread_is_woken_and_looks(parent: Parent) -> None:
    parent.theirs.send(b"x")
    served = parent.turns.unserved()
    assert served is not None
    assert not served.is_set()
    assert parent.woken == 1
    assert parent.turn() is True
    assert served.is_set()
    assert parent.turns.unserved() is None


def test_what_was_read_and_is_not_served_yet_is_waited_for(parent: Parent) -> None:
    parent.turns.begin()
    served = parent.turns.unserved()
    assert served is not None
    parent.turns.end()
    assert not served.is_set()  # it may have come when this turn had read already
    parent.turn()
    assert served.is_set()


def test_before_its_first_wait_the_control_thread_counts_as_busy(parent: Parent) -> None:
    assert Turns(parent.ours.fileno(), parent._wake).unserved() is not None


def test_nobody_who_asks_while_a_turn_begins_is_forgotten(parent: Parent) -> None:
    parent.theirs.send(b"x")
    asked: list[threading.Event] = []

    def ask() -> None:
        for _ in range(2000):
            served = parent.turns.unserved()
            assert served is not None
            asked.append(served)

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive():
        parent.turns.begin()  # and reads nothing: the pipe stays unserved
        parent.turns.end()
    asking.join()
    parent.turn()
    assert len(asked) == 2000
    assert all(served.is_set() for served in asked)


def test_who_waits_is_taken_over_under_a_lock(parent: Parent) -> None:
    """Whatever the interpreter does between two steps: a call thread adds to the list that the control thread takes."""

    class Watched(list[threading.Event]):
        def append(self, served: threading.Event) -> None:
            assert parent.turns._lock.locked()
            super().append(served)

    parent.turns._waiting = Watched()
    parent.theirs.send(b"x")
    assert parent.turns.unserved() is not None
    with parent.turns._lock:
        taking = threading.Thread(target=parent.turn)
        taking.start()
        assert len(parent.turns._waiting) == 1
    taking.join()
    assert parent.turns._waiting == []
