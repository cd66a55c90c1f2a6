"""A child that was alone becomes a group: its replicas, which run already, take over what it is, and then its callers.

    its parameters, with their versions  ->  it is held: what runs is finished, what comes waits  ->  all of them take its image
    ->  its id is the group's from now on  ->  it ends, and gives back what has waited: that goes to the replicas

Until its id is the group's, nothing of it has changed and all can be given up; it goes on then. Never looks into an image.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.errors import DspexError, StartError, SupervisorError
from dspex_runtime.node.checkpointing import IMAGE_TIMEOUT_S
from dspex_runtime.node.composites.imaging import Images, close_images, take_images
from dspex_runtime.node.groups import Group
from dspex_runtime.node.operations.answers import erasing
from dspex_runtime.node.registry import Record
from dspex_runtime.node.sharing import give_to
from dspex_runtime.types import Kind

if TYPE_CHECKING:
    from dspex_runtime.node.composites.stillness import Stillness
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.node import Node

__all__ = ["Splitting", "refuse"]

Facts: TypeAlias = dict[str, Any]


def refuse(node: Node, record: Record, n: int) -> None:
    """Raise SupervisorError where a child cannot be split into replicas."""
    id = record.id
    if record.spec.kind is Kind.SUPERVISOR:
        raise SupervisorError("not_a_worker", f"{id!r} is a supervisor: it has no replicas", id=id)
    if record.spec.replica is not None:
        hint = f"scale the group: {record.spec.replica.of}"
        raise SupervisorError("is_a_replica", f"{id!r} is a replica itself", id=id, hint=hint)
    if n < 1:
        hint = f"`dspex stop {id}` stops it"
        raise SupervisorError("no_replicas", f"{id!r} is no group: it can become one of 1 replica or more", id=id, hint=hint)
    if record.spec.register is not None:
        text = f"{id!r} is registered under a key, which names one process: it cannot be several"
        raise SupervisorError("registered", text, id=id, hint="take `register` out of its spec")
    if node.parts.names(id):
        text = f"{id!r} has parts that are processes of their own: they would not go with it"
        raise SupervisorError("has_parts", text, id=id, hint="declare its `replicas`, and reload")
    if id in node.swaps or id in node.compiles or id in {group.id for group in node.registry.groups}:
        raise SupervisorError("busy", f"{id!r} is being swapped, compiled or split", id=id, hint="scale it when that is done")
    if record.process is None or not record.process.serving:
        raise SupervisorError("not_running", f"{id!r} is {record.state}: only what serves can be split", id=id)


class Splitting:
    """One child on its way.

    Args:
        node: The runtime.
        record: The child.
        group: Its replicas, which serve, and which nobody calls yet.
        done: Called once: when the child is gone, or with what prevented it.
    """

    def __init__(self, node: Node, record: Record, group: Group, done: Callable[[DspexError | None], None]) -> None:
        self._node = node
        self._record = record
        self._group = group
        self._done = done
        self._still: Stillness | None = None
        self._missing = 0
        self._fault: Facts | None = None

    def begin(self) -> None:
        """Give its parameters to the replicas; the rest follows."""
        process = self._record.process
        if process is None:
            self._fail({"message": f"it is {self._record.state}"})
        else:
            process.request_fd("shared_values", {}, IMAGE_TIMEOUT_S, self._versions)

    def _versions(self, _value: Any, fault: Facts | None, fd: int | None) -> None:
        if fault is not None or fd is None:
            self._fail(fault or {"message": "it answered without its parameters"})
            return
        give_to(self._processes(), fd, self._record.id, lambda _: self._hold())

    def _hold(self) -> None:
        self._still = self._node.composites.held([self._record], self._held)
        self._still.begin()

    def _held(self, error: DspexError | None) -> None:
        if error is not None or self._still is None:
            self._done(error)
        else:
            take_images(self._still.processes, "scale", self._imaged)

    def _imaged(self, images: Images, fault: Facts | None) -> None:
        processes = self._processes()
        if fault is not None or len(processes) < len(self._group.by_number):
            close_images(images)
            self._fail(fault or {"message": "one of its replicas has ended"})
            return
        self._missing = len(processes)
        for process in processes:
            who = {"who": f"scale of {self._record.id}"}
            process.request("restore", who, IMAGE_TIMEOUT_S, partial(self._restored, process), (os.dup(images[self._record.id]),))
        close_images(images)

    def _restored(self, _process: ModuleProcess, _versions: Any, fault: Facts | None) -> None:
        self._missing -= 1
        self._fault = self._fault or fault
        if self._missing:
            return
        if self._fault is not None:
            self._fail(self._fault)
        else:
            self._flip()

    def _flip(self) -> None:
        """From here on its id is the group's; what waits in it comes back to its callers, who find the group."""
        node, record, group = self._node, self._record, self._group
        node.registry.open_group(group)
        node.replicas.changed(group)
        node.reports.emit("split", record.id, replicas=group.ids)
        tree = node.supervision
        assert tree is not None

        def ended(_value: Any, _error: DspexError | None) -> None:
            self._release()  # of what is kept for the process that is gone
            self._done(None)

        tree.delete(record, erasing(node, record.id, ended))

    def _processes(self) -> list[ModuleProcess]:
        return [record.process for record in self._group.serving if record.process is not None]

    def _release(self) -> None:
        if self._still is not None:
            self._still.release()

    def _fail(self, fault: Facts) -> None:
        self._release()
        id = self._record.id
        self._done(StartError(f"{id!r} was not split, and serves on: {fault.get('message')}", id=id))
