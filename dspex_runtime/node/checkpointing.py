"""Checkpoints of running modules: taken when somebody asks, and on the period that a module's spec names.

The module makes the image between two of its callbacks, the keeper stores it; here is who asks whom, and when. An image that the
keeper has not acknowledged is no checkpoint. Never looks into one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from dspex_runtime.core.child_spec import Checkpoint
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.keeping import Keeping
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.registry import Record
from dspex_runtime.node.reports import Reports

__all__ = ["IMAGE_TIMEOUT_S", "Checkpointing", "Done"]

IMAGE_TIMEOUT_S: Final = 30.0  # a callback may take that long; a periodic one is then left out
_DEFAULTS: Final = Checkpoint()

Facts: TypeAlias = dict[str, Any]
Done: TypeAlias = Callable[[Facts | None, Facts | None], None]  # (what `types.CheckpointInfo` has, fault)


class Checkpointing:
    """See the module docstring."""

    def __init__(self, loop: EventLoop, keeping: Keeping, reports: Reports) -> None:
        self._loop = loop
        self._keeping = keeping
        self._reports = reports

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

    def _again(self, process: ModuleProcess, delay_s: float, every_s: float) -> None:
        def due() -> None:
            if process.serving:
                self.take(process, "periodic", lambda _, fault: self._taken(process, fault, every_s))

        self._loop.call_later(delay_s, due)

    def _taken(self, process: ModuleProcess, fault: Facts | None, every_s: float) -> None:
        if fault is not None and not process.ended:
            self._reports.emit("checkpoint_failed", process.id, incarnation=process.incarnation, message=str(fault.get("message")))
        self._again(process, every_s, every_s)  # from its end: what takes longer than the period must not pile up

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
                return
            keep = (process.launch.checkpoint or _DEFAULTS).keep
            self._keeping.ask("checkpoint", {"id": process.id, "kind": kind, "keep": keep}, stored, fds=(fd,))

        def stored(info: Any, fault: Facts | None, _fds: list[int]) -> None:
            if fault is None:
                self._keeping.kept(process.id)
                self.newest(process.id, info)
                self._reports.emit("checkpoint", process.id, incarnation=process.incarnation, number=info["number"], kind=kind)
            done(info, fault)

        asked = {"kind": kind} if about is None else {"kind": kind, "about": about}
        process.request_fd("checkpoint", asked, timeout_s, imaged)

    def newest(self, id: str, info: Facts | None) -> None:
        """Remember which checkpoint of an id is the newest, for `info`."""
        shown = None if info is None else {key: info[key] for key in ("number", "created_at", "kind")}
        self._keeping.note(id, {"checkpoint": shown})
