"""Waiting for the control thread to have served what came from the parent."""

from __future__ import annotations

import socket
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
