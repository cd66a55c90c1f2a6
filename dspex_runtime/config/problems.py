"""What is wrong with a configuration, all of it, each with its place.

Owns the text of every problem: `file:line:col: path.to.key: what was found; what is allowed; did you mean 'x'?`.
Never raises while problems are collected: one pass over a file reports everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from dspex_runtime.errors import ConfigError

__all__ = ["INVALID", "Broken", "EnvText", "Mark", "Path", "Place", "Problems", "show_path", "shown"]

Path: TypeAlias = tuple[str | int, ...]  # keys and list indices from the root

INVALID: Final[Any] = type("Invalid", (), {"__repr__": lambda _: "INVALID"})()  # stands for a value that was reported
MAX_SHOWN: Final = 60  # characters of a wrong value that are printed
_SECRET = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A position in the text, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key and its value are written. Through an alias or a merge key: where the anchor wrote them."""

    key: Mark
    value: Mark


@dataclass(frozen=True, slots=True)
class Broken:
    """A value of a file that could not be read (unset variable, forbidden tag).

    It is reported only when the schema reaches it: an unused `x-` template may name variables that are not set.
    """

    why: str


class EnvText(str):
    """Text into which a `${VAR}` was substituted: a key that takes numbers or booleans may read them from it.

    Attributes:
        plain: It stood without quotes, so data of the user's (args) means what it would mean if it had been typed there.
    """

    __slots__ = ("plain",)
    plain: bool

    def __new__(cls, text: str, *, plain: bool) -> EnvText:
        """Return the text with its mark."""
        self = super().__new__(cls, text)
        self.plain = plain
        return self


@dataclass(slots=True)
class Problems:
    """Collects problems and warnings, and knows where each path is written.

    Attributes:
        source: File name as the user gave it, or "" for dicts (then only the key path is printed).
        places: Where each path is written; empty for dicts.
        elsewhere: Key -> the section it belongs to, for keys written at the wrong level.
    """

    source: str = ""
    places: Mapping[Path, Place] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    paths: list[Path] = field(default_factory=list)  # of the problems so far
    _found: list[tuple[Mark, str]] = field(default_factory=list)
    _warnings: list[tuple[Mark, str]] = field(default_factory=list)

    def add(self, path: Path, text: str, *, at_key: bool = False) -> Any:
        """Record a problem; returns INVALID, so that a check can `return problems.add(...)`."""
        self.paths.append(path)
        self._found.append(self._line(path, text, at_key=at_key))
        return INVALID

    def under(self, path: Path) -> list[Path]:
        """Return the paths at or below this one that are reported: what seems to be missing may be what was wrong."""
        return [reported for reported in self.paths if reported[: len(path)] == path]

    def add_at(self, mark: Mark | None, text: str) -> None:
        """Record a problem of the text itself (syntax), which has no key."""
        where = f"{self.source}:{mark.line}:{mark.column}" if mark else self.source
        self._found.append((mark or Mark(0, 0), f"{where}: {text}"))

    def warn(self, path: Path, text: str) -> None:
        """Record what is legal and probably not meant."""
        self._warnings.append(self._line(path, text, at_key=True))

    def line_of(self, path: Path) -> str:
        """Return "line 12 (tree.children[0])" for a message that points at a second place."""
        place = self.places.get(path)
        return f"line {place.key.line} ({show_path(path)})" if place else show_path(path)

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems, in the order of the file."""
        return tuple(text for _, text in sorted(self._found, key=lambda item: item[0]))

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings, in the order of the file."""
        return tuple(text for _, text in sorted(self._warnings, key=lambda item: item[0]))

    def raise_if_any(self, *, id: str | None = None) -> None:
        """Raise one ConfigError that lists every problem."""
        found = self.problems
        if not found:
            return
        what = self.source or "the configuration"
        message = found[0] if len(found) == 1 else "\n  ".join([f"{len(found)} problems in {what}:", *found])
        raise ConfigError(message, problems=found, id=id)

    def _line(self, path: Path, text: str, *, at_key: bool) -> tuple[Mark, str]:
        known = path
        while known and known not in self.places:
            known = known[:-1]
        place = self.places.get(known)
        if place is None:
            mark, where = Mark(0, 0), self.source
        else:
            mark = place.key if at_key or known != path else place.value
            where = f"{self.source}:{mark.line}:{mark.column}"
        return mark, ": ".join(part for part in (where, show_path(path), text) if part)


def show_path(path: Path) -> str:
    """Return `tree.children[0].limits.memory`."""
    parts = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in path]
    return "".join(parts).removeprefix(".")


def shown(value: object, path: Path = ()) -> str:
    """Return what was found, for people: the value and what it is; never the value of a secret."""
    if any(isinstance(step, str) and _SECRET.search(step) for step in path[-2:]) and not isinstance(
        value, bool | dict | list | None
    ):
        return "a value (not shown)"
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return f"{str(value).lower()} (true/false)"
        case int():
            return f"{_short(value)} (a whole number)"
        case float():
            return f"{value!r} (a number)"
        case str():
            return f"{_short(str.__str__(value))} (text)"
        case Mapping():
            return "a map"
        case list() | tuple():
            return "a list"
        case bytes():
            return "bytes"
        case _:
            return f"a Python object ({type(value).__name__})"


def _short(value: str | int) -> str:
    text = repr(value) if isinstance(value, str) or abs(value) < 10**MAX_SHOWN else "a very large number"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
