"""What a swap that was committed came to: versions, events, and the facts that its caller gets. Never changes a process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.core.swap_machine import SwapMachine
from dspex_runtime.node.swapping.member import Member

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["Outcome"]

MOVED: Final = ("channels", "queued", "timers")

Facts: TypeAlias = dict[str, Any]


class Outcome:
    """See the module docstring; `machine` has the times."""

    def __init__(self, node: Node, machine: SwapMachine) -> None:
        self._node = node
        self._machine = machine
        self._committed_at = 0.0
        self._facts: dict[str, Facts] = {}

    def committed(self) -> None:
        """The members become what they are to be."""
        self._committed_at = self._node.loop.now()

    def served(self, member: Member, answer: Any) -> None:
        """One of them serves: say so to whoever follows events."""
        view = self._machine.member(member.id)
        took_s = self._node.loop.now() - self._committed_at
        rehearsed, prepared = view.rehearsed or {}, view.prepared or {}
        facts = self._facts[member.id] = {
            "id": member.id,
            "version": member.version,
            "old_version": member.old_version,
            "number": member.number,
            "pid": member.new.process.pid,
            "incarnation": member.new.process.incarnation,
            "seconds": (view.seconds or 0.0) + took_s,
            "rehearsal_s": view.rehearsal_s or 0.0,
            "drain_s": view.drain_s or 0.0,
            "pause_s": (view.pause_s or 0.0) + took_s,
            "migrated": bool(rehearsed.get("migrated")),
            "moved": {name: int(member.packed.get(name, prepared.get(name, 0))) for name in MOVED},
        }
        shown = {key: facts[key] for key in ("version", "old_version", "number", "pid", "seconds", "drain_s", "pause_s", "moved")}
        changed = answer.get("versions") if isinstance(answer, Mapping) else None
        self._node.reports.emit(
            "swapped", member.id, incarnation=facts["incarnation"], **shown, **({"changed": changed} if changed else {})
        )

    def results(self, members: Iterable[Member]) -> list[Facts]:
        """Return the fields of `types.SwapResult` of each."""
        return [self._facts[member.id] | {"number": member.number} for member in members]
