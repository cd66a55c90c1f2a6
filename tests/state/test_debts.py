"""What is owed to the disk: kept while it refuses, written once when it does not."""

from __future__ import annotations

import pytest

from dspex_runtime.state.debts import Debts
from dspex_runtime.state.store import EVENTS_KEPT, Store


def test_everything_that_is_owed_is_written_and_owed_no_more(store: Store) -> None:
    debts, folded = Debts(), list[str]()
    debts.note("a", {"restarts": 1})
    debts.note("a", {"last_exit": "killed", "restarts": 2})
    debts.configure("a", {"x": b"1"})
    debts.events([b"event"])
    debts.fold("a")
    debts.fold("a")
    assert debts
    debts.pay(store, folded.append)
    assert not debts
    assert store.noted("a") == {"restarts": 2, "last_exit": "killed"}
    assert (store.configured("a"), store.events(9), folded) == ({"x": b"1"}, [b"event"], ["a"])


def test_what_the_disk_does_not_take_is_still_owed(store: Store) -> None:
    def fails(id: str) -> None:
        if id == "b":
            raise OSError("disk full")

    debts = Debts()
    debts.note("a", {"restarts": 1})
    for id in ("a", "b", "c"):
        debts.fold(id)
    with pytest.raises(OSError, match="disk full"):
        debts.pay(store, fails)
    folded: list[str] = []
    debts.pay(store, folded.append)
    assert folded == ["b", "c"]
    assert not debts


def test_of_a_dropped_id_nothing_is_owed(store: Store) -> None:
    debts = Debts()
    debts.note("a", {"restarts": 1})
    debts.configure("a", {})
    debts.fold("a")
    debts.drop("a")
    assert not debts


def test_of_too_many_events_the_newest_are_owed(store: Store) -> None:
    debts = Debts()
    debts.events([b"old"] + [b"new"] * EVENTS_KEPT)
    debts.pay(store, lambda _: None)
    assert set(store.events(EVENTS_KEPT + 1)) == {b"new"}
