"""Who watches which parameters: the patterns that users write, and the table of those who wrote them. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Generic, TypeVar

_WILD: Final = frozenset("*?[")

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which parameters: with an `id` those of one module whose name fits, else all whose "id.name" does.

    `*`, `?` and `[...]` as in file names, and `*` takes dots, too; a text that is exactly the name fits whatever is in it. A module
    below a supervisor is known by its full id and by the last part of it.
    """

    text: str
    id: str | None = None

    @classmethod
    def of(cls, text: str) -> Pattern:
        """Return the pattern a user wrote; an id alone means everything of that module."""
        return cls(text if "." in text or not _WILD.isdisjoint(text) else f"{text}.*")

    def matches(self, id: str, name: str) -> bool:
        """Return whether a parameter is meant."""
        if self.id is not None:
            return id == self.id and _fits(self.text, name)
        if _fits(self.text, f"{id}.{name}"):
            return True
        return "/" in id and "/" not in self.text and _fits(self.text, f"{_last(id)}.{name}")

    def concerns(self, id: str) -> bool:
        """Return False only when no parameter of that module can be meant."""
        if self.id is not None:
            return id == self.id
        begin = self.text[: next((at for at, char in enumerate(self.text) if char in _WILD), None)]
        of, dot, _ = begin.partition(".")
        called = (id, _last(id)) if "/" not in self.text else (id,)
        return any(name == of if dot else name.startswith(begin) for name in called)

    def names(self) -> list[str]:
        """Return patterns of names alone, for fnmatch: in a module that is concerned, each name that is meant fits one of them."""
        if self.id is not None:
            return _spelled(self.text)
        of, dot, name = self.text.partition(".")
        if not dot or "[" in of:  # "[.]" is a dot, too
            return ["*"]
        return _spelled(name) if _WILD.isdisjoint(of) else [*_spelled(name), *_spelled(f"*.{name}")]


def _fits(pattern: str, text: str) -> bool:
    # "predictors[0]" is a name before it is a pattern.
    return pattern == text or fnmatchcase(text, pattern)


def _spelled(pattern: str) -> list[str]:
    """Return what takes with fnmatch alone all that `_fits`."""
    return [pattern, pattern.replace("[", "[[]")] if "[" in pattern else [pattern]


def _last(id: str) -> str:
    return id.rpartition("/")[2]


class Watchers(Generic[S]):
    """Who watches what. A subscriber is any hashable value, with one pattern."""

    def __init__(self) -> None:
        self._of_module: dict[str, dict[S, Pattern]] = {}
        self._wide: dict[S, Pattern] = {}
        self._patterns: dict[S, Pattern] = {}

    def __len__(self) -> int:
        return len(self._patterns)

    def __contains__(self, subscriber: object) -> bool:
        return subscriber in self._patterns

    def __iter__(self) -> Iterator[S]:
        return iter(list(self._patterns))

    def add(self, subscriber: S, pattern: Pattern) -> None:
        """Add a subscriber; one that is there already gets the new pattern instead of its own."""
        self.remove(subscriber)
        self._patterns[subscriber] = pattern
        self._place(pattern)[subscriber] = pattern

    def remove(self, subscriber: S) -> Pattern | None:
        """Remove a subscriber and return its pattern; None when it was none."""
        pattern = self._patterns.pop(subscriber, None)
        if pattern is not None:
            place = self._place(pattern)
            del place[subscriber]
            if not place and pattern.id is not None:
                del self._of_module[pattern.id]
        return pattern

    def _place(self, pattern: Pattern) -> dict[S, Pattern]:
        return self._wide if pattern.id is None else self._of_module.setdefault(pattern.id, {})

    def of(self, id: str, name: str) -> list[S]:
        """Return who is told of a parameter's change, in the order in which they came."""
        own = self._of_module.get(id, {})
        return [who for place in (own, self._wide) for who, pattern in place.items() if pattern.matches(id, name)]

    def pattern(self, subscriber: S) -> Pattern | None:
        """Return what a subscriber watches; None for one that is none."""
        return self._patterns.get(subscriber)

    def concerned(self, id: str) -> list[S]:
        """Return who may be told of a parameter of a module."""
        wide = [who for who, pattern in self._wide.items() if pattern.concerns(id)]
        return [*self._of_module.get(id, {}), *wide]

    def wanted(self, id: str) -> list[str]:
        """Return the names, or patterns of them, that a module is to tell of; none when nobody watches it."""
        own = self._of_module.get(id, {}).values()
        wide = [pattern for pattern in self._wide.values() if pattern.concerns(id)]
        return list(dict.fromkeys(name for pattern in (*own, *wide) for name in pattern.names()))
