"""One compile of one module: a copy of it in a process of its own, an optimizer in that, and the result given to the module.

    snapshot -> the copy runs -> "before_compile" is saved -> the module takes the patch -> "compiled" is saved

Of an owner the copy has its parts in the same process, and the result is given to all of them (`composites.committing`).

Until the module is asked to take the patch nothing of it has changed, and the compile can be given up; from then on it is
finished, and its client only hears of it. While the module is not there (it restarts, or was stopped) the patch waits for its next
incarnation; when it is deleted there is nothing to wait for. Never looks into a job, an image or a patch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.errors import CallTimeoutError, CompileError, DspexError
from dspex_runtime.node.compile_copy import Copy
from dspex_runtime.node.composites.committing import Committing, path_of
from dspex_runtime.node.composites.imaging import Images, close_images, take_images
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
        others: Has others take the patch, too, once the module has it; takes who has compiled it, a descriptor of it, which is
            given away, and what to call then: with why not, if one did not. None: there are none.
    """

    def __init__(
        self,
        node: Node,
        record: Record,
        process: ModuleProcess,
        job: bytes,
        who: str,
        responder: Responder,
        others: Callable[[str, int, Callable[[Facts | None], None]], None] | None = None,
    ) -> None:
        self._others = others
        self._node = node
        self._record = record
        self._process = process  #: that was asked last
        self._ids = [each.id for each in node.composites.members(record)]  #: of it and its parts, which are compiled with it
        self._copy = Copy(node, process, node.composites.launches(record.id))
        self._together: Committing | None = None  #: of an owner, from when there is something to be given to it
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
        self._node.compiles.update(self._ids)
        if timeout_s is not None:
            self._timer = self._node.loop.call_later(timeout_s, lambda: self._fail(self._too_late(timeout_s)))
        registry = self._node.registry
        processes = {
            id: record.process for id in self._ids if (record := registry.get(id)) is not None and record.process is not None
        }
        take_images(processes, "compile", self._snapshot, held=False)

    def _snapshot(self, images: Images, fault: Facts | None) -> None:
        if fault is not None:
            self._fail(fault)
        elif self._is_over:
            close_images(images)
        else:
            job, self._job = self._job, b""
            by_path = {path_of(self._record.id, id): image for id, image in images.items()}
            self._copy.run(by_path, job, self._responder.tell, self._compiled)

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
        """Go on when the module serves, and its parts, now or in their next incarnations; give up when it is deleted."""
        record, registry = self._record, self._node.registry
        waiting = self._waiting = Responder(self._responder.session, self._responder.request)

        def is_deleted() -> bool:
            return registry.get(record.id) is not record

        def settled() -> bool:
            all_serve = all(each.process is not None and each.process.serving for each in self._records())
            return self._is_over or is_deleted() or all_serve

        def go_on() -> None:
            waiting.cancel()
            if is_deleted():
                text = f"{record.id!r} was deleted while it was compiled: there is nothing left to give the result to"
                self._fail(CompileError(text, id=record.id))
            elif not self._is_over and record.process is not None:
                self._commit(record.process)

        if not settled():
            self._responder.tell({"type": "waiting", "state": record.state.value})
        self._node.waiters.add(waiting, self._records(), settled, go_on)

    def _records(self) -> list[Record]:
        """Return those of the module and of its parts that there are."""
        found = [self._node.registry.get(id) for id in self._ids[1:]]
        return [self._record, *(record for record in found if record is not None)]

    def _commit(self, process: ModuleProcess) -> None:
        """Do the next of three steps: save what it was, give it the patch, save what it is."""
        self._process = process
        checkpointing = self._node.checkpointing
        if len(self._ids) > 1:
            self._commit_together()
        elif self._before is None:
            checkpointing.take(process, "before_compile", self._saved, timeout_s=None)
        elif self._versions is None:
            assert self._fd is not None
            # However long a call of its keeps the module from it: from here on there is no way back.
            self._begun(self._before)
            process.request("restore", {"who": self._who}, None, self._taken, (os.dup(self._fd),))
        else:
            checkpointing.take(process, "compiled", self._done, self._about(), timeout_s=None)

    def _commit_together(self) -> None:
        """Give it to the owner and its parts, at the next attempt that succeeds."""
        if self._together is None:
            assert self._fd is not None
            self._together = Committing(
                self._node, self._records, self._fd,
                who=self._who, about=self._about, begun=self._begun, again=self._again, done=self._committed,
            )  # fmt: skip
        self._together.attempt()

    def _again(self, why: str) -> None:
        self._responder.tell({"type": "waiting", "state": self._record.state.value, "message": why})
        self._when_it_serves()

    def _committed(self, info: Facts | None, fault: Facts | None) -> None:
        if fault is None:
            self._done(info, None)
        elif not self._is_over:
            self._fail(self._uncommitted(fault))

    def _begun(self, before: Facts) -> None:
        """There is no way back from here on."""
        self._before, self._is_committing = before, True
        if self._timer is not None:
            self._timer.cancel()
        self._responder.tell({"type": "committing", "before": before["number"]})

    @property
    def _who(self) -> str:
        return f"compile ({self._facts['optimizer']})"

    def _about(self) -> Facts:
        """Return the facts about the checkpoint of the result; all is in the module by now."""
        if self._together is not None:
            self._versions = self._together.versions
        assert self._before is not None
        return {"note": self._note(), "compile": {**self._facts, "before": self._before["number"], "versions": self._versions}}

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
        if self._others is None:
            self._end(lambda: self._responder.reply({**facts, **result}))
            return

        def had(fault: Facts | None) -> None:
            if fault is not None:
                self._fail(CompileError(f"{self._record.id!r} has the result, but {fault.get('message')}", id=self._record.id))
            else:
                self._end(lambda: self._responder.reply({**facts, **result}))

        assert self._fd is not None
        self._others(self._who, os.dup(self._fd), had)

    def _succeeded(self, fault: Facts | None) -> bool:
        """Return whether to go on; one of a process that ended is done again by the next; any other fault ends it."""
        if self._is_over:
            return False
        if fault is None:
            return True
        if not self._process.serving:
            self._node.loop.call_soon(self._when_it_serves)
        else:
            self._fail(self._uncommitted(fault))
        return False

    def _uncommitted(self, fault: Facts) -> CompileError:
        id = self._record.id
        them, are, have = (
            (f"{id!r} and its parts", "are as they were", "have") if self._together else (f"{id!r}", "is as it was", "has")
        )
        state = f"{them} {are}" if self._versions is None else f"{them} {have} it, but there is no checkpoint of that"
        return CompileError(f"the result could not be committed: {fault.get('message')}; {state}", id=id)

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
        if self._together is not None and self._versions is None:
            self._together.give_up()
        if self._fd is not None:
            os.close(self._fd)
        if self._versions is None:
            self._copy.kill()

        def gone() -> None:
            self._node.compiles.difference_update(self._ids)
            answer()

        self._copy.when_gone(self._responder, gone)
