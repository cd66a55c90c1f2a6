"""One zygote and its forks: spares first, forks next, in the order they were asked for; a lost zygote replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import pytest

from dspex_runtime.errors import StartError
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.nursery import CALM_S, MAX_FORKS_AHEAD, REFILL_AFTER_S, Nursery
from dspex_runtime.node.spares import Spare
from dspex_runtime.node.zygote_life import RESPAWN_DELAYS_S, ZygoteLife
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.osproc.zygote_client import Zygote
from dspex_runtime.types import Kind
from dspex_runtime.wire.messages import Message
from helpers.fake_tree import ManualLoop
from helpers.fake_zygote import FakeZygote, Process

pytestmark = pytest.mark.process  # the zygote's pid is that of a real child, which does nothing but end with its socket


class Bench:
    """A nursery, its zygotes, and what its keeper was told."""

    def __init__(self, *, spares: int = 0, warmth: Warmth = Warmth.SERVER) -> None:
        self.loop = ManualLoop()
        self.zygotes: list[FakeZygote] = []
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.assigned: dict[str, int] = {}
        self.exits: list[tuple[int, int]] = []
        self.orphans: list[set[int]] = []
        self.strangers: list[tuple[int, int]] = []
        self.refusals: list[tuple[StartError, bool]] = []
        self.spawn_error: OSError | None = None
        self.nursery = Nursery(
            self.loop, self, name="servers", warmth=warmth, spares=spares, life=partial(ZygoteLife, self.loop, self._spawn)
        )

    def assign(self, process: ModuleProcess, spare: Spare) -> None:
        self.assigned[process.id] = spare.pid
        spare.sock.close()

    def exited(self, pid: int, status: int) -> None:
        self.exits.append((pid, status))

    def give(self) -> list[int | None]:
        """Ask for a process that is to be a template; return where its pid will be, None for none."""
        given: list[int | None] = []

        def taker(spare: Spare | None) -> None:
            given.append(None if spare is None else spare.pid)
            if spare is not None:
                spare.sock.close()

        self.nursery.give(taker)
        return given

    def stranger(self, pid: int, status: int) -> None:
        self.strangers.append((pid, status))

    def lost(self, nursery: Nursery, pid: int, orphans: set[int]) -> None:
        self.orphans.append(orphans)

    def refused(self, nursery: Nursery, error: StartError) -> None:
        self.refusals.append((error, nursery.waited_for))

    def report(self, type: str, **facts: Any) -> None:
        self.reports.append((type, facts))

    def _spawn(self) -> Zygote:
        if self.spawn_error is not None:
            raise self.spawn_error
        self.zygotes.append(FakeZygote())
        return self.zygotes[-1].handle

    @property
    def zygote(self) -> FakeZygote:
        return self.zygotes[-1]

    def open(self) -> FakeZygote:
        """Open the nursery; the zygote is ready."""
        self.nursery.open()
        return self.ready()

    def ready(self) -> FakeZygote:
        self.zygote.ready()
        self.loop.turn()
        return self.zygote

    def start(self, id: str) -> Process:
        process = Process(id, Kind.SERVER)
        self.nursery.start(cast(ModuleProcess, process))
        return process

    def abandon(self, process: Process) -> bool:
        return self.nursery.abandon(cast(ModuleProcess, process))

    def says(self, message: Message) -> None:
        self.zygote.say(message)
        self.loop.turn()

    def forks(self, n: int = 1, **fork: Any) -> list[int]:
        pids = []
        for _ in range(n):
            pids.append(self.zygote.forked(**fork))
            self.loop.turn()
        return pids

    def dies(self) -> None:
        self.zygote.die()
        self.loop.turn()

    def types(self) -> list[str]:
        return [type for type, _ in self.reports]

    def close(self) -> None:
        self.nursery.close()
        self.nursery.collect()
        for zygote in self.zygotes:
            zygote.close()
        self.loop.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def spared() -> Iterator[Bench]:
    """A bench with two spares asked for."""
    bench = Bench(spares=2)
    bench.open()
    bench.loop.advance(REFILL_AFTER_S)
    yield bench
    bench.close()


class TestStarts:
    """Each start gets one process, in the order they were asked for."""

    def test_wait_for_the_zygote(self, bench: Bench) -> None:
        bench.nursery.open()
        bench.start("a")
        bench.start("b")
        assert bench.nursery.waited_for
        assert bench.zygote.heard() == []
        assert bench.ready().heard() == [["fork", 2, Warmth.COLD]]
        one, other = bench.forks(2)
        assert bench.assigned == {"a": one, "b": other}
        assert not bench.nursery.waited_for

    def test_are_asked_for_a_few_at_a_time_and_in_a_burst_half_of_those(self, bench: Bench) -> None:
        zygote = bench.open()
        for number in range(3 * MAX_FORKS_AHEAD):
            bench.start(str(number))
        under_way = sum(message[1] for message in zygote.heard())
        assert MAX_FORKS_AHEAD // 2 < under_way <= MAX_FORKS_AHEAD
        bench.forks(under_way - MAX_FORKS_AHEAD // 2 - 1)
        assert zygote.heard() == []
        bench.forks()
        assert zygote.heard() == [["fork", MAX_FORKS_AHEAD // 2, Warmth.COLD]]

    def test_of_a_burst_all_get_their_process(self, bench: Bench) -> None:
        zygote = bench.open()
        for number in range(3 * MAX_FORKS_AHEAD + 1):
            bench.start(str(number))
        while asked := sum(message[1] for message in zygote.heard()):
            bench.forks(asked)
        assert len(bench.assigned) == 3 * MAX_FORKS_AHEAD + 1

    def test_that_are_announced_have_their_forks_made_ahead(self, bench: Bench) -> None:
        zygote = bench.open()
        bench.nursery.expect(2)
        assert zygote.heard() == [["fork", 2, Warmth.COLD]]
        pid, _ = bench.forks(2)
        bench.nursery.expect(1)
        bench.start("a")
        assert bench.assigned == {"a": pid}
        assert zygote.heard() == []

    def test_that_were_announced_and_do_not_come_leave_no_fork_behind(self, bench: Bench) -> None:
        zygote = bench.open()
        bench.nursery.expect(3)
        there = bench.forks(2)
        bench.nursery.expect(0)
        late = bench.forks()
        assert [zygote.modules[pid].recv(1) for pid in (*there, *late)] == [b""] * 3

    def test_that_nobody_wants_any_more_are_forgotten(self, bench: Bench) -> None:
        bench.open()
        process = bench.start("a")
        bench.start("b")
        assert [bench.abandon(process), bench.abandon(process)] == [True, False]
        assert bench.assigned == dict(zip("b", bench.forks(), strict=True))

    def test_that_the_system_refuses_fail(self, bench: Bench) -> None:
        bench.open()
        process, other = bench.start("a"), bench.start("b")
        bench.says(["fork_failed", "no more processes", 0])
        assert (process.unborn, other.unborn) == (["no more processes"], [])
        assert bench.reports[-1] == ("fork_failed", {"message": "no more processes"})
        bench.forks()
        bench.says(["fork_failed", "again", 0])
        assert other.unborn == []

    def test_an_illegal_message_is_logged_and_passed_over(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.open()
        bench.says(["what", 1])
        assert "illegal message from the zygote: ['what', 1]" in caplog.text
        bench.start("a")
        bench.forks()
        assert "a" in bench.assigned

    def test_a_fork_without_its_pipe_is_the_end_of_that_zygote(self, bench: Bench) -> None:
        bench.open()
        bench.says(["forked", 5001, 0])
        assert bench.types()[-1] == "zygote_lost"


class TestSpares:
    """Kept ready while nobody waits."""

    def test_are_asked_for_when_no_start_waits(self, spared: Bench) -> None:
        assert spared.zygote.heard() == [["fork", 2, Warmth.SERVER]]

    def test_are_of_the_warmth_that_was_asked_for(self) -> None:
        bench = Bench(spares=1, warmth=Warmth.MODULE)
        bench.open()
        bench.loop.advance(REFILL_AFTER_S)
        assert bench.zygote.heard() == [["fork", 1, Warmth.MODULE]]
        bench.close()

    def test_as_many_are_kept_as_is_said_by_now(self, spared: Bench) -> None:
        spared.forks(2, warmth=Warmth.SERVER)
        spared.zygote.heard()
        spared.nursery.keep_spares(3)
        spared.loop.advance(REFILL_AFTER_S)
        assert spared.zygote.heard() == [["fork", 1, Warmth.SERVER]]
        spared.forks(warmth=Warmth.SERVER)
        spared.nursery.keep_spares(0)
        spared.loop.advance(REFILL_AFTER_S)
        spared.start("a")
        assert spared.zygote.heard() == [["fork", 1, Warmth.COLD]]

    def test_are_taken_before_a_cold_fork(self, spared: Bench) -> None:
        spared.nursery.expect(1)
        cold, warm = *spared.forks(warmth=Warmth.COLD), *spared.forks(warmth=Warmth.SERVER)
        spared.start("a")
        spared.start("b")
        assert spared.assigned == {"a": warm, "b": cold}

    def test_one_that_was_taken_is_replaced(self, spared: Bench) -> None:
        spared.forks(2, warmth=Warmth.SERVER)
        spared.zygote.heard()
        spared.start("a")
        spared.loop.advance(REFILL_AFTER_S)
        assert spared.zygote.heard() == [["fork", 1, Warmth.SERVER]]

    def test_one_that_died_is_replaced_and_not_given_away(self, spared: Bench) -> None:
        pids = spared.forks(2, warmth=Warmth.SERVER)
        spared.zygote.heard()
        spared.says(["exited", pids[0], 9])
        assert spared.zygote.heard() == [["reap", pids[0]]]
        spared.loop.advance(REFILL_AFTER_S)
        assert spared.zygote.heard() == [["fork", 1, Warmth.SERVER]]
        spared.start("a")
        assert spared.assigned == {"a": pids[1]}

    def test_starts_that_wait_go_first(self) -> None:
        bench = Bench(spares=1)
        zygote = bench.open()
        bench.start("a")
        assert zygote.heard() == [["fork", 1, Warmth.COLD]]
        bench.loop.advance(REFILL_AFTER_S)
        assert zygote.heard() == []
        bench.forks()
        bench.loop.advance(REFILL_AFTER_S)
        assert zygote.heard() == [["fork", 1, Warmth.SERVER]]
        bench.close()


def test_an_exit_is_told_and_then_acknowledged(bench: Bench) -> None:
    zygote = bench.open()
    bench.start("a")
    (pid,) = bench.forks()
    zygote.heard()
    bench.says(["exited", pid, 9])
    assert bench.exits == [(pid, 9)]
    assert zygote.heard() == [["reap", pid]]


class TestTemplates:
    """A process that is to fork itself, and what one that died has left."""

    def test_is_a_spare_where_there_is_one(self, spared: Bench) -> None:
        (pid, _) = spared.forks(2, warmth=Warmth.SERVER)
        spared.zygote.heard()
        given = spared.give()
        assert given == [pid]
        assert spared.zygote.heard() == [["template", pid]]

    def test_is_the_next_fork_else_and_starts_go_on(self, bench: Bench) -> None:
        bench.open()
        bench.start("a")
        given = bench.give()
        template, other = bench.forks(2)
        assert given == [template]
        assert bench.assigned == {"a": other}
        assert ["template", template] in bench.zygote.heard()

    def test_is_none_where_none_can_be_had(self, bench: Bench) -> None:
        bench.open()
        given = bench.give()
        bench.says(["fork_failed", "no more processes", 0])
        assert given == [None]

    def test_leaves_what_it_had_forked_to_its_zygote(self, bench: Bench) -> None:
        bench.open()
        bench.give()
        (template,) = bench.forks()
        bench.zygote.heard()
        assert bench.nursery.orphaned_by(template, {71})
        assert not bench.nursery.orphaned_by(template, {72})
        assert bench.zygote.heard() == [["adopt", template, [71]]]
        bench.says(["exited", 71, 9])
        assert bench.exits == [(71, 9)]
        bench.dies()
        assert bench.orphans == [{template}]

    def test_what_it_had_forked_and_is_not_adopted_yet_is_told_as_a_strangers(self, bench: Bench) -> None:
        bench.open()
        bench.says(["exited", 71, 9])
        assert (bench.strangers, bench.exits) == ([(71, 9)], [])
        assert bench.zygote.heard() == [["reap", 71]]

    def test_what_waits_for_a_process_can_be_taken_elsewhere(self, bench: Bench) -> None:
        bench.open()
        a, b = bench.start("a"), bench.start("b")
        assert bench.nursery.take_waiting(lambda process: process.id == "a") == [a]
        bench.forks(2)
        assert list(bench.assigned) == ["b"]
        assert (b.unborn, bench.nursery.take_waiting()) == ([], [])

    def test_a_retired_one_ends_with_the_last_of_its_processes(self, spared: Bench) -> None:
        one, spare = spared.forks(2, warmth=Warmth.SERVER)
        spared.start("a")
        spared.nursery.retire()
        spared.loop.advance(REFILL_AFTER_S)
        assert spared.zygote.modules[spare].recv(1) == b""
        spared.zygote.heard()
        spared.says(["exited", spare, 0])
        assert spared.zygote.heard() == [["reap", spare]]
        spared.says(["exited", one, 0])
        assert ["quit"] in spared.zygote.heard()


class TestLostZygote:
    """What it had forked is the keeper's; it is replaced at once, and later when it keeps dying."""

    def test_that_was_ready_is_replaced_and_starts_go_on(self, bench: Bench) -> None:
        bench.open()
        bench.start("a")
        bench.dies()
        assert bench.types() == ["zygote_ready", "zygote_lost"]
        assert [facts["serves"] for _, facts in bench.reports] == ["servers"] * 2
        bench.loop.turn()
        assert len(bench.zygotes) == 2
        assert bench.ready().heard() == [["fork", 1, Warmth.COLD]]
        bench.forks()
        assert "a" in bench.assigned

    def test_that_keeps_dying_is_replaced_ever_later(self, bench: Bench) -> None:
        bench.nursery.open()
        for delay_s in (*RESPAWN_DELAYS_S, RESPAWN_DELAYS_S[-1]):
            count = len(bench.zygotes)
            bench.dies()
            assert bench.reports[-1][1]["again_in_s"] == delay_s
            if delay_s:
                assert len(bench.zygotes) == count
            bench.loop.advance(delay_s)
            assert len(bench.zygotes) == count + 1

    def test_that_cannot_be_replaced_now_is_replaced_later(self, bench: Bench) -> None:
        bench.open()
        bench.spawn_error = BlockingIOError("no more processes")
        bench.dies()
        bench.loop.turn()
        bench.spawn_error = None
        assert bench.reports[-1] == ("zygote_failed", {"serves": "servers", "message": "cannot start a zygote: no more processes"})
        bench.loop.advance(RESPAWN_DELAYS_S[1])
        assert len(bench.zygotes) == 2

    def test_leaves_its_children_to_the_keeper_and_lets_its_spares_go(self, spared: Bench) -> None:
        first = spared.zygote
        pids = spared.forks(3, warmth=Warmth.SERVER)
        spared.start("a")
        spared.says(["exited", pids[1], 0])
        spared.dies()
        assert spared.orphans == [{pids[0], pids[2]}]
        assert spared.reports[-1][1]["modules"] == 1
        assert first.modules[pids[2]].recv(1) == b""
        spared.ready()
        spared.start("b")
        assert list(spared.assigned) == ["a"]

    def test_says_what_was_wrong_with_its_last_message(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.open()
        bench.zygote.sock.send(b"\xff" * 64)
        bench.loop.turn()
        assert bench.types()[-1] == "zygote_lost"
        assert "zygote: " in caplog.text


WHY: Message = ["failed", {"message": "preload 'nowhere': no such module", "traceback": "Traceback ..."}]


class TestPreloadFailure:
    """Whoever needs that zygote is told why there is none; it is not tried again."""

    def test_fails_the_starts_that_wait_and_those_to_come(self, bench: Bench) -> None:
        bench.nursery.open()
        waiting = bench.start("a")
        bench.says(WHY)
        ((error, waited_for),) = bench.refusals
        assert str(error) == "preload 'nowhere': no such module\n\nTraceback ..."
        assert error.reason == ("error", "PreloadError", "preload 'nowhere': no such module", "Traceback ...")
        assert waited_for
        later = bench.start("b")
        bench.loop.turn()
        assert waiting.error is later.error is error
        assert bench.reports == [("zygote_failed", {"serves": "servers", "message": "preload 'nowhere': no such module"})]

    def test_leaves_the_loop_free_however_often_those_that_it_fails_are_started_again(self, bench: Bench) -> None:
        bench.nursery.open()
        refused: list[str] = []

        def again(message: str, error: StartError | None = None) -> None:
            refused.append(message)
            bench.start("a").never_forked = again  # type: ignore[method-assign]

        bench.start("a").never_forked = again  # type: ignore[method-assign]
        bench.says(WHY)
        before = len(refused)
        for _ in range(3):
            bench.loop.turn()
        assert len(refused) == before + 3, "once at a time, and the loop comes back each time"

    def test_is_final(self, bench: Bench) -> None:
        bench.nursery.open()
        bench.says(WHY)
        assert bench.refusals[0][1] is False
        bench.dies()
        bench.loop.advance(100.0)
        assert (len(bench.zygotes), bench.types()) == (1, ["zygote_failed"])

    def test_of_a_replacement_is_tried_again(self, bench: Bench) -> None:
        bench.open()
        bench.dies()
        bench.loop.turn()
        bench.says(WHY)
        assert bench.refusals == []
        assert bench.types() == ["zygote_ready", "zygote_lost", "zygote_failed"]
        process = bench.start("a")
        assert process.unborn == []
        bench.dies()
        bench.loop.advance(RESPAWN_DELAYS_S[1])
        assert len(bench.zygotes) == 3


class TestClose:
    """Nothing is left, whatever the zygote was doing."""

    @pytest.mark.parametrize("ready", [True, False])
    def test_ends_the_zygote(self, bench: Bench, ready: bool) -> None:
        bench.nursery.open()
        if ready:
            bench.ready()
        pid = bench.zygote.handle.pid
        assert bench.nursery.zygote_pid == pid
        bench.nursery.close()
        bench.nursery.collect()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert bench.nursery.zygote_pid is None

    def test_tells_the_zygote_that_it_is_the_end_of_the_run(self, bench: Bench) -> None:
        zygote = bench.open()
        bench.nursery.close()
        assert zygote.heard() == [["quit"]]

    def test_ends_what_still_waits(self, bench: Bench) -> None:
        bench.open()
        process = bench.start("a")
        bench.nursery.close()
        bench.nursery.close()
        assert process.unborn == ["the runtime is stopping"]

    def test_lets_the_spares_go(self, spared: Bench) -> None:
        (pid,) = spared.forks(warmth=Warmth.SERVER)
        spared.nursery.close()
        assert spared.zygote.modules[pid].recv(1) == b""

    def test_ends_the_replacing_of_lost_zygotes(self, bench: Bench) -> None:
        bench.nursery.open()
        for _ in range(2):
            bench.dies()
            bench.loop.turn()
        count = len(bench.zygotes)
        bench.nursery.close()
        bench.loop.advance(100.0)
        assert len(bench.zygotes) == count


class TestCalm:
    """While callers of a swap are about to wait, no spare is made that can be missed."""

    def test_a_refill_comes_when_they_do_not_wait_any_more(self, spared: Bench) -> None:
        spared.forks(2, warmth=Warmth.SERVER)
        spared.zygote.heard()
        spared.start("a")
        spared.nursery.calm(True)
        spared.loop.advance(2 * REFILL_AFTER_S)
        assert spared.zygote.heard() == []
        spared.nursery.calm(False)
        spared.loop.advance(REFILL_AFTER_S)
        assert spared.zygote.heard() == [["fork", 1, Warmth.SERVER]]

    def test_it_comes_all_the_same_when_they_wait_for_long(self, spared: Bench) -> None:
        spared.forks(2, warmth=Warmth.SERVER)
        spared.zygote.heard()
        spared.nursery.calm(True)
        spared.start("a")
        spared.loop.advance(CALM_S)
        assert spared.zygote.heard() == [["fork", 1, Warmth.SERVER]]

    def test_and_when_there_is_no_spare_left(self, spared: Bench) -> None:
        spared.forks(2, warmth=Warmth.SERVER)
        spared.zygote.heard()
        spared.start("a")
        spared.start("b")
        spared.nursery.calm(True)
        spared.loop.advance(REFILL_AFTER_S)
        assert spared.zygote.heard() == [["fork", 2, Warmth.SERVER]]

    def test_and_when_the_last_spare_is_taken_meanwhile(self, spared: Bench) -> None:
        spared.forks(2, warmth=Warmth.SERVER)
        spared.zygote.heard()
        spared.start("a")
        spared.nursery.calm(True)
        spared.start("b")
        spared.loop.advance(REFILL_AFTER_S)
        assert spared.zygote.heard() == [["fork", 2, Warmth.SERVER]]

    def test_and_when_the_last_spare_dies_meanwhile(self, spared: Bench) -> None:
        pids = spared.forks(2, warmth=Warmth.SERVER)
        spared.zygote.heard()
        spared.start("a")
        spared.nursery.calm(True)
        (left,) = [pid for pid in pids if pid != spared.assigned["a"]]
        spared.says(["exited", left, 9])
        spared.zygote.heard()
        spared.loop.advance(REFILL_AFTER_S)
        assert spared.zygote.heard() == [["fork", 2, Warmth.SERVER]]

    def test_a_start_without_a_spare_has_its_fork_at_once(self, bench: Bench) -> None:
        zygote = bench.open()
        bench.nursery.calm(True)
        bench.start("a")
        assert zygote.heard() == [["fork", 1, Warmth.COLD]]
