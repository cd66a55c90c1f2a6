"""Keys under which processes are registered: who holds which, with which value. Elixir's Registry, without its processes.

A key is unique (one holder) or duplicate (any number of entries, also several of one holder) while it has entries. Keys are
compared with their type. Entries belong to one incarnation. Never knows what runs: liveness is asked of the caller.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from dspex_runtime.errors import ConfigError, RegistryError
from dspex_runtime.types import FullId, Incarnation

__all__ = ["ALLOWED", "ANY", "Entry", "Holder", "KeyTable", "TypedKey", "matches", "typed"]

ALLOWED: Final = "str, int, float (not NaN), bool, None, bytes, or a tuple of these"
MAX_DEPTH: Final = 16  # tuples in tuples; far below what the wire carries
MAX_SHOWN: Final = 60  # characters of a key in a message

TypedKey: TypeAlias = tuple[Any, ...]

_PLAIN: Final = frozenset({str, int, bool, type(None), bytes})


class _Any:
    """The pattern that every value matches; None is a value."""

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = _Any()


def typed(key: Any) -> TypedKey:
    """Return the form in which keys are compared: 1, 1.0, True, "1", b"1" and (1,) all differ, as do 0.0 and -0.0 (OTP 27).

    Raises:
        ConfigError: Something in it is no key: a subclass (an enum, a named tuple) is not one either.
    """
    return _typed(key, key, 0)


def _typed(part: Any, key: Any, depth: int) -> TypedKey:
    kind = type(part)
    if kind is tuple and depth < MAX_DEPTH:
        return ("tuple", *(_typed(item, key, depth + 1) for item in part))
    if kind is float and part == part:
        return ("float", part.hex())
    if kind in _PLAIN:
        return (kind.__name__, part)
    if kind is tuple:
        raise ConfigError(f"a key may have {MAX_DEPTH} levels of tuples, {show(key)} has more")
    found = "NaN" if kind is float else f"{show(part)}, a {kind.__qualname__}"
    where = "" if part is key else f" in {show(key)}"
    raise ConfigError(f"found {found}{where}; a key is a {ALLOWED}")


def show(value: Any, max_chars: int = MAX_SHOWN) -> str:
    """Return a key, or what was to be one, for a message: bounded, and whatever it is."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__qualname__} nested too deep to be shown"
    return text if len(text) <= max_chars else text[: max_chars - 3] + "..."


def matches(pattern: Any, value: Any) -> bool:
    """Return whether a value fits: a dict by the pairs that are named, lists and tuples item by item, all else by type and value.

    `ANY` fits everything.
    """
    if pattern is ANY:
        return True
    if type(pattern) is not type(value):
        return False
    if isinstance(pattern, dict):
        return all(key in value and matches(item, value[key]) for key, item in pattern.items())
    if isinstance(pattern, list | tuple):
        return len(pattern) == len(value) and all(map(matches, pattern, value))
    return bool(pattern == value)


@dataclass(frozen=True, slots=True)
class Holder:
    """One incarnation of one child."""

    id: FullId
    incarnation: Incarnation

    def __str__(self) -> str:
        return f"{self.id!r} (incarnation {self.incarnation})"


@dataclass(frozen=True, slots=True)
class Entry:
    """One registration. `revision` counts its values: it tells whether a value that was read is still the newest."""

    key: Any
    holder: Holder
    value: Any
    unique: bool
    number: int
    revision: int = 0


class KeyTable:
    """All entries, in the order they were made."""

    __slots__ = ("_by_holder", "_by_key", "_numbers")

    def __init__(self) -> None:
        self._by_key: dict[TypedKey, dict[int, Entry]] = {}
        self._by_holder: dict[Holder, dict[int, TypedKey]] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    # -- changes ----------------------------------------------------------------------------------------------------

    def register(self, key: Any, holder: Holder, value: Any, *, unique: bool, alive: Callable[[Holder], bool]) -> Entry:
        """Add an entry. What a dead process holds is no obstacle.

        Raises:
            RegistryError: "already_registered", with the holder: the key is unique and held, be it by the same process; or
                "duplicate_key": a unique entry is wanted of a key that has duplicate ones.
        """
        name = typed(key)
        there = self._by_key.get(name, {})
        if unique or any(entry.unique for entry in there.values()):
            for entry in [entry for entry in there.values() if not alive(entry.holder)]:
                self._remove(name, entry)
            for entry in there.values():
                raise _taken(entry)
        number = next(self._numbers)
        entry = Entry(key, holder, value, unique, number)
        self._by_key.setdefault(name, {})[number] = entry
        self._by_holder.setdefault(holder, {})[number] = name
        return entry

    def unregister(self, key: Any, holder: Holder | None = None, match: Any = ANY) -> list[Entry]:
        """Remove a holder's entries of a key (None: everybody's) whose value fits; return them. None to remove is no error."""
        removed = self.lookup(key, holder, match)
        for entry in removed:
            self._remove(typed(key), entry)
        return removed

    def update_value(self, key: Any, holder: Holder | None, value: Any, revision: int | None = None) -> bool:
        """Give a unique entry another value; False when the value is no longer the one that was read as `revision`.

        Args:
            key: The key.
            holder: Who must hold it; None: whoever does.
            value: The new value.
            revision: The entry's revision the new value was made from; None: whatever it is.

        Raises:
            RegistryError: "not_registered": the holder does not hold it; "duplicate_key".
        """
        entry = self._one(key)
        if entry is None or holder not in (None, entry.holder):
            raise _not_held(key, holder, entry)
        if revision not in (None, entry.revision):
            return False
        self._by_key[typed(key)][entry.number] = replace(entry, value=value, revision=entry.revision + 1)
        return True

    def release(self, holder: Holder) -> list[Entry]:
        """A process ended: remove all its entries and return them."""
        names = dict(self._by_holder.get(holder, {}))
        entries = [self._by_key[name][number] for number, name in names.items()]
        for entry, name in zip(entries, names.values(), strict=True):
            self._remove(name, entry)
        return entries

    # -- looks ------------------------------------------------------------------------------------------------------

    def whereis(self, key: Any, alive: Callable[[Holder], bool]) -> Holder | None:
        """Return the living holder of a unique key.

        Raises:
            RegistryError: "duplicate_key": the key names no single process.
        """
        entry = self._one(key)
        return entry.holder if entry is not None and alive(entry.holder) else None

    def lookup(self, key: Any, holder: Holder | None = None, match: Any = ANY) -> list[Entry]:
        """Return the entries of a key, of one holder or of all, whose value fits."""
        return _fitting(self._by_key.get(typed(key), {}).values(), holder, match)

    def select(self, holder: Holder | None = None, match: Any = ANY) -> list[Entry]:
        """Return the entries of all keys, of one holder or of all, whose value fits."""
        return _fitting((entry for entries in self._by_key.values() for entry in entries.values()), holder, match)

    def keys(self, holder: Holder) -> list[Any]:
        """Return the keys a process holds, a key of several entries so many times."""
        return [self._by_key[name][number].key for number, name in self._by_holder.get(holder, {}).items()]

    def values(self, key: Any, holder: Holder) -> list[Any]:
        """Return the values of a process's entries of a key."""
        return [entry.value for entry in self.lookup(key, holder)]

    def count(self, key: Any, match: Any = ANY) -> int:
        """Return how many entries of a key fit."""
        return len(self.lookup(key, match=match))

    def _one(self, key: Any) -> Entry | None:
        for entry in self._by_key.get(typed(key), {}).values():
            if not entry.unique:
                text = f"key {show(key)} is registered as duplicate, by {self.count(key)} entries: it names no single process"
                raise RegistryError("duplicate_key", text, hint="lookup(key) returns all its holders")
            return entry
        return None

    def _remove(self, name: TypedKey, entry: Entry) -> None:
        of_key, of_holder = self._by_key[name], self._by_holder[entry.holder]
        del of_key[entry.number], of_holder[entry.number]
        if not of_key:
            del self._by_key[name]
        if not of_holder:
            del self._by_holder[entry.holder]


def _fitting(entries: Iterable[Entry], holder: Holder | None, match: Any) -> list[Entry]:
    return [entry for entry in entries if holder in (None, entry.holder) and matches(match, entry.value)]


def _taken(entry: Entry) -> RegistryError:
    if entry.unique:
        text = f"key {show(entry.key)} is registered already: {entry.holder} holds it"
        return RegistryError("already_registered", text, holder=entry.holder.id)
    text = f"key {show(entry.key)} is registered as duplicate, first by {entry.holder}: it cannot be unique as well"
    return RegistryError("duplicate_key", text, holder=entry.holder.id)


def _not_held(key: Any, holder: Holder | None, entry: Entry | None) -> RegistryError:
    who = "nobody" if entry is None else str(entry.holder)
    asked = "" if holder is None else f", not {holder}"
    text = f"key {show(key)}: {who} holds it{asked}"
    return RegistryError("not_registered", text, holder=None if entry is None else entry.holder.id)
