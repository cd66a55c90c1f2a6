"""One compile of one module: a copy of it in a process of its own, an optimizer in that, and the result given to the module.

    snapshot -> the copy runs -> "before_compile" is saved -> the module takes the patch -> "compiled" is saved

Until the module is asked to take the patch nothing of it has changed, and the compile can be given up; from then on it is
finished, and its client only hears of it. While the module is not there (it restarts, or was stopped) the patch waits for its next
incarnation; when it is deleted there is nothing to wait for. Never looks into a job, an image or a patch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.errors import CallTimeoutError, CompileError, DspexError
from dspex_runtime.node.checkpointing import IMAGE_TIMEOUT_S
from dspex_runtime.node.compile_copy import Copy
from dspex_runtime.node.event_loop import Timer
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["Compile"]

Facts: TypeAlias = dict[str, Any]


class Compile:
    """See the module docstring.

    Args:
        node: The runtime.
        record: Of the module.
        process: Of the module, serving.
        job: See `modules.compiling.driver`.
        who: Who asked.
        responder: Gets the result.
    """

    def __init__(self, node: Node, record: Record, process: ModuleProcess, job: bytes, who: str, responder: Responder) -> None:
        self._node = node
        self._record = record
        self._process = process  #: that was asked last
        self._copy = Copy(node, process)
        self._job = job
        self._facts: Facts = {"who": who}
        self._responder = responder
        self._fd: int | None = None  #: of the patch
        self._before: Facts | None = None
        self._versions: Facts | None = None
        self._is_over = False
        self._is_committing = False
        self._timer: Timer | None = None
        self._waiting: Responder | None = None  #: for the module to serve
        responder.on_done = self._given_up

    def begin(self, timeout_s: float | None) -> None:
        """Take the snapshot; the rest follows."""
        self._node.compiles.add(self._record.id)
        if timeout_s is not None:
            self._timer = self._node.loop.call_later(timeout_s, lambda: self._fail(self._too_late(timeout_s)))
        self._process.request_fd("checkpoint", {"kind": "compile"}, IMAGE_TIMEOUT_S, self._snapshot)

    def _snapshot(self, _value: Any, fault: Facts | None, fd: int | None) -> None:
        if fault is not None or fd is None:
            self._fail(fault or self._no_image())
        elif self._is_over:
            os.close(fd)
        else:
            job, self._job = self._job, b""
            self._copy.run(fd, job, self._responder.tell, self._compiled)

    def _no_image(self) -> CompileError:
        id = self._record.id
        return CompileError(f"{id!r} answered a checkpoint without its image: expected a descriptor, got none", id=id)

    def _compiled(self, value: Any, error: CompileError | Facts | None, fd: int | None) -> None:
        if self._is_over or error is not None:
            if fd is not None:
                os.close(fd)
            self._fail(error or {})
            return
        self._facts |= value
        self._fd = fd
        self._copy.stop()
        self._when_it_serves()

    # -- the commit -------------------------------------------------------------------------------------------------

    def _when_it_serves(self) -> None:
        """Go on when the module serves, now or in its next incarnation; give up when it is deleted."""
        record, registry = self._record, self._node.registry
        waiting = self._waiting = Responder(self._responder.session, self._responder.request)

        def is_deleted() -> bool:
            return registry.get(record.id) is not record

        def settled() -> bool:
            return self._is_over or is_deleted() or (record.process is not None and record.process.serving)

        def go_on() -> None:
            waiting.cancel()
            if is_deleted():
                text = f"{record.id!r} was deleted while it was compiled: there is nothing left to give the result to"
                self._fail(CompileError(text, id=record.id))
            elif not self._is_over and record.process is not None:
                self._commit(record.process)

        if not settled():
            self._responder.tell({"type": "waiting", "state": record.state.value})
        self._node.waiters.add(waiting, [record], settled, go_on)

    def _commit(self, process: ModuleProcess) -> None:
        """Do the next of three steps: save what it was, give it the patch, save what it is."""
        self._process = process
        checkpointing = self._node.checkpointing
        if self._before is None:
            checkpointing.take(process, "before_compile", self._saved, timeout_s=None)
        elif self._versions is None:
            assert self._fd is not None
            self._is_committing = True
            if self._timer is not None:
                self._timer.cancel()
            self._responder.tell({"type": "committing", "before": self._before["number"]})
            # However long a call of its keeps the module from it: from here on there is no way back.
            process.request("restore", {"who": f"compile ({self._facts['optimizer']})"}, None, self._taken, (os.dup(self._fd),))
        else:
            about = {"note": self._note(), "compile": {**self._facts, "before": self._before["number"], "versions": self._versions}}
            checkpointing.take(process, "compiled", self._done, about, timeout_s=None)

    def _saved(self, info: Facts | None, fault: Facts | None) -> None:
        if self._succeeded(fault):
            self._before = info
            self._commit(self._process)

    def _taken(self, versions: Any, fault: Facts | None) -> None:
        if self._succeeded(fault):
            self._versions = versions
            self._commit(self._process)

    def _done(self, info: Facts | None, fault: Facts | None) -> None:
        if not self._succeeded(fault):
            return
        assert info is not None
        assert self._before is not None
        facts, number = self._facts, info["number"]
        self._node.reports.emit("compiled", self._record.id, number=number, optimizer=facts["optimizer"], score=facts["score"])
        result = {"id": self._record.id, "version": number, "before": self._before["number"], "changes": self._versions}
        self._end(lambda: self._responder.reply({**facts, **result}))

    def _succeeded(self, fault: Facts | None) -> bool:
        """Return whether to go on; one of a process that ended is done again by the next; any other fault ends it."""
        if self._is_over:
            return False
        if fault is None:
            return True
        if not self._process.serving:
            self._node.loop.call_soon(self._when_it_serves)
        else:
            id = self._record.id
            state = f"{id!r} is as it was" if self._versions is None else f"{id!r} has it, but there is no checkpoint of that"
            self._fail(CompileError(f"the result could not be committed: {fault.get('message')}; {state}", id=id))
        return False

    def _note(self) -> str:
        optimizer, score = self._facts["optimizer"], self._facts["score"]
        return f"{optimizer}" if score is None else f"{optimizer}, score {score:g}"

    # -- the end ----------------------------------------------------------------------------------------------------

    def _given_up(self) -> None:
        """Whoever waited does not any more: it interrupted, or is gone."""
        if not self._is_committing:
            self._end(lambda: None)

    def _too_late(self, timeout_s: float) -> CallTimeoutError:
        record = self._record
        text = f"{record.id!r} is not compiled after {timeout_s:g} s"
        if record.process is not None and record.process.serving:
            return CallTimeoutError(f"{text}; it serves on as it was", id=record.id)
        hint = f"`dspex start {record.id}` brings it back" if record.gone else None
        return CallTimeoutError(f"{text}; it is {record.state}, and has nothing of the result", id=record.id, hint=hint)

    def _fail(self, error: DspexError | Facts) -> None:
        if isinstance(error, DspexError):
            self._end(lambda: self._responder.fail(error))
        else:
            self._end(lambda: self._responder.fault(error))

    def _end(self, answer: Callable[[], None]) -> None:
        """Answer when the copy is gone: after that another compile may begin."""
        if self._is_over:
            return
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting is not None:
            self._waiting.cancel()
        if self._fd is not None:
            os.close(self._fd)
        if self._versions is None:
            self._copy.kill()

        def gone() -> None:
            self._node.compiles.discard(self._record.id)
            answer()

        self._copy.when_gone(self._responder, gone)
