"""Images given to processes that are at rest: all take theirs, or none has.

One after the other. When one refuses, those that have taken theirs are given back what they were. What a process that ended
meanwhile has, nobody knows: its next incarnation is given what it is to be as soon as it serves, and one that is down for good for
its next start (`give_late`). Nobody is told before that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.node.checkpointing import IMAGE_TIMEOUT_S
from dspex_runtime.node.composites.imaging import Images, close_images

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.node import Node

__all__ = ["PuttingBack", "give_late"]

Facts: TypeAlias = dict[str, Any]
#: (what of each is another version now, by full id; the fault of the one that refused, and which that is)
Done: TypeAlias = Callable[[dict[str, Facts], Facts | None, str | None], None]


class PuttingBack:
    """See the module docstring.

    Args:
        node: The runtime.
        processes: That are held, by full id.
        images: What each is to take; given away. One that is not among them stays as it is.
        before: What each was; given away.
        numbers: Of the checkpoints that hold the same, by full id.
        who: Who changes it, for the history.
        keep: How many checkpoints of the owner are kept.
        done: Called once; the processes are still held.
        asked: What each is told besides, by full id.
    """

    def __init__(
        self,
        node: Node,
        processes: Mapping[str, ModuleProcess],
        images: Images,
        before: Images,
        *,
        numbers: Mapping[str, int],
        who: str,
        keep: int,
        done: Done,
        asked: Mapping[str, Facts] | None = None,
    ) -> None:
        self._node = node
        self._processes = processes
        self._images = images
        self._before = before
        self._numbers = numbers
        self._who = who
        self._keep = keep
        self._done = done
        self._asked = asked or {}
        self._order = [id for id in processes if id in images]
        self._versions: dict[str, Facts] = {}
        self._ended: list[str] = []  #: ids of processes that ended before they had answered
        self._why: tuple[Facts, str] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether one of the processes ended before it had answered."""
        return bool(self._ended)

    def begin(self) -> None:
        """Give the first one its image; the rest follows."""
        self._next()

    def undo(self, fault: Facts, id: str) -> None:
        """Give all of them back what they were, for a reason that lies elsewhere; `done` hears of it."""
        self._failed(fault, id)

    def close(self) -> None:
        """It is over: what they were is of no use any more. Idempotent."""
        close_images(self._images)
        close_images(self._before)

    def _next(self) -> None:
        if len(self._versions) == len(self._order):
            self._done(self._versions, None, None)
            return
        id = self._order[len(self._versions)]

        def taken(value: Any, fault: Facts | None) -> None:
            if fault is None:
                self._versions[id] = value
                self._next()
            else:
                if not self._processes[id].serving:
                    self._ended.append(id)
                self._failed(fault, id)

        self._give(id, self._images.pop(id), {"who": self._who, **self._asked.get(id, {})}, taken)

    def _failed(self, fault: Facts, id: str) -> None:
        self._why = self._why or (fault, id)
        self._take_back()

    def _take_back(self) -> None:
        """Give the last one that has taken its image back what it was; the one before it follows."""
        if not self._versions:
            close_images(self._images)
            assert self._why is not None
            self._done({}, *self._why)
            return
        id, _ = self._versions.popitem()

        def given_back(_value: Any, fault: Facts | None) -> None:
            if fault is not None and self._processes[id].serving:
                report_failed(self._node, id, fault)
            elif fault is not None:
                self._ended.append(id)
            self._take_back()

        self._give(id, os.dup(self._before[id]), {"who": f"{self._who}, taken back"}, given_back)

    def _give(self, id: str, image: int, asked: Facts, answer: Callable[[Any, Facts | None], None]) -> None:
        self._processes[id].request_now("restore", {**asked, "held": True}, IMAGE_TIMEOUT_S, answer, (image,))

    # -- those that ended meanwhile

    def undone(self, settled: Callable[[], None]) -> None:
        """Give those that ended back what they were, as soon as they serve again; then call `settled`. Nobody is held any more."""
        images = {id: self._before.pop(id) for id in self._ended}
        give_late(self._node, images, self._numbers, who=f"{self._who}, taken back", keep=self._keep, done=settled)


def give_late(node: Node, images: Images, numbers: Mapping[str, int], *, who: str, keep: int, done: Callable[[], None]) -> None:
    """Give images to processes that are not there, as soon as they are; to those that are down for good for their next start.

    Args:
        node: The runtime.
        images: By full id; given away.
        numbers: Of the checkpoints that hold the same, of those that have one.
        who: Who changes it, for the history.
        keep: How many checkpoints are kept.
        done: Called once, when all have theirs, or cannot have them: people are told.
    """
    left = len(images)

    def settled(id: str) -> None:
        record, image = node.registry.get(id), images.pop(id)
        if record is not None and record.process is not None:
            record.process.request("restore", {"who": who}, None, lambda _value, fault: given(id, fault), (image,))
            return
        os.close(image)
        if record is None:
            given(id, None)  # it was deleted
        elif id not in numbers:
            given(id, {"message": f"it is {record.state}, and there is no checkpoint of that"})
        else:
            asked = {"members": [[id, numbers[id]]], "who": who, "keep": keep}
            node.keeping.ask("restore_stopped", asked, lambda _value, fault, _fds: given(id, fault))

    def given(id: str, fault: Facts | None) -> None:
        nonlocal left
        left -= 1
        if fault is not None:
            report_failed(node, id, fault)
        if not left:
            done()

    if not images:
        done()
    for id in list(images):
        node.composites.when_settled(id, partial(settled, id))


def report_failed(node: Node, id: str, fault: Facts) -> None:
    """Tell people that a process is not what it was to be."""
    text = f"{id!r} could not be given back what it was: {fault.get('message')}"
    node.reports.emit("restore_failed", id, message=text)
