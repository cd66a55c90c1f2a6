"""One zygote after another: lost ones are replaced ever later, closed ones are not. What it forks: test_nursery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dspex_runtime.node.zygote_life import RESPAWN_DELAYS_S, ZygoteLife
from dspex_runtime.osproc.zygote_client import Zygote
from helpers.fake_tree import ManualLoop
from helpers.fake_zygote import FakeZygote

pytestmark = pytest.mark.process  # the zygote's pid is that of a real child, which does nothing but end with its socket


class Bench:
    """One life, its zygotes, and what was told of them."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.zygotes: list[FakeZygote] = []
        self.told: list[object] = []
        self.spawn_error: OSError | None = None
        self.life = ZygoteLife(
            self.loop,
            self._spawn,
            on_message=lambda _, message: self.told.append(message),
            on_lost=lambda pid: self.told.append(("lost", pid)),
            on_failed=self.told.append,
        )

    def _spawn(self) -> Zygote:
        if self.spawn_error is not None:
            raise self.spawn_error
        self.zygotes.append(FakeZygote())
        return self.zygotes[-1].handle

    def dies(self) -> None:
        self.zygotes[-1].die()
        self.loop.turn()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.life.close()
    made.life.collect()
    for zygote in made.zygotes:
        zygote.close()
    made.loop.close()


def test_what_it_sends_is_passed_on_as_it_is(bench: Bench) -> None:
    bench.life.open()
    bench.zygotes[0].say(["whatever", 1])
    bench.loop.turn()
    assert bench.told == [["whatever", 1]]


def test_a_lost_one_is_told_and_forks_no_more(bench: Bench) -> None:
    bench.life.open()
    pid = bench.life.pid
    bench.life.became_ready()
    bench.dies()
    assert bench.told == [("lost", pid)]
    assert (bench.life.pid, bench.life.ready, bench.life.was_ready) == (None, False, True)


def test_each_that_never_got_ready_is_followed_later_and_one_that_did_at_once(bench: Bench) -> None:
    bench.life.open()
    for delay_s in (*RESPAWN_DELAYS_S, RESPAWN_DELAYS_S[-1]):
        bench.dies()
        assert bench.life.reopen_later() == delay_s
        bench.loop.advance(delay_s)
        assert bench.life.pid is not None
    bench.life.became_ready()
    bench.dies()
    assert bench.life.reopen_later() == RESPAWN_DELAYS_S[0]


def test_one_that_cannot_be_started_is_told_and_tried_again(bench: Bench) -> None:
    bench.spawn_error = OSError("no memory")
    with pytest.raises(OSError, match="no memory"):
        bench.life.open()
    bench.life.reopen_later()
    bench.loop.advance(RESPAWN_DELAYS_S[0])
    assert bench.told == ["cannot start a zygote: no memory"]
    bench.spawn_error = None
    bench.loop.advance(RESPAWN_DELAYS_S[1])
    assert bench.life.pid is not None


@pytest.mark.parametrize("ready", [True, False])
def test_one_that_was_closed_has_no_successor(bench: Bench, ready: bool) -> None:
    bench.life.open()
    if ready:
        bench.life.became_ready()
    bench.life.reopen_later()  # asked for before it was closed
    bench.life.close()
    bench.life.close()
    assert bench.zygotes[0].heard() == [["quit"]]
    bench.zygotes[0].sock.close()
    bench.life.collect()
    bench.life.collect()
    bench.loop.advance(100.0)
    assert (len(bench.zygotes), bench.told, bench.life.pid) == (1, [], None)
