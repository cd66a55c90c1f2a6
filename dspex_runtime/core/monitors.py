"""Who watches which incarnation. Each monitor delivers at most one notice.

Never knows what is alive: whoever adds a monitor for something that is gone delivers "noproc" without asking this table.

Source: OTP monitors (erlang:monitor/2); bound to the incarnation that was there when it was made.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import FullId, Incarnation

Owner = TypeVar("Owner", bound=Hashable)  # a client's connection, another module: whatever ends as a whole


@dataclass(frozen=True, slots=True)
class Monitor(Generic[Owner]):
    """One monitor: `owner` is to be told, under `ref`, when this incarnation of `id` ends."""

    ref: int
    id: FullId
    incarnation: Incarnation
    owner: Owner


@dataclass(frozen=True, slots=True)
class Notice(Generic[Owner]):
    """What is to be delivered for one monitor."""

    owner: Owner
    ref: int
    id: FullId
    incarnation: Incarnation
    reason: ExitReason


class MonitorTable(Generic[Owner]):
    """All monitors of a runtime. Every operation costs the number of monitors it is about, not of those that exist.

    A ref is the owner's: two owners may use the same number, and nobody can remove another's monitor.
    """

    __slots__ = ("_by_owner", "_by_target")

    def __init__(self) -> None:
        # Dicts as ordered sets: notices go out in the order the monitors were made.
        self._by_target: dict[tuple[FullId, Incarnation], dict[tuple[Owner, int], Monitor[Owner]]] = {}
        self._by_owner: dict[Owner, dict[int, Monitor[Owner]]] = {}

    def __len__(self) -> int:
        return sum(len(monitors) for monitors in self._by_owner.values())

    def monitor(self, ref: int, id: FullId, incarnation: Incarnation, owner: Owner) -> None:
        """Add a monitor; several of one owner on one target are independent.

        Raises:
            ValueError: The owner uses this ref already.
        """
        of_owner = self._by_owner.setdefault(owner, {})
        if ref in of_owner:
            raise ValueError(f"{owner!r} has a monitor {ref} already: {of_owner[ref]}")
        monitor = of_owner[ref] = Monitor(ref, id, incarnation, owner)
        self._by_target.setdefault((id, incarnation), {})[owner, ref] = monitor

    def demonitor(self, ref: int, owner: Owner) -> bool:
        """Remove a monitor; no notice of it is made afterwards. Returns whether it was still there."""
        monitor = self._by_owner.get(owner, {}).get(ref)
        if monitor is None:
            return False
        self._forget(monitor)
        return True

    def down(self, id: FullId, incarnation: Incarnation, reason: ExitReason) -> list[Notice[Owner]]:
        """This incarnation ended: return what is to be delivered, in the order the monitors were made, and forget them."""
        monitors = list(self._by_target.get((id, incarnation), {}).values())
        for monitor in monitors:
            self._forget(monitor)
        return [Notice(monitor.owner, monitor.ref, id, incarnation, reason) for monitor in monitors]

    def refs(self, id: FullId, incarnation: Incarnation, owner: Owner) -> list[int]:
        """Return the refs of an owner's monitors on one target, in the order they were made."""
        return [ref for whose, ref in self._by_target.get((id, incarnation), {}) if whose is owner]

    def moved(self, old: Owner, new: Owner) -> None:
        """Give the monitors of one owner to another, each with its ref and its place in the order.

        Raises:
            ValueError: The new owner uses one of the refs.
        """
        of_old, of_new = self._by_owner.get(old, {}), self._by_owner.get(new, {})
        taken = of_old.keys() & of_new.keys()
        if taken:
            raise ValueError(f"{new!r} has monitors {sorted(taken)} of its own")
        for target in {(monitor.id, monitor.incarnation): None for monitor in of_old.values()}:
            monitors = (replace(each, owner=new) if each.owner is old else each for each in self._by_target[target].values())
            self._by_target[target] = {(each.owner, each.ref): each for each in monitors}
        if of_old:
            moved = {ref: replace(monitor, owner=new) for ref, monitor in self._by_owner.pop(old).items()}
            self._by_owner.setdefault(new, {}).update(moved)

    def owner_gone(self, owner: Owner) -> int:
        """Forget all monitors of an owner that ended; return how many there were."""
        monitors = list(self._by_owner.get(owner, {}).values())
        for monitor in monitors:
            self._forget(monitor)
        return len(monitors)

    def _forget(self, monitor: Monitor[Owner]) -> None:
        target = (monitor.id, monitor.incarnation)
        of_target = self._by_target[target]
        del of_target[monitor.owner, monitor.ref]
        if not of_target:
            del self._by_target[target]
        of_owner = self._by_owner[monitor.owner]
        del of_owner[monitor.ref]
        if not of_owner:
            del self._by_owner[monitor.owner]
