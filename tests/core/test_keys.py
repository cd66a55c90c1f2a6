"""Keys, as Elixir's Registry has them (otp-semantics §2.8), held against a list of entries by Hypothesis."""

from __future__ import annotations

import enum
import itertools
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dspex_runtime.core.keys import ANY, MAX_DEPTH, Entry, Holder, KeyTable, matches, typed
from dspex_runtime.errors import ConfigError, RegistryError
from dspex_runtime.types import FullId, Incarnation


def holder(id: str, incarnation: int = 1) -> Holder:
    return Holder(FullId(id), Incarnation(incarnation))


A, A2, B = holder("a"), holder("a", 2), holder("b")


class Word(enum.StrEnum):
    """Text, and yet no key."""

    X = "x"


class Pair(NamedTuple):
    """A tuple, and yet no key."""

    one: int


def living(_: Holder) -> bool:
    return True


def dead(_: Holder) -> bool:
    return False


def table(*entries: tuple[Any, Holder, Any, bool]) -> KeyTable:
    keys = KeyTable()
    for key, owner, value, unique in entries:
        keys.register(key, owner, value, unique=unique, alive=living)
    return keys


def seen(entries: list[Entry]) -> list[tuple[Any, str, Any]]:
    return [(entry.key, entry.holder.id, entry.value) for entry in entries]


class TestKeysAreComparedStrictly:
    """1 and 1.0 differ."""

    LIKE_ONE = (1, 1.0, True, "1", b"1", (1,), ((1,),), (1.0,), (True,), None, 0, 0.0, -0.0, False, "", b"", (), ((),))

    @pytest.mark.parametrize(("one", "other"), list(itertools.combinations(LIKE_ONE, 2)), ids=repr)
    def test_by_type_and_value(self, one: Any, other: Any) -> None:
        assert typed(one) != typed(other)

    @pytest.mark.parametrize("key", LIKE_ONE, ids=repr)
    def test_and_each_is_found_again(self, key: Any) -> None:
        keys = table(*((other, A, repr(other), True) for other in self.LIKE_ONE))
        assert [entry.value for entry in keys.lookup(key)] == [repr(key)]
        assert keys.keys(A) == list(self.LIKE_ONE)

    @pytest.mark.parametrize(
        ("key", "text"),
        [
            (float("nan"), "found NaN"),
            ([1], r"found \[1\], a list"),
            ({"a": 1}, "a dict"),
            ({1}, "a set"),
            (Word.X, "a Word"),
            (Pair(1), "a Pair"),
            ((1, [2]), r"found \[2\], a list in \(1, \[2\]\); a key is a str, int"),
            (object, "a type"),
        ],
    )
    def test_what_is_no_key_is_refused_with_what_is(self, key: Any, text: str) -> None:
        with pytest.raises(ConfigError, match=text):
            typed(key)

    def test_a_key_is_not_nested_without_end(self) -> None:
        key: Any = 1
        for _ in range(MAX_DEPTH):
            key = (key,)
        assert typed(key)
        with pytest.raises(ConfigError, match="16 levels of tuples"):
            typed((key,))


class TestUniqueKeys:
    """0 or 1 process per key."""

    def test_a_second_holder_is_told_who_holds_it(self) -> None:
        keys = table(("k", A, 1, True))
        with pytest.raises(RegistryError, match=r"key 'k' is registered already: 'a' \(incarnation 1\) holds it") as caught:
            keys.register("k", B, 2, unique=True, alive=living)
        assert (caught.value.code, caught.value.holder) == ("already_registered", "a")
        assert seen(keys.lookup("k")) == [("k", "a", 1)]

    @pytest.mark.parametrize("unique", [True, False])
    def test_reregister_by_the_same_owner_is_an_error_too(self, unique: bool) -> None:
        keys = table(("k", A, 1, True))
        with pytest.raises(RegistryError) as caught:
            keys.register("k", A, 1, unique=unique, alive=living)
        assert caught.value.code == "already_registered"

    def test_a_key_held_by_a_dead_process_is_registered_at_once(self) -> None:
        keys = table(("k", A, 1, True), ("other", A, 1, True))
        keys.register("k", B, 2, unique=True, alive=lambda owner: owner != A)
        assert seen(keys.lookup("k")) == [("k", "b", 2)]
        assert seen(keys.release(A)) == [("other", "a", 1)]

    def test_whereis_filters_dead_processes(self) -> None:
        keys = table(("k", A, 1, True))
        assert keys.whereis("k", living) == A
        assert keys.whereis("k", dead) is None
        assert keys.whereis("nobody", living) is None


class TestDuplicateKeys:
    """n entries, the same process may repeat."""

    def test_entries_are_kept_in_the_order_they_came(self) -> None:
        keys = table(("k", A, 1, False), ("k", B, 2, False), ("k", A, 1, False))
        assert seen(keys.lookup("k")) == [("k", "a", 1), ("k", "b", 2), ("k", "a", 1)]
        assert keys.keys(A) == ["k", "k"]
        assert (keys.count("k"), keys.values("k", A)) == (3, [1, 1])

    def test_via_raises(self) -> None:
        with pytest.raises(RegistryError, match="registered as duplicate, by 1 entries: it names no single process") as caught:
            table(("k", A, 1, False)).whereis("k", living)
        assert caught.value.code == "duplicate_key"

    def test_update_value_is_unsupported(self) -> None:
        with pytest.raises(RegistryError) as caught:
            table(("k", A, 1, False)).update_value("k", A, 2)
        assert caught.value.code == "duplicate_key"

    def test_a_key_is_one_or_the_other_while_it_has_entries(self) -> None:
        keys = table(("k", A, 1, False))
        with pytest.raises(RegistryError, match="cannot be unique as well") as caught:
            keys.register("k", B, 2, unique=True, alive=living)
        assert (caught.value.code, caught.value.holder) == ("duplicate_key", "a")
        keys.release(A)
        assert keys.register("k", B, 2, unique=True, alive=living).unique

    def test_dead_holders_do_not_keep_a_key_duplicate(self) -> None:
        keys = table(("k", A, 1, False), ("k", A, 2, False))
        keys.register("k", B, 2, unique=True, alive=lambda owner: owner != A)
        assert seen(keys.select()) == [("k", "b", 2)]


class TestUpdateValue:
    """Only by the owner."""

    def test_replaces_the_value(self) -> None:
        keys = table(("k", A, 1, True))
        assert keys.update_value("k", A, 2)
        assert seen(keys.lookup("k")) == [("k", "a", 2)]
        assert keys.keys(A) == ["k"]

    @pytest.mark.parametrize(
        ("key", "text"), [("k", r"'b' \(incarnation 1\) holds it, not 'a' \(incarnation 1\)"), ("no", "nobody holds it, not 'a'")]
    )
    def test_by_anybody_else_is_refused(self, key: str, text: str) -> None:
        with pytest.raises(RegistryError, match=text) as caught:
            table(("k", B, 1, True)).update_value(key, A, 2)
        assert caught.value.code == "not_registered"

    def test_an_older_incarnation_is_somebody_else(self) -> None:
        with pytest.raises(RegistryError):
            table(("k", A2, 1, True)).update_value("k", A, 2)

    def test_a_value_made_from_an_outdated_one_is_not_taken(self) -> None:
        keys = table(("k", A, 1, True))
        read = keys.lookup("k")[0].revision
        assert keys.update_value("k", None, 2, read)
        assert not keys.update_value("k", None, 3, read)
        assert seen(keys.lookup("k")) == [("k", "a", 2)]


class TestUnregister:
    """Removes all own entries of the key."""

    def test_and_nobody_elses(self) -> None:
        keys = table(("k", A, 1, False), ("k", B, 2, False), ("k", A, 3, False), ("other", A, 4, True))
        assert seen(keys.unregister("k", A)) == [("k", "a", 1), ("k", "a", 3)]
        assert seen(keys.select()) == [("k", "b", 2), ("other", "a", 4)]

    def test_of_a_key_not_held_is_no_error(self) -> None:
        keys = table(("k", A, 1, True))
        assert keys.unregister("k", B) == []
        assert keys.unregister("nobody") == []

    def test_match_removes_those_whose_value_fits(self) -> None:
        keys = table(("k", A, {"n": 1, "x": 0}, False), ("k", A, {"n": 2}, False))
        assert seen(keys.unregister("k", A, {"n": 1})) == [("k", "a", {"n": 1, "x": 0})]
        assert keys.count("k") == 1


class TestNamesVanishWithTheProcess:
    """All of one incarnation's, and only those."""

    def test_release_returns_what_is_free_now(self) -> None:
        keys = table((1, A, "x", True), ("k", A, "y", False), ("k", B, "z", False), (2, A2, "w", True))
        assert seen(keys.release(A)) == [(1, "a", "x"), ("k", "a", "y")]
        assert keys.release(A) == []
        assert seen(keys.select()) == [("k", "b", "z"), (2, "a", "w")]


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        (ANY, None, True),
        (None, None, True),
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        ("a", "a", True),
        ({}, {"a": 1}, True),
        ({}, None, False),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, True),
        ({"a": ANY}, {"a": 5}, True),
        ({"a": ANY}, {}, False),
        ((1, ANY), (1, 2), True),
        ((1,), [1], False),
        ([1, {"a": 1}], [1, {"a": 1, "b": 2}], True),
        ([1], [1, 2], False),
    ],
)
def test_match_and_select_by_value(pattern: Any, value: Any, fits: bool) -> None:
    assert matches(pattern, value) is fits
    keys = table(("k", A, value, False), ("k", B, object(), False))
    assert keys.count("k", pattern) == fits + (pattern is ANY)
    assert [entry.holder for entry in keys.select(A, pattern)] == [A] * fits


KEYS = st.recursive(
    st.sampled_from([0, 1, True, False, 1.0, 0.0, -0.0, "1", b"1", None]),
    lambda inner: st.tuples(inner) | st.tuples(inner, inner),
    max_leaves=3,
)


@given(KEYS, KEYS)
def test_typed_keys_are_equal_when_type_and_value_are_everywhere(one: Any, other: Any) -> None:
    # repr tells all of these apart, and nothing else does.
    assert (typed(one) == typed(other)) is (repr(one) == repr(other))


class Model(RuleBasedStateMachine):
    """A KeyTable and a plain list of (key, holder, value, unique)."""

    few_keys = st.sampled_from([1, 1.0, True, "k", ("k", 1)])
    holders = st.sampled_from([A, A2, B])

    def __init__(self) -> None:
        super().__init__()
        self.keys = KeyTable()
        self.entries: list[tuple[Any, Holder, int, bool]] = []
        self.values = itertools.count()

    def of(self, key: Any) -> list[tuple[Any, Holder, int, bool]]:
        return [entry for entry in self.entries if typed(entry[0]) == typed(key)]

    @rule(key=few_keys, owner=holders, unique=st.booleans(), gone=st.sampled_from([None, A, A2, B]))
    def register(self, key: Any, owner: Holder, unique: bool, gone: Holder | None) -> None:
        value = next(self.values)
        there = self.of(key)
        if unique or any(entry[3] for entry in there):
            self.entries = [entry for entry in self.entries if entry not in there or entry[1] != gone]
        try:
            self.keys.register(key, owner, value, unique=unique, alive=lambda other: other != gone)
        except RegistryError:
            there = self.of(key)
            assert there
            assert unique or there[0][3]
        else:
            assert not (self.of(key) and (unique or self.of(key)[0][3]))
            self.entries.append((key, owner, value, unique))

    @rule(key=few_keys, owner=holders)
    def unregister(self, key: Any, owner: Holder) -> None:
        removed = self.keys.unregister(key, owner)
        mine = [entry for entry in self.of(key) if entry[1] == owner]
        assert [entry.value for entry in removed] == [entry[2] for entry in mine]
        self.entries = [entry for entry in self.entries if entry not in mine]

    @rule(key=few_keys, owner=holders)
    def update(self, key: Any, owner: Holder) -> None:
        value = next(self.values)
        there = self.of(key)
        if len(there) == 1 and there[0][3] and there[0][1] == owner:
            assert self.keys.update_value(key, owner, value)
            self.entries[self.entries.index(there[0])] = (key, owner, value, True)
        else:
            with pytest.raises(RegistryError):
                self.keys.update_value(key, owner, value)

    @rule(owner=holders)
    def release(self, owner: Holder) -> None:
        freed = self.keys.release(owner)
        assert [entry.value for entry in freed] == [entry[2] for entry in self.entries if entry[1] == owner]
        self.entries = [entry for entry in self.entries if entry[1] != owner]

    @invariant()
    def agrees(self) -> None:
        assert len(self.keys) == len(self.entries)
        for key in (1, 1.0, True, "k", ("k", 1)):
            there = [(entry.holder, entry.value, entry.unique) for entry in self.keys.lookup(key)]
            assert there == [entry[1:] for entry in self.of(key)]
            assert sum(unique for _, _, unique in there) in ((0,) if len(there) != 1 else (0, 1))
        for owner in (A, A2, B):
            assert sorted(map(repr, self.keys.keys(owner))) == sorted(repr(entry[0]) for entry in self.entries if entry[1] == owner)


TestModel = Model.TestCase
