"""What is to be written and was not asked for: notes, configured values, events, journals to fold. Kept until the disk takes it.

Grows with the number of modules and not with time: a later note of an id takes the place of the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from dspex_runtime.state.store import EVENTS_KEPT, Store

__all__ = ["Debts"]

_FOLDS_AT_ONCE: Final = 64  # others wait their turn behind those


class Debts:
    """See the module docstring. One thread at a time."""

    def __init__(self) -> None:
        self._notes: dict[str, dict[str, Any]] = {}
        self._configured: dict[str, dict[str, bytes]] = {}
        self._events: list[bytes] = []
        self._folds: dict[str, None] = {}

    def __bool__(self) -> bool:
        """Whether anything is owed."""
        return bool(self._notes or self._configured or self._events or self._folds)

    def note(self, id: str, facts: Mapping[str, Any]) -> None:
        """Owe facts of the parent about an id."""
        self._notes.setdefault(id, {}).update(facts)

    def configure(self, id: str, values: dict[str, bytes]) -> None:
        """Owe the values that a configuration gave."""
        self._configured[id] = values

    def events(self, events: Iterable[bytes]) -> None:
        """Owe events, the newest ones if there are too many."""
        self._events.extend(events)
        del self._events[:-EVENTS_KEPT]

    def fold(self, id: str) -> None:
        """Owe a journal."""
        self._folds[id] = None

    def owes_fold(self, id: str) -> bool:
        """Return whether a journal is still owed."""
        return id in self._folds

    def drop(self, id: str) -> None:
        """Owe nothing of an id any more."""
        for owed in (self._notes, self._configured, self._folds):
            owed.pop(id, None)

    def pay(self, store: Store, fold: Callable[[str], None]) -> None:
        """Write it. What was written is not owed any more, also when the rest fails.

        Args:
            store: Where to.
            fold: Folds the journal of an id.

        Raises:
            sqlite3.Error, OSError: The disk does not take it.
        """
        if self._notes or self._configured or self._events:
            with store.writing():
                for id, facts in self._notes.items():
                    store.merge_noted(id, facts)
                for id, values in self._configured.items():
                    store.set_configured(id, values)
                store.add_events(self._events)
            self._notes, self._configured, self._events = {}, {}, []
        for id in list(self._folds)[:_FOLDS_AT_ONCE]:
            fold(id)
            del self._folds[id]
