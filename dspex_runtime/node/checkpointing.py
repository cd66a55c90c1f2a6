"""Checkpoints of running modules: taken when somebody asks, and on the period that a module's spec names.

The module makes the image between two of its callbacks, the keeper stores it; here is who asks whom, and when. An image that the
keeper has not acknowledged is no checkpoint. Never looks into one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from dspex_runtime.core.child_spec import Checkpoint
from dspex_runtime.node.event_loop import EventLoop, Timer
from dspex_runtime.node.keeping import Keeping
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.peer import PLAIN
from dspex_runtime.node.registry import Record
from dspex_runtime.node.reports import Reports
from dspex_runtime.wire.faults import own_error

__all__ = ["BUSY", "IMAGE_TIMEOUT_S", "Checkpointing", "Done"]

IMAGE_TIMEOUT_S: Final = 30.0  # a callback may take that long; a periodic one is then left out
BUSY: Final = "busy"  # code of the CheckpointError of what did not come to rest
_DEFAULTS: Final = Checkpoint()

Facts: TypeAlias = dict[str, Any]
Done: TypeAlias = Callable[[Facts | None, Facts | None], None]  # (what `types.CheckpointInfo` has, fault)


class Checkpointing:
    """See the module docstring."""

    def __init__(self, loop: EventLoop, keeping: Keeping, reports: Reports) -> None:
        self._loop = loop
        self._keeping = keeping
        self._reports = reports
        self._due: dict[ModuleProcess, tuple[Timer, float]] = {}  #: the next one of each, and the period by which it is due
        self._stages = 0
        #: Takes one of a module as its kind says, with its parts if it has any (`node.composites`).
        self.save: Callable[[ModuleProcess, str, Done], None] = self.take

    def changed(self, record: Record) -> None:
        """A child's state changed: one that serves now is saved from now on, if its spec says so."""
        process = record.process
        if process is None or not process.serving or process.saved:
            return
        spec = process.launch.checkpoint
        if spec is not None and spec.every_s is not None:
            process.saved = True
            # Not all modules of a tree at the same moment.
            self._again(process, spec.every_s * (0.5 + random.random() / 2), spec.every_s)

    def respecified(self, process: ModuleProcess) -> None:
        """A process that serves has another spec: go by the period that it names now, or by none."""
        spec = process.launch.checkpoint
        every_s = None if spec is None else spec.every_s
        timer, before_s = self._due.get(process, (None, None))
        if every_s == before_s:
            return
        if timer is not None:
            timer.cancel()
            del self._due[process]
        process.saved = every_s is not None
        if every_s is not None:
            self._again(process, every_s, every_s)

    def _again(self, process: ModuleProcess, delay_s: float, every_s: float) -> None:
        def due() -> None:
            del self._due[process]
            if process.serving:
                self.save(process, "periodic", lambda _, fault: self._taken(process, fault))

        self._due[process] = self._loop.call_later(delay_s, due), every_s

    def _taken(self, process: ModuleProcess, fault: Facts | None) -> None:
        if fault is not None:
            self.failed(process, fault)
        spec = process.launch.checkpoint
        if spec is not None and spec.every_s is not None and process not in self._due:
            # From its end: what takes longer than the period must not pile up.
            self._again(process, spec.every_s, spec.every_s)

    def take(
        self,
        process: ModuleProcess,
        kind: str,
        done: Done,
        about: Facts | None = None,
        timeout_s: float | None = IMAGE_TIMEOUT_S,
    ) -> None:
        """Take a checkpoint of a running module; `done` gets what it is, once it is on the disk, or why there is none.

        Args:
            process: Of the module.
            kind: Why, see `types.CheckpointInfo.kind`.
            done: Called exactly once.
            about: Facts about this checkpoint: "note", and what made it.
            timeout_s: For the module to be between two callbacks; None: however long that takes.
        """

        def imaged(_value: Any, fault: Facts | None, fd: int | None) -> None:
            if fault is not None or fd is None:
                done(None, fault)
            else:
                self.store(process, kind, fd, done)

        asked = {"kind": kind} if about is None else {"kind": kind, "about": about}
        process.request_fd("checkpoint", asked, timeout_s, imaged)

    def store(self, process: ModuleProcess, kind: str, image: int, done: Done, parts: Mapping[str, int] | None = None) -> None:
        """Have an image that a module has made kept, with those that its parts have made in the same moment: all or none.

        Descriptors are given away.
        """

        def stored(info: Any, fault: Facts | None, _fds: list[int]) -> None:
            if fault is None:
                for id, number in {process.id: info["number"], **info.get("parts", {})}.items():
                    self._keeping.kept(id)
                    self.newest(id, {**info, "number": number})
                self._reports.emit("checkpoint", process.id, incarnation=process.incarnation, number=info["number"], kind=kind)
            done(info, fault)

        keep = (process.launch.checkpoint or _DEFAULTS).keep
        asked: Facts = {"id": process.id, "kind": kind, "keep": keep}
        if parts:
            self._stages += 1
            asked |= {"stage": self._stages, "parts": list(parts)}
            for id, part in parts.items():
                self._keeping.tell("stage", {"id": id, "stage": self._stages}, (part,))
        self._keeping.ask("checkpoint", asked, stored, fds=(image,))

    def failed(self, process: ModuleProcess, fault: Facts) -> None:
        """Report one that nobody waits for; one of an owner and its parts that did not come to rest was only left out."""
        if not process.ended:
            error = own_error(fault, codec=PLAIN)
            kind = "checkpoint_skipped" if error is not None and error.code == BUSY else "checkpoint_failed"
            self._reports.emit(kind, process.id, incarnation=process.incarnation, message=str(fault.get("message")))

    def newest(self, id: str, info: Facts | None) -> None:
        """Remember which checkpoint of an id is the newest, for `info`."""
        shown = None if info is None else {key: info[key] for key in ("number", "created_at", "kind")}
        self._keeping.note(id, {"checkpoint": shown})
