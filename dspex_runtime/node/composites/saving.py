"""One checkpoint of an owner with its parts: all of them held in one moment, and stored in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.errors import DspexError
from dspex_runtime.node.checkpointing import Done
from dspex_runtime.node.composites.imaging import Images, take_images
from dspex_runtime.node.composites.stillness import Stillness
from dspex_runtime.node.peer import PLAIN
from dspex_runtime.wire.faults import to_fault

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["Saving", "fault_of"]

Facts: TypeAlias = dict[str, Any]


class Saving:
    """See the module docstring.

    Args:
        node: The runtime.
        records: Of the owner, and of what is below it.
        kind: Why, see `types.CheckpointInfo.kind`.
        done: Gets what it is, once it is on the disk, or why there is none: CheckpointError "busy" when they did not come to rest.
    """

    def __init__(self, node: Node, records: Sequence[Record], kind: str, done: Done) -> None:
        self._node = node
        self._ids = [record.id for record in records]
        self._kind = kind
        self._done = done
        self._still: Stillness = node.composites.held(records, self._held)

    def begin(self) -> None:
        """Hold them; the rest follows."""
        self._still.begin()

    def _held(self, error: DspexError | None) -> None:
        if error is not None:
            self._done(None, fault_of(error))
        else:
            take_images(self._still.processes, self._kind, self._imaged)

    def _imaged(self, images: Images, fault: Facts | None) -> None:
        self._still.release()
        if fault is not None:
            self._done(None, fault)
        else:
            owner, *parts = self._ids
            process, own = self._still.processes[owner], images[owner]
            self._node.checkpointing.store(process, self._kind, own, self._done, {id: images[id] for id in parts if id in images})


def fault_of(error: DspexError) -> Facts:
    """Return an error of ours as what a process would have answered."""
    error.__traceback__ = None
    return to_fault(error, id=error.id, incarnation=None, codec=PLAIN)
