"""From a journal to rows: what a run of records comes to, and that written in one transaction with how far it was read.

Reading the same records twice changes nothing. Only what is kept is written: of ten thousand sets of one name, the last hundred.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dspex_runtime.params import journal
from dspex_runtime.state.store import EXECUTIONS_KEPT, HISTORY_KEPT, Store, Version

__all__ = ["Folded", "fold", "gather"]

PART_BYTES: Final = 16 * 2**20  # so much of a journal is taken into memory at a time

Record = tuple[int, list[Any]]  # (position behind it, payload)


@dataclass(slots=True)
class Folded:
    """What some records of one journal come to."""

    position: int = 0
    sets: dict[str, deque[tuple[Version, bytes]]] = field(default_factory=dict)  #: by name; version and annex
    executions: deque[Any] = field(default_factory=lambda: deque(maxlen=EXECUTIONS_KEPT))
    facts: dict[str, Any] = field(default_factory=dict)

    def take(self, position: int, payload: list[Any]) -> None:
        """Take one record; kinds and shapes of a later version are passed over."""
        self.position = position
        match payload:
            case [journal.SET, str(name), int(version), float(when), str(who), data, annex, removed, *_]:
                entries = self.sets.setdefault(name, deque(maxlen=HISTORY_KEPT))
                entries.append((Version(version, when, who, bytes(data or b""), bool(removed)), bytes(annex or b"")))
            case [journal.EXECUTIONS, _, list(executions), *totals]:
                self.executions.extend(executions)
                if totals and isinstance(totals[0], dict):
                    self.facts["metrics"] = totals[0]
            case [journal.FACTS, _, dict(facts), *_]:
                self.facts |= facts


def gather(records: Iterable[Record], *, part_bytes: int) -> Iterator[Folded]:
    """Yield what the records come to, in parts whose bytes stay below a bound."""
    part, size = Folded(), 0
    for position, payload in records:
        part.take(position, payload)
        size += sum(len(item) for item in payload if isinstance(item, bytes))
        if size >= part_bytes:
            yield part
            part, size = Folded(), 0
    if part.position:
        yield part


def fold(store: Store, id: str, directory: Path, report: Callable[[str], None], *, part_bytes: int = PART_BYTES) -> int:
    """Take what the journal of an id has beyond what is stored; return up to where it is stored then.

    Each part is a transaction: after a crash it is all there, or read again. What cannot be read is reported and left out.

    Raises:
        sqlite3.Error: It could not be written.
        OSError: The journal could not be read.
    """
    position = store.folded(id)
    for part in gather(journal.tail(directory, position, on_damage=report), part_bytes=part_bytes):
        with store.writing():
            write(store, id, part)
        position = part.position
    return position


def write(store: Store, id: str, part: Folded) -> None:
    """Write one part, inside a transaction."""
    for name, entries in part.sets.items():
        for entry, annex in entries:
            store.set(id, name, entry, annex)
        store.prune_history(id, name)
    if part.executions:
        store.add_executions(id, part.executions)
        store.prune_executions(id)
    if part.facts:
        configured = part.facts.pop("configured", None)
        if isinstance(configured, dict):
            store.set_configured(id, configured)
        store.merge_facts(id, part.facts)
    store.set_folded(id, part.position)
