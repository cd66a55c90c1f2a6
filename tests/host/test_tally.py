"""The stamps of a process say what runs, by when it should end, and what came of it."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.tally import Tally
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
    SLOT_BYTES,
    SLOT_FIELDS,
    Slot,
)


class Recorder:
    """A slot that remembers the order in which it was stamped."""

    def __init__(self) -> None:
        self.fields = [0] * SLOT_FIELDS
        self.order: list[int] = []

    def set(self, field: int, value: int) -> None:
        self.fields[field] = value
        self.order.append(field)


@pytest.fixture
def slot() -> Slot:
    return Slot(memoryview(bytearray(SLOT_BYTES)).cast("Q"))


def request(deadline: float | None = None) -> Request:
    return Request(None, 1, "method", [], {}, deadline)


def stamps(slot: Slot) -> tuple[int, int, int, int]:
    return slot.get(RUNNING), slot.get(BEGUN), slot.get(ENDED), slot.get(FAILED)


def test_a_request_is_counted_when_it_begins_and_when_it_ends(slot: Slot) -> None:
    tally, one = Tally(slot), request(5.0)
    tally.begin(one)
    assert stamps(slot) == (1, 1, 0, 0)
    assert slot.get(EXPECTED_BY) == 5_000_000_000
    assert tally.end(one, None)
    assert stamps(slot) == (0, 1, 1, 0)
    assert slot.get(EXPECTED_BY) == 0
    assert slot.get(BUSY_NS) == slot.get(LAST_NS) == tally.metrics.busy_ns


def test_a_request_ends_once(slot: Slot) -> None:
    tally, one = Tally(slot), request()
    tally.begin(one)
    assert tally.end(one, None)
    assert not tally.end(one, "again")
    assert not tally.end(request(), "never begun")
    assert stamps(slot) == (0, 1, 1, 0)


def test_a_failed_request_is_counted_as_ended_and_as_failed(slot: Slot) -> None:
    tally, one = Tally(slot), request()
    tally.begin(one)
    tally.end(one, "ValueError: x")
    assert stamps(slot) == (0, 1, 1, 1)


def test_a_result_that_cannot_be_sent_failed_after_all(slot: Slot) -> None:
    tally, one = Tally(slot), request()
    tally.begin(one)
    tally.end(one, None)
    tally.amend("UnserialisableError: x")
    assert stamps(slot) == (0, 1, 1, 1)


DEADLINES: dict[str, tuple[list[float | None], int]] = {
    "the earliest counts": ([9.0, 3.0, 5.0], 3_000_000_000),
    "none is later than any": ([None, 7.0], 7_000_000_000),
    "none at all": ([None, None], NO_DEADLINE),
    "further than the board reaches": ([1e300], NO_DEADLINE),
    "for ever": ([float("inf")], NO_DEADLINE),
}


@pytest.mark.parametrize(("deadlines", "expected"), DEADLINES.values(), ids=DEADLINES.keys())
def test_the_stamp_is_the_earliest_deadline_of_those_that_run(slot: Slot, deadlines: list[float | None], expected: int) -> None:
    tally = Tally(slot)
    for deadline in deadlines:
        tally.begin(request(deadline))
    assert slot.get(EXPECTED_BY) == expected


def test_when_the_earliest_ends_the_next_one_counts(slot: Slot) -> None:
    tally, soon, later = Tally(slot), request(3.0), request(9.0)
    tally.begin(soon)
    tally.begin(later)
    tally.end(soon, None)
    assert (slot.get(RUNNING), slot.get(EXPECTED_BY)) == (1, 9_000_000_000)


def test_a_watcher_that_sees_a_call_run_finds_its_deadline() -> None:
    recorder: Any = Recorder()
    tally, one = Tally(recorder), request(5.0)
    tally.begin(one)
    assert recorder.order.index(EXPECTED_BY) < recorder.order.index(RUNNING)
    recorder.order.clear()
    tally.end(one, None)
    assert recorder.order.index(RUNNING) < recorder.order.index(EXPECTED_BY)


def test_the_length_of_the_queue_is_stamped_where_it_changed() -> None:
    recorder: Any = Recorder()
    tally = Tally(recorder)
    for n in (0, 2, 2, 0):
        tally.queued(n)
    assert recorder.order == [QUEUED, QUEUED]
    assert recorder.fields[QUEUED] == 0


def test_whoever_waits_for_the_first_end_hears_of_it_once(slot: Slot) -> None:
    tally, heard = Tally(slot), []
    tally.on_first = lambda: heard.append(tally.metrics.count)
    for _ in range(3):
        one = request()
        tally.begin(one)
        tally.end(one, None)
    assert heard == [1]
