"""Ids: what they may look like, full ids, and finding the one a person meant.

A full id is the path from the root supervisor, "sup/sub/id"; children of the root have just their id. "#" is reserved for
replicas ("qa#0"), "." for parameters ("qa.temperature"), "/" for paths, "root" for the root supervisor.
Never knows what runs: only which ids exist.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from dspex_runtime.errors import ConfigError, NoProcessError
from dspex_runtime.types import ChildId, FullId

ROOT: Final = FullId("root")
MAX_ID_CHARS: Final = 100  # ids become file names (255 bytes) with room for a suffix

ID_PATTERN: Final = r"[A-Za-z0-9_][A-Za-z0-9_-]*"

_ID: Final = re.compile(ID_PATTERN, re.ASCII)
_MAX_LISTED: Final = 5


def check_id(text: str) -> ChildId:
    """Return the id if a user may give it to a child.

    Raises:
        ConfigError: Which rule it breaks.
    """
    if _ID.fullmatch(text) is None:
        reserved = {"/": "separates the parts of a full id", "#": "marks replicas", ".": "separates a parameter's name"}
        why = next((f"; {char!r} {meaning}" for char, meaning in reserved.items() if char in text), "")
        raise ConfigError(f"invalid id {text!r}: letters, digits, _ and - are allowed, not starting with -{why}", id=text)
    if len(text) > MAX_ID_CHARS:
        raise ConfigError(f"id {text[:20]!r}... has {len(text)} characters, at most {MAX_ID_CHARS} are allowed", id=text)
    if text == ROOT:
        raise ConfigError(f"id {text!r} is reserved for the root supervisor", id=text)
    return ChildId(text)


def full_id(path: str, id: str) -> str:
    """Return the full id of a child of the supervisor, or of the owner of parts, at a path; "" is the root's."""
    return f"{path}/{id}" if path else str(id)


class NameIndex:
    """All full ids of a runtime, found by full id, or by any tail of it that only one has."""

    __slots__ = ("_by_last", "_ids")

    def __init__(self, ids: Iterable[FullId] = ()) -> None:
        self._ids: set[FullId] = set()
        self._by_last: dict[str, set[FullId]] = {}
        for full_id in ids:
            self.add(full_id)

    def __contains__(self, full_id: object) -> bool:
        return full_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, full_id: FullId) -> None:
        """Add an id; adding it again changes nothing."""
        self._ids.add(full_id)
        self._by_last.setdefault(_last(full_id), set()).add(full_id)

    def discard(self, full_id: FullId) -> None:
        """Forget an id, if it is there."""
        if full_id not in self._ids:
            return
        self._ids.remove(full_id)
        same_last = self._by_last[_last(full_id)]
        same_last.remove(full_id)
        if not same_last:
            del self._by_last[_last(full_id)]

    def resolve(self, text: str) -> FullId:
        """Return the id that is meant: the full id itself, else the only one that ends in "/text".

        Raises:
            NoProcessError: There is none; the hint names near misses.
            ConfigError: There are several; the text lists them.

        Cost: constant for a full id, else the number of children with the same last part.
        """
        full_id = FullId(text)
        if full_id in self._ids:
            return full_id
        found = sorted(candidate for candidate in self._by_last.get(_last(text), ()) if candidate.endswith(f"/{text}"))
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"{text!r} is ambiguous: {_listed(found)}; use the full id", id=text)
        near = self._near(text)
        if text == "root":
            hint = "the root supervisor is the whole tree: `dspex tree` shows it, `dspex down` stops it"
            raise NoProcessError("'root' is not a child", id=text, hint=hint)
        hint = f"did you mean {_listed(near)}?" if near else f"known ids: {_listed(sorted(self._ids))}"
        raise NoProcessError(f"no such id: {text!r}", id=text, hint=hint)

    def _near(self, text: str) -> list[FullId]:
        """Return ids that look like the text as a whole, then those whose last part does."""
        found = difflib.get_close_matches(text, self._ids, n=_MAX_LISTED)
        for last in difflib.get_close_matches(_last(text), self._by_last, n=_MAX_LISTED):
            found += sorted(self._by_last[last].difference(found))
        return [FullId(full_id) for full_id in found]


def _last(text: str) -> str:
    return text.rpartition("/")[2]


def _listed(ids: Sequence[str]) -> str:
    if not ids:
        return "none"
    more = f" and {len(ids) - _MAX_LISTED} more" if len(ids) > _MAX_LISTED else ""
    return ", ".join(ids[:_MAX_LISTED]) + more
