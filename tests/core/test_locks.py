"""Locks (otp-semantics §2.8: per-key mutex, FIFO, released when the holder dies, dead waiters skipped)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dspex_runtime.core.keys import typed
from dspex_runtime.core.locks import Claim, LockTable
from dspex_runtime.errors import ConfigError, RegistryError


def claim(key: Any, owner: str, token: str = "1") -> Claim[str]:
    return Claim(typed(key), owner, token)


def queue(*owners: str) -> LockTable[str]:
    locks: LockTable[str] = LockTable()
    for place, owner in enumerate(owners):
        asked, granted = locks.acquire("k", owner, "1")
        assert (asked, granted) == (claim("k", owner), place == 0)
    return locks


def test_a_mutex_has_one_holder_and_serves_the_others_in_the_order_they_asked() -> None:
    locks = queue("a", "b", "c")
    assert locks.holder("k") == claim("k", "a")
    assert locks.release(claim("k", "a")) == claim("k", "b")
    assert locks.release(claim("k", "b")) == claim("k", "c")
    assert locks.release(claim("k", "c")) is None
    assert (locks.holder("k"), len(locks)) == (None, 0)


def test_it_is_per_key_and_keys_are_compared_strictly() -> None:
    locks: LockTable[str] = LockTable()
    assert [locks.acquire(key, "a", "1")[1] for key in (1, 1.0, True, "1", b"1", (1,))] == [True] * 6


def test_it_is_released_when_the_holder_dies_to_the_next_in_line() -> None:
    locks = queue("a", "b", "c")
    assert locks.owner_gone("a") == [claim("k", "b")]
    assert locks.owner_gone("a") == []


def test_dead_waiters_are_skipped() -> None:
    locks = queue("a", "b", "c")
    assert locks.owner_gone("b") == []
    assert locks.release(claim("k", "a")) == claim("k", "c")


def test_an_owner_that_dies_is_not_granted_what_it_held_itself() -> None:
    locks = queue("a")
    locks.acquire("k", "a", "2")
    locks.acquire("k", "b", "1")
    locks.acquire("l", "b", "1")
    locks.acquire("l", "a", "1")
    assert locks.owner_gone("a") == [claim("k", "b")]
    assert locks.claims("b") == [claim("k", "b"), claim("l", "b")]


def test_who_stops_waiting_leaves_the_line() -> None:
    locks = queue("a", "b", "c")
    assert locks.release(claim("k", "b")) is None
    assert locks.holder("k") == claim("k", "a")
    assert locks.release(claim("k", "a")) == claim("k", "c")


@pytest.mark.parametrize(("owner", "text"), [("a", "the caller holds it already"), ("b", "the caller waits for it already")])
def test_asking_again_is_an_error_and_not_a_deadlock(owner: str, text: str) -> None:
    locks = queue("a", "b")
    with pytest.raises(RegistryError, match=f"lock 'k': {text}; locks are not re-entrant") as caught:
        locks.acquire("k", owner, "1")
    assert caught.value.code == "already_locked"
    assert len(locks) == 2


def test_another_thread_of_the_holder_waits_as_anybody() -> None:
    locks = queue("a")
    _, granted = locks.acquire("k", "a", "2")
    assert not granted
    assert locks.release(claim("k", "a", "1")) == claim("k", "a", "2")


def test_releasing_what_is_not_held_changes_nothing() -> None:
    locks = queue("a")
    assert locks.release(claim("k", "b")) is None
    assert locks.release(claim("other", "a")) is None
    assert locks.holder("k") == claim("k", "a")


def test_what_is_no_key_cannot_be_locked() -> None:
    with pytest.raises(ConfigError, match="a key is a"):
        queue().acquire([], "a", "1")


class Model(RuleBasedStateMachine):
    """A LockTable and a plain list per key; whoever is first in the list was told so, exactly once."""

    few_keys = st.sampled_from([1, 1.0, "k"])
    owners = st.sampled_from("abc")
    tokens = st.sampled_from("12")

    def __init__(self) -> None:
        super().__init__()
        self.locks: LockTable[str] = LockTable()
        self.lines: dict[Any, list[Claim[str]]] = {typed(key): [] for key in (1, 1.0, "k")}
        self.told: set[Claim[str]] = set()

    @rule(key=few_keys, owner=owners, token=tokens)
    def acquire(self, key: Any, owner: str, token: str) -> None:
        line, wanted = self.lines[typed(key)], claim(key, owner, token)
        if wanted in line:
            with pytest.raises(RegistryError):
                self.locks.acquire(key, owner, token)
            return
        _, granted = self.locks.acquire(key, owner, token)
        line.append(wanted)
        if granted:
            self.told.add(wanted)

    @rule(key=few_keys, owner=owners, token=tokens)
    def release(self, key: Any, owner: str, token: str) -> None:
        given_up = claim(key, owner, token)
        granted = self.locks.release(given_up)
        if given_up in self.lines[typed(key)]:
            self.lines[typed(key)].remove(given_up)
        self.told.discard(given_up)
        self.tell([granted] if granted else [])

    @rule(owner=owners)
    def owner_gone(self, owner: str) -> None:
        granted = self.locks.owner_gone(owner)
        for line in self.lines.values():
            line[:] = [waiting for waiting in line if waiting.owner != owner]
        self.told = {told for told in self.told if told.owner != owner}
        self.tell(granted)

    def tell(self, granted: list[Claim[str]]) -> None:
        assert not self.told & set(granted)
        self.told |= set(granted)

    @invariant()
    def agrees(self) -> None:
        assert self.told == {line[0] for line in self.lines.values() if line}
        assert len(self.locks) == sum(map(len, self.lines.values()))
        for owner in "abc":
            mine = [waiting for line in self.lines.values() for waiting in line if waiting.owner == owner]
            assert sorted(map(repr, self.locks.claims(owner))) == sorted(map(repr, mine))


TestModel = Model.TestCase


class TestMoving:
    """A claim of one party becomes another's, in its place in the line."""

    def test_the_holder(self) -> None:
        locks = queue("a", "b")
        assert locks.moved(claim("k", "a"), "a", "2") == claim("k", "a", "2")
        assert locks.holder("k") == claim("k", "a", "2")
        assert locks.claims("a") == [claim("k", "a", "2")]
        assert locks.release(claim("k", "a")) is None
        assert locks.release(claim("k", "a", "2")) == claim("k", "b")

    def test_one_that_waits(self) -> None:
        locks = queue("a", "b", "c")
        locks.moved(claim("k", "b"), "d", "1")
        assert locks.claims("b") == []
        assert locks.owner_gone("a") == [claim("k", "d")]
        assert locks.owner_gone("d") == [claim("k", "c")]

    def test_to_itself(self) -> None:
        locks = queue("a")
        assert locks.moved(claim("k", "a"), "a", "1") == claim("k", "a")
        assert locks.claims("a") == [claim("k", "a")]

    def test_not_to_a_party_that_has_one(self) -> None:
        locks = queue("a", "b")
        with pytest.raises(ValueError, match=r"'b' has a claim '1' on lock .* of its own"):
            locks.moved(claim("k", "a"), "b", "1")
        assert locks.holder("k") == claim("k", "a")
