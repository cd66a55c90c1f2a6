"""The process in which a module is compiled: a copy of it, made for one compile, and what it answers.

A temporary child with a supervisor of its own, `<id>$compile` in `ps`: restarted by nobody, counted as nobody's restart, ended with
its compile and with the runtime, its grandchildren too. Nothing of it is kept. Never looks into what it is given or gives.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.core.child_spec import BRUTAL_KILL, ChildSpec, LaunchSpec, Shutdown
from dspex_runtime.core.launch_map import to_map
from dspex_runtime.errors import CompileError, DspexError, StartError
from dspex_runtime.exit_reason import describe
from dspex_runtime.node.composites.imaging import close_images
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.operations.answers import tree_of
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder
from dspex_runtime.types import ChildId, Durability, Kind, RestartType

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["Copy", "copy_id", "copy_of"]

NICER: Final = 5  # than the module: what serves goes first
NICEST: Final = 19
ENDS_WITHIN_S: Final = 5.0  # one that is done, its user's terminate() included

Facts: TypeAlias = dict[str, Any]
#: (facts of the run, what went wrong, descriptor of the patch); an error of ours, or the map of one that came
Done: TypeAlias = Callable[[Any, CompileError | Facts | None, int | None], None]


def copy_id(id: str) -> str:
    """Return the id of the process that compiles a module; nobody can give that id to a child."""
    return f"{id.replace('/', '+')}$compile"


def copy_of(process: ModuleProcess, inline: Mapping[str, LaunchSpec] | None = None) -> ChildSpec:
    """Return the spec of a module's copy: its code, arguments, environment, LM and memory limit.

    Its parts, of which `inline` says what each is made of, are in the same process.
    """
    launch = process.launch
    limits = replace(launch.limits, max_calls=None, nice=min(NICEST, launch.limits.nice + NICER))
    copied = replace(
        launch,
        params={},  # the snapshot has them
        limits=limits,
        concurrency=1,
        liveness=None,  # it computes for as long as it takes
        readiness=None,
        checkpoint=None,
        durability=Durability.MEMORY,
        inline={name: to_map(part) for name, part in (inline or {}).items()},
    )
    return ChildSpec(
        ChildId(copy_id(process.id)),
        Kind.MODULE,
        RestartType.TEMPORARY,
        shutdown=BRUTAL_KILL,
        start_timeout_s=process.spec.start_timeout_s,
        launch=copied,
        version=process.spec.version,
        metadata={"compiles": process.id},
    )


class Copy:
    """See the module docstring.

    Args:
        node: The runtime.
        process: Of the module.
        inline: What its parts are made of, by the names that it has for them.
    """

    def __init__(self, node: Node, process: ModuleProcess, inline: Mapping[str, LaunchSpec]) -> None:
        self._node = node
        self._of = process.id
        self._spec = copy_of(process, inline)
        self._record: Record | None = None
        self._process: ModuleProcess | None = None

    def run(self, images: Mapping[str, int], job: bytes, tell: Callable[[Facts], None], done: Done) -> None:
        """Start it and have it compile.

        Args:
            images: Descriptors of the snapshots; given away. By the path at which the module has the part, "" of itself, first.
            job: See `modules.compiling.driver`.
            tell: Told how it goes.
            done: Called once, unless it is killed from here before.
        """

        def started(_id: Any, error: DspexError | None) -> None:
            process = self._process
            if error is not None or process is None or process.ended:
                close_images(dict(images))
                done(None, self._not_started(error), None)
            else:
                asked = {"id": self._of, "parts": [path for path in images if path]}
                process.request_fd("compile", asked, None, answered, (*images.values(), _memfd(job)))

        def answered(value: Any, fault: Facts | None, fd: int | None) -> None:
            if fault is None or self._process is None or not self._process.ended:
                done(value, fault, fd)
            else:  # why it ended is known when its end was handled, in which we are
                self._node.loop.call_soon(lambda: done(None, self._died(), None))

        tree_of(self._node).start_alone(self._spec, started)
        self._record = self._node.registry.get(self._spec.id)
        if self._record is not None and self._record.process is not None:
            self._process = self._record.process
            self._process.on_progress = tell

    def _not_started(self, error: DspexError | None) -> CompileError:
        text = error.message if error is not None else "it ended at once"
        trace, reason = (error.remote_traceback, error.reason) if isinstance(error, StartError) else (None, None)
        message = f"the process that was to compile {self._of!r} did not start: {text}"
        return CompileError(message, id=self._of, remote_traceback=trace, reason=reason)

    def _died(self) -> CompileError:
        reason = (self._record.last_exit if self._record is not None else None) or "noproc"
        hint = f"{self._of!r} serves on as it was; its `limits.memory` holds for its compile, too"
        text = f"the process that compiled {self._of!r} ended before it was done: {describe(reason)}"
        return CompileError(text, id=self._of, reason=reason, hint=hint)

    def stop(self) -> None:
        """It has done its work: the user's terminate() runs, within a time."""
        process = self._process
        if process is not None:
            process.stop(Shutdown(ENDS_WITHIN_S, drain_s=0.0), "normal")
            self._node.loop.call_later(ENDS_WITHIN_S, lambda: process.signal(signal.SIGKILL, group=True))

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        if self._record is not None and not self._is_gone():
            tree_of(self._node).terminate(self._record, lambda _value, _error: None)

    def when_gone(self, asker: Responder, gone: Callable[[], None]) -> None:
        """Call a function when there is nothing left of it, its log included; now, if it never was."""
        waiting = Responder(asker.session, asker.request)

        def finished() -> None:
            waiting.cancel()
            if self._record is not None:
                self._node.registry.erase(self._spec.id)
            gone()

        self._node.waiters.add(waiting, [] if self._record is None else [self._record], self._is_gone, finished)

    def _is_gone(self) -> bool:
        return self._record is None or self._node.registry.get(self._spec.id) is not self._record


def _memfd(data: bytes) -> int:
    fd = os.memfd_create("dspex-compile", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd
