"""Idle processes: taken in order, let go by closing their pipe, forgotten when they die."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from dspex_runtime.node.spares import Pool, Spare
from dspex_runtime.osproc.warmth import Warmth


class Bench:
    """A pool, and the other ends of its spares' pipes by pid."""

    def __init__(self) -> None:
        self.pool = Pool(Warmth.SERVER, 2)
        self.ends: dict[int, socket.socket] = {}

    def put(self, *pids: int) -> None:
        for pid in pids:
            ours, self.ends[pid] = socket.socketpair()
            self.pool.put(Spare(pid, ours))

    def take(self) -> int | None:
        spare = self.pool.take()
        if spare is None:
            return None
        spare.sock.close()
        return spare.pid

    def let_go(self) -> list[int]:
        """Return the pids whose pipe is closed."""
        for end in self.ends.values():
            end.setblocking(False)
        return [pid for pid, end in self.ends.items() if _is_closed(end)]


def _is_closed(end: socket.socket) -> bool:
    try:
        return end.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.pool.clear()
    for end in bench.ends.values():
        end.close()


def test_the_one_that_waited_longest_is_taken(bench: Bench) -> None:
    bench.put(1, 2)
    assert [bench.take() for _ in range(3)] == [1, 2, None]


def test_what_is_missing_is_neither_here_nor_asked_for(bench: Bench) -> None:
    assert bench.pool.missing == 2
    bench.put(1)
    bench.pool.asked = 1
    assert bench.pool.missing == 0
    bench.pool.arrived()
    bench.pool.arrived()
    assert (bench.pool.asked, bench.pool.missing) == (0, 1)
    bench.put(2, 3)
    assert (len(bench.pool), bench.pool.missing) == (3, 0)


def test_one_that_died_is_forgotten(bench: Bench) -> None:
    bench.put(1, 2)
    assert [bench.pool.lost(2), bench.pool.lost(2)] == [True, False]
    assert bench.let_go() == [2]
    assert [bench.take(), bench.take()] == [1, None]


def test_those_that_are_let_go_have_their_pipe_closed(bench: Bench) -> None:
    bench.put(1, 2, 3)
    bench.pool.trim(2)
    assert bench.let_go() == [3]
    bench.pool.asked = 4
    bench.pool.clear()
    assert (bench.let_go(), len(bench.pool), bench.pool.asked) == ([1, 2, 3], 0, 0)
