"""Hung and overgrown modules are found by looking; who waits within its deadline, or stood still with the machine, is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from dspex_runtime.core.child_spec import LaunchSpec, Limits, Liveness
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node import watchdog as watchdog_module
from dspex_runtime.node.control_requests import Answer
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.watchdog import INTERVAL_S, STALLED_AFTER_S, Watchdog, metrics, resident_bytes, totals
from dspex_runtime.osproc.board import (
    BEGUN,
    BUSY_NS,
    ENDED,
    EXPECTED_BY,
    FAILED,
    LAST_NS,
    NO_DEADLINE,
    QUEUED,
    RUNNING,
    Board,
    Slot,
)
from dspex_runtime.types import Kind
from helpers.fake_tree import ManualLoop

MIB = 2**20
GRACE = Liveness(grace_s=2.0)
LOG_MAX_BYTES = 1000


@dataclass(eq=False)
class Module:
    """A process as the watchdog sees it."""

    slot: int | None
    launch: LaunchSpec
    pid: int | None = 1
    ended: bool = False
    killed: list[ExitReason] = field(default_factory=list)
    pings: list[tuple[float | None, Answer]] = field(default_factory=list)
    log: str | None = None
    log_checks: int = 0

    def kill(self, reason: ExitReason) -> None:
        self.killed.append(reason)
        self.ended = True

    def check_log(self) -> None:
        self.log_checks += 1

    def request(self, op: str, args: dict[str, Any], timeout_s: float | None, answer: Answer) -> None:
        assert op == "ping"
        self.pings.append((timeout_s, answer))


class Bench:
    """A board, a clock and the modules on it."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.board = Board.create()
        self.modules: list[Module] = []
        self.watchdog = Watchdog(
            self.loop, self.board, lambda: cast(list[ModuleProcess], self.modules), log_max_bytes=LOG_MAX_BYTES
        )

    def module(self, *, liveness: Liveness | None = GRACE, memory_bytes: int | None = None) -> Module:
        launch = LaunchSpec(Kind.MODULE, target="x:Y", liveness=liveness, limits=Limits(memory_bytes=memory_bytes))
        self.modules.append(Module(self.board.allocate(), launch))
        return self.modules[-1]

    def slot(self, module: Module) -> Slot:
        assert module.slot is not None
        return self.board.slot(module.slot)

    def calls(self, module: Module, *, due_in_s: float) -> None:
        """The module begins a call with a deadline."""
        self.slot(module).set(EXPECTED_BY, int((self.loop.now() + due_in_s) * 1e9))

    def pass_s(self, seconds: float) -> None:
        """Let time pass, with a look every interval."""
        for _ in range(round(seconds / INTERVAL_S)):
            self.loop.advance(INTERVAL_S)

    def unanswered(self, module: Module) -> None:
        self.watchdog.unanswered(cast(ModuleProcess, module))

    def close(self) -> None:
        self.loop.close()
        self.board.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


class TestOverdueCalls:
    """A call may take its deadline and the grace; then the module counts as hung."""

    def test_are_killed_after_the_grace(self, bench: Bench) -> None:
        module = bench.module()
        bench.calls(module, due_in_s=3.0)
        bench.pass_s(5.0)
        assert module.killed == []
        bench.pass_s(1.0)
        ((word, what, detail),) = module.killed
        assert (word, what) == ("limit", "liveness")
        assert detail == "busy 3.0 s past its call's deadline (grace 2 s)"

    @pytest.mark.parametrize("expected_by", [0, NO_DEADLINE])
    def test_idle_and_without_a_deadline_are_not_overdue(self, bench: Bench, expected_by: int) -> None:
        module = bench.module()
        bench.slot(module).set(EXPECTED_BY, expected_by)
        bench.pass_s(100.0)
        assert module.killed == []

    def test_are_left_alone_without_a_liveness_check(self, bench: Bench) -> None:
        module = bench.module(liveness=None)
        bench.calls(module, due_in_s=1.0)
        bench.pass_s(100.0)
        assert module.killed == []

    def test_of_a_process_that_has_ended_or_is_not_there_yet_are_nobodys(self, bench: Bench) -> None:
        ended, unborn = bench.module(), bench.module()
        bench.calls(ended, due_in_s=1.0)
        ended.ended, unborn.slot = True, None
        bench.pass_s(10.0)
        assert ended.killed == unborn.killed == []


class TestStalledMachine:
    """Time in which nobody ran is not held against a call that was running then."""

    def test_is_excused(self, bench: Bench) -> None:
        module = bench.module()
        bench.calls(module, due_in_s=3.0)
        bench.loop.advance(30.0)
        bench.pass_s(4.0)
        assert module.killed == []

    def test_twice_is_excused_twice(self, bench: Bench) -> None:
        module = bench.module()
        bench.calls(module, due_in_s=3.0)
        bench.loop.advance(30.0)
        bench.loop.advance(30.0)
        bench.pass_s(3.0)
        assert module.killed == []

    def test_is_excused_for_its_own_length_only(self, bench: Bench) -> None:
        module = bench.module()
        bench.calls(module, due_in_s=3.0)
        bench.loop.advance(30.0)
        bench.pass_s(7.0)
        assert len(module.killed) == 1

    def test_is_forgotten_after_a_while(self, bench: Bench) -> None:
        module = bench.module()
        bench.loop.advance(50.0)
        bench.pass_s(61.0)
        bench.calls(module, due_in_s=0.5)
        bench.pass_s(4.0)
        assert len(module.killed) == 1

    def test_a_short_delay_is_no_stall(self, bench: Bench) -> None:
        module = bench.module()
        bench.calls(module, due_in_s=0.5)
        bench.loop.advance(INTERVAL_S + STALLED_AFTER_S)
        assert len(module.killed) == 1


class TestMemory:
    """The limit is looked at where something may have changed."""

    @pytest.fixture
    def used(self, monkeypatch: pytest.MonkeyPatch) -> dict[int | None, int]:
        used: dict[int | None, int] = {1: 10 * MIB}
        monkeypatch.setattr(watchdog_module, "resident_bytes", lambda pid: used[pid])
        return used

    def test_over_the_limit_is_the_reason(self, bench: Bench, used: dict[int | None, int]) -> None:
        module = bench.module(memory_bytes=64 * MIB)
        bench.pass_s(1.0)
        assert module.killed == []
        used[1] = 65 * MIB
        bench.slot(module).set(BEGUN, 1)
        bench.pass_s(1.0)
        assert module.killed == [("limit", "memory", "65 MiB in use, 64 MiB allowed")]

    @pytest.mark.usefixtures("used")
    def test_without_a_limit_nobody_looks(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.module()
        looked: list[int | None] = []
        monkeypatch.setattr(watchdog_module, "resident_bytes", looked.append)
        bench.pass_s(20.0)
        assert looked == []

    @pytest.mark.parametrize(("running", "looks"), [(False, 2), (True, 16)])
    def test_an_idle_module_is_looked_at_every_eighth_time(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, running: bool, looks: int
    ) -> None:
        module = bench.module(memory_bytes=MIB)
        looked: list[int | None] = []
        monkeypatch.setattr(watchdog_module, "resident_bytes", lambda pid: looked.append(pid) or 0)
        bench.pass_s(1.0)  # the first look is at everybody
        looked.clear()
        if running:
            bench.slot(module).set(EXPECTED_BY, NO_DEADLINE)
        bench.pass_s(16.0)
        assert len(looked) == looks

    def test_is_what_the_process_itself_holds(self) -> None:
        before = resident_bytes(os.getpid())
        held = bytearray(os.urandom(1)) * (64 * MIB)
        grown = resident_bytes(os.getpid()) - before
        assert len(held) - MIB < grown < 2 * len(held)

    @pytest.mark.parametrize("pid", [None, 2**22 + 1])
    def test_of_a_process_that_is_gone_is_none(self, pid: int | None) -> None:
        assert resident_bytes(pid) == 0


class TestUnanswered:
    """An idle module that let a request time out is asked whether it is there."""

    def test_no_answer_within_the_grace_is_the_end(self, bench: Bench) -> None:
        module = bench.module()
        bench.unanswered(module)
        ((timeout_s, answer),) = module.pings
        assert timeout_s == 2.0
        answer(None, {"type": "BusyError"})
        assert module.killed == [("limit", "liveness", "idle, and no answer to a ping within 2 s")]

    def test_an_answer_saves_it_until_the_next_time(self, bench: Bench) -> None:
        module = bench.module()
        bench.unanswered(module)
        module.pings[0][1]("pong", None)
        bench.unanswered(module)
        assert (module.killed, len(module.pings)) == ([], 2)

    def test_many_clients_make_one_ping(self, bench: Bench) -> None:
        module = bench.module()
        for _ in range(3):
            bench.unanswered(module)
        assert len(module.pings) == 1

    def test_a_busy_one_is_judged_by_its_stamps(self, bench: Bench) -> None:
        module = bench.module()
        bench.calls(module, due_in_s=60.0)
        bench.unanswered(module)
        assert module.pings == []

    @pytest.mark.parametrize("why", ["no liveness", "no process yet", "ended"])
    def test_who_cannot_hang_is_not_asked(self, bench: Bench, why: str) -> None:
        module = bench.module(liveness=None if why == "no liveness" else Liveness())
        module.slot = None if why == "no process yet" else module.slot
        module.ended = why == "ended"
        bench.unanswered(module)
        assert module.pings == []

    def test_one_that_ended_meanwhile_is_not_killed_again(self, bench: Bench) -> None:
        module = bench.module()
        bench.unanswered(module)
        module.ended = True
        module.pings[0][1](None, {"type": "BusyError"})
        assert module.killed == []


class TestMetrics:
    """What can be read without asking."""

    def test_are_the_stamps_in_units_for_people(self, bench: Bench) -> None:
        module = bench.module()
        slot = bench.slot(module)
        for stamp, value in ((ENDED, 7), (FAILED, 2), (RUNNING, 1), (QUEUED, 3), (LAST_NS, 2_500_000), (EXPECTED_BY, 1)):
            slot.set(stamp, value)
        found = metrics(bench.board, module.slot)
        assert found.pop("overdue_s") > 0
        assert found == {"calls": 7, "failures": 2, "running": 1, "queued": 3, "last_ms": 2.5}

    @pytest.mark.parametrize("expected_by", [0, NO_DEADLINE, NO_DEADLINE - 1])
    def test_who_is_in_time_is_not_overdue(self, bench: Bench, expected_by: int) -> None:
        module = bench.module()
        bench.slot(module).set(EXPECTED_BY, expected_by)
        assert metrics(bench.board, module.slot)["overdue_s"] == 0.0

    def test_without_a_slot_there_are_none(self, bench: Bench) -> None:
        assert metrics(bench.board, None) == {}


def test_a_module_whose_log_outgrew_its_limit_is_asked_to_rotate_it(bench: Bench, tmp_path: Path) -> None:
    module = bench.module()
    log = tmp_path / "module.log"
    module.log = str(log)
    log.write_bytes(b"x" * LOG_MAX_BYTES)
    bench.pass_s(8)
    assert module.log_checks == 0
    log.write_bytes(b"x" * (LOG_MAX_BYTES + 1))
    bench.pass_s(8)
    assert module.log_checks > 0


def test_totals_are_what_a_process_has_counted() -> None:
    board = Board.create()
    slot = board.slot(number := board.allocate())
    for field_, value in ((ENDED, 5), (FAILED, 2), (BUSY_NS, 9)):
        slot.set(field_, value)
    assert (totals(board, number), totals(board, None)) == ({"calls": 5, "failures": 2, "busy_ns": 9}, {})
    del slot
    board.close()
