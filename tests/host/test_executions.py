"""Calls written down each second in which there were any: what, when, and what a broken disk changes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dspex_runtime.errors import ParameterError
from dspex_runtime.host.chores import Chores
from dspex_runtime.host.executions import BATCH, PERIOD_S, Executions
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.tally import Tally
from dspex_runtime.osproc.board import SLOT_BYTES, Slot
from dspex_runtime.params.records import EXECUTIONS


class Desk:
    """A tally with calls that end at once, and the journal they go to."""

    def __init__(self, base: dict[str, Any] | None = None) -> None:
        self.tally = Tally(Slot(memoryview(bytearray(SLOT_BYTES)).cast("Q")), base)
        self.wakes = 0
        self.broken = False
        self.written: list[list[Any]] = []
        self.reports: list[str] = []
        journal: Any = self
        self.tally.on_first = self._wake
        self.executions = Executions(self.tally, threading.Lock(), lambda: journal, self._wake, self.reports.append)

    def append(self, payload: list[Any]) -> None:
        if self.broken:
            raise ParameterError("the journal 1.journal cannot be written: no space left on device")
        self.written.append(payload)

    def call(self, method: str = "work", error: str | None = None) -> None:
        request = Request(None, 1, method, [], {})
        self.tally.begin(request)
        self.tally.end(request, error)

    def methods(self) -> list[list[str]]:
        return [[each["method"] for each in payload[2]] for payload in self.written]

    def _wake(self) -> None:
        self.wakes += 1


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_process_that_is_not_called_is_never_woken_and_writes_nothing(desk: Desk) -> None:
    assert desk.executions.due(100.0) is None
    desk.executions.look(1e9)
    desk.executions.write()
    assert (desk.wakes, desk.written) == (0, [])


def test_the_first_call_wakes_once_and_a_second_later_all_are_written(desk: Desk) -> None:
    desk.call("a")
    desk.call("b", "ValueError: x")
    assert desk.wakes == 1
    assert desk.executions.due(100.0) == 100.0 + PERIOD_S
    desk.executions.look(100.0 + PERIOD_S / 2)
    assert desk.written == []
    desk.call("c")
    desk.executions.look(100.0 + PERIOD_S)
    ((kind, _, calls, totals),) = desk.written
    assert (kind, [each["method"] for each in calls]) == (EXECUTIONS, ["a", "b", "c"])
    assert (totals["calls"], totals["failures"], totals["last_error"]) == (3, 1, "ValueError: x")


def test_each_call_is_written_once(desk: Desk) -> None:
    desk.call("a")
    desk.executions.write()
    desk.executions.write()
    assert desk.executions.due(100.0) is None
    desk.call("b")
    assert desk.wakes == 2
    desk.executions.write()
    assert desk.methods() == [["a"], ["b"]]


def test_many_are_written_in_parts_each_with_the_sums(desk: Desk) -> None:
    for _ in range(2 * BATCH + 1):
        desk.call()
    desk.executions.write()
    assert [len(calls) for calls in desk.methods()] == [BATCH, BATCH, 1]
    assert {payload[3]["calls"] for payload in desk.written} == {2 * BATCH + 1}


def test_sums_go_on_where_the_last_incarnation_ended() -> None:
    desk = Desk({"calls": 10, "failures": 2, "busy_ns": 5, "last_error": "old"})
    desk.call()
    desk.executions.write()
    totals = desk.written[0][3]
    assert (totals["calls"], totals["failures"], totals["last_error"]) == (11, 2, "old")
    assert totals["busy_ns"] > 5


def test_a_broken_disk_is_reported_once_and_the_sums_come_later(desk: Desk) -> None:
    desk.broken = True
    for method in ("a", "b"):
        desk.call(method)
        desk.executions.write()
    assert len(desk.reports) == 1
    assert "no space left" in desk.reports[0]
    desk.broken = False
    desk.call("c")
    desk.executions.write()
    assert desk.methods() == [["c"]]
    assert desk.written[0][3]["calls"] == 3
    desk.broken = True
    desk.call("d")
    desk.executions.write()
    assert len(desk.reports) == 2


class Around(Desk):
    """The process around it, as its chores see it."""

    def __init__(self, *, keeps_journal: bool = True) -> None:
        super().__init__()
        self.tally.on_first = None
        self.lock = threading.Lock()
        self.foreign = False
        self.checked = 0
        self.keeps_journal = keeps_journal
        self.changes_wait = False
        self.order: list[str] = []
        around: Any = self
        self.journal = around
        self.chores = Chores(around, around, around, self._wake)

    def check(self) -> None:
        self.checked += 1

    def after_call(self) -> None:
        self.order.append("published")

    def flush_changes(self) -> None:
        self.order.append("told")

    def report(self, text: str) -> None:
        self.reports.append(text)


def test_nothing_is_due_in_a_process_that_nobody_calls() -> None:
    around = Around()
    around.chores.look()
    assert (around.chores.times(100.0), around.order, around.checked) == ([], [], 0)


def test_each_chore_says_when_it_is_due() -> None:
    around = Around()
    around.call()
    assert around.chores.times(100.0) == [100.0 + PERIOD_S]
    around.changes_wait = around.foreign = True
    assert len(around.chores.times(100.0)) == 3
    around.chores.look()
    assert (around.order, around.checked) == (["told"], 1)


def test_at_the_end_everything_is_written_whether_it_was_due_or_not() -> None:
    around = Around()
    around.call()
    around.chores.close()
    assert (around.order, around.methods()) == (["published", "told"], [["work"]])


def test_without_a_journal_calls_are_only_counted() -> None:
    around = Around(keeps_journal=False)
    around.call()
    around.chores.close()
    assert (around.chores.times(100.0), around.wakes, around.written) == ([], 0, [])
