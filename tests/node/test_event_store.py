"""Events on their way to the store: in batches, the newest of a storm, nothing that cannot be packed."""

from __future__ import annotations

from typing import Any, cast

from dspex_runtime.node.event_store import MOST_AT_ONCE, PERIOD_S, EventStore
from dspex_runtime.node.peer import PLAIN
from helpers.fake_tree import ManualLoop


class Told:
    def __init__(self) -> None:
        self.batches: list[list[Any]] = []

    def tell(self, op: str, args: dict[str, Any]) -> None:
        assert op == "events"
        self.batches.append([PLAIN.unpack(body)[0] for body in args["records"]])


def test_events_of_one_period_are_told_at_once_and_a_quiet_runtime_is_never_woken() -> None:
    loop, told = ManualLoop(), Told()
    store = EventStore(cast(Any, loop), cast(Any, told))
    for seq in (1, 2):
        store.take({"seq": seq})
    assert told.batches == []
    loop.advance(PERIOD_S)
    store.take({"seq": 3})
    loop.advance(PERIOD_S)
    loop.advance(100.0)
    store.flush()
    assert told.batches == [[{"seq": 1}, {"seq": 2}], [{"seq": 3}]]
    loop.close()


def test_of_a_storm_the_newest_are_told() -> None:
    loop, told = ManualLoop(), Told()
    store = EventStore(cast(Any, loop), cast(Any, told))
    for seq in range(MOST_AT_ONCE + 10):
        store.take({"seq": seq})
    store.flush()
    assert [event["seq"] for event in told.batches[0]][:1] == [10]
    assert len(told.batches[0]) == MOST_AT_ONCE
    loop.close()


def test_what_cannot_be_packed_is_left_out() -> None:
    loop, told = ManualLoop(), Told()
    store = EventStore(cast(Any, loop), cast(Any, told))
    store.take({"seq": object()})
    store.take({"seq": 1})
    store.flush()
    assert told.batches == [[{"seq": 1}]]
    loop.close()
