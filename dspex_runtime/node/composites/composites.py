"""Which children are owners with parts, for whoever takes them as one; who holds them, and who waits for one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.core.launch_map import to_map
from dspex_runtime.errors import DspexError
from dspex_runtime.node.checkpointing import Done
from dspex_runtime.node.composites.saving import Saving
from dspex_runtime.node.composites.stillness import Stillness, callers_first
from dspex_runtime.node.module_process import ModuleProcess

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["Composites"]

DRAIN_S: Final = 5.0  # of an owner that is killed when it is stopped: it has no drain of its own


class Composites:
    """See the module docstring."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._coming: list[Stillness] = []  #: that are not decided
        self._waiting: list[tuple[str, Callable[[], None]]] = []
        node.registry.on_change.append(self._changed)

    def members(self, record: Record) -> list[Record]:
        """Return the record of an owner, and those of what is below it in the order of their declarations; or it alone."""
        return [record, *self._node.parts.below(record.id)]

    def launches(self, id: str) -> dict[str, LaunchSpec]:
        """Return what an owner's own parts are made of, by the names that it has for them, all of them to be in one process."""
        found = {name: self._node.registry.get(f"{id}/{name}") for name in self._node.parts.names(id)}
        return {
            name: replace(record.spec.launch, inline={inner: to_map(launch) for inner, launch in self.launches(record.id).items()})
            for name, record in found.items()
            if record is not None and record.spec.launch is not None
        }

    def save(self, process: ModuleProcess, kind: str, done: Done) -> None:
        """Take a checkpoint of a running module, with its parts if it has any."""
        record = self._node.registry.get(process.id)
        members = [] if record is None else self.members(record)
        if len(members) > 1:
            Saving(self._node, members, kind, done).begin()
        else:
            self._node.checkpointing.take(process, kind, done)

    def held(self, records: Sequence[Record], done: Callable[[DspexError | None], None]) -> Stillness:
        """Return what holds an owner, which is the first of the records, and its parts; it only has to `begin`."""
        owner, *below = records
        shutdown = owner.spec.shutdown
        drain_s = DRAIN_S if shutdown.brutal else shutdown.drain_s
        still = Stillness(self._node, callers_first(owner, below), drain_s=drain_s, done=done, over=self._coming.remove)
        self._coming.append(still)
        return still

    def when_settled(self, id: str, done: Callable[[], None]) -> None:
        """Call `done` when a child serves, or is gone; now, if so."""
        self._waiting.append((id, done))
        self._look(id)

    def _look(self, id: str) -> None:
        record = self._node.registry.get(id)
        if record is None or record.gone or (record.process is not None and record.process.serving):
            settled = [each for each in self._waiting if each[0] == id]
            self._waiting = [each for each in self._waiting if each[0] != id]
            for _, done in settled:
                done()

    def _changed(self, record: Record) -> None:
        for still in list(self._coming):
            still.changed(record)
        if self._waiting:
            self._look(record.id)
