"""What the parent can ask of a module process, one operation after the other, as it comes over the control pipe.

Runs on the control thread and never runs user code: what has to is put to the loop, and answered from there. Which thread stops
what, and when, is `stopping`'s; what is kept is `keeping`'s; OTP's sys is `sys_functions`'.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from dspex_runtime.errors import CallError
from dspex_runtime.exit_reason import is_exit_reason, own_reason
from dspex_runtime.host.assignment import Assignment
from dspex_runtime.host.dependencies import check
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.keeping import KEEPING_OPS, Desk, Keeping
from dspex_runtime.host.logs import ProcessLog
from dspex_runtime.host.mailbox import SIGNAL, Request
from dspex_runtime.host.parameters import Parameters
from dspex_runtime.host.parent import ParentPeer
from dspex_runtime.host.stopping import Stopping
from dspex_runtime.host.sys_functions import SYS_OPS, SysFunctions
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec

if TYPE_CHECKING:
    from dspex_runtime.host.moving.arriving import Arriving
    from dspex_runtime.host.moving.leaving import Leaving
    from dspex_runtime.host.server_loop import ServerLoop
    from dspex_runtime.host.sharing import Sharing

__all__ = ["Operations"]

LEAVING_OPS: Final = frozenset({"hold", "seal", "pack", "unhold", "leave"})
BEFORE_SWAP: Final = "before_swap"  # kind of the checkpoint that is taken to rehearse on
SHARING_OPS: Final = frozenset({"shared_versions", "shared_values", "shared_take", "shared_raise"})
ARRIVING_OPS: Final = frozenset({"rehearse", "prepare", "serve"})
MOVING_OPS: Final = LEAVING_OPS | ARRIVING_OPS


class MovingDesk(Desk, Protocol):
    """The control pipe, as one process that becomes another one needs it."""

    def unanswered(self) -> list[int]:
        """Return the numbers of the parent's requests that were not answered yet, in order."""
        ...

    def adopted(self) -> None:
        """See to what another process has left to do."""
        ...


class Operations:
    """Serves one parent; `desk` is the pipe, and `parent` the same as a client of the loop."""

    def __init__(
        self,
        desk: MovingDesk,
        loop: ServerLoop,
        hosted: Hosted,
        stopping: Stopping,
        assignment: Assignment,
        codec: Codec,
        logs: ProcessLog,
        parameters: Parameters,
        parent: ParentPeer,
    ) -> None:
        self._desk = desk
        self._loop = loop
        self._hosted = hosted
        self._stopping = stopping
        self._assignment = assignment
        self._logs = logs
        self._parameters = parameters
        self._parent = parent
        self._sys = SysFunctions(loop, hosted, self._identity(), codec)
        self._codec = codec
        self._keeping: Keeping | None = None
        self._arriving: Arriving | None = None
        self._sharing: Sharing | None = None
        self.leaving: Leaving | None = None  #: once the parent has begun to move this process

    def serve(self, id: int, op: str, args: dict[str, Any]) -> None:
        """Do what the parent asks, and answer it; what takes long is answered later, from another thread."""
        loop, stopping = self._loop, self._stopping
        if self.leaving is not None and self.leaving.postpones(id, op, args):
            return
        match op:
            case "stop":
                if id:
                    self._desk.reply([m.REPLY, id, None])
                reason = args.get("reason", "shutdown")  # the parent's own, or what came through a link: "killed" too
                stopping.stop(reason if is_exit_reason(reason) else own_reason(reason, "Stop"), args.get("drain_s"))
            case "drain":
                stopping.drain(id, args.get("timeout_s"))
            case "call":
                timeout_s = args.get("timeout_s")
                deadline = None if timeout_s is None else time.monotonic() + timeout_s
                loop.put(Request(self._parent, id, args["method"], args.get("args", []), args.get("kwargs", {}), deadline))
            case "terminate":  # OTP sys:terminate: terminate() runs whether exits are trapped or not
                self._desk.reply([m.REPLY, id, None])
                stopping.begin(own_reason(args.get("reason", "normal"), "Stop"), None)
            case "signal":  # answered when it is in the mailbox: what its sender sends from then on comes behind it
                self._answer(id, lambda: loop.deliver(args["message"], SIGNAL))
            case "check_log":
                self._logs.check()
            case _ if op in SYS_OPS:
                self._sys.serve(op, args, lambda function: self._answer(id, function))
            case _ if op in KEEPING_OPS:
                self._serve_keeping(id, op, args)
            case _ if op in MOVING_OPS or op in SHARING_OPS:
                self._with_others(op)(id, op, args)
            case "configure":
                from dspex_runtime.host.configuring import configure  # few processes are ever told, the next too

                configure(id, args, loop, self._desk, self._parameters, self._parent)
            case "dependencies":
                self._answer(id, lambda: self._depend(args["table"], only_check=bool(args.get("check"))))
            case "command":
                from dspex_runtime.host.commands import in_background

                in_background(args["command"], args["timeout_s"], lambda error: self._said(id, error))
            case "ping" | "metrics" | "executions" | "statistics":
                self._answer(id, lambda: self._figures(op, args))
            case _:
                self._desk.reply([m.FAULT, id, self._desk.fault(CallError(f"a module has no operation {op!r}"))])

    def _depend(self, table: dict[str, Any], *, only_check: bool) -> None:
        """Go by another table, or say only whether it could be gone by."""
        if only_check:
            check(self._hosted, table, self._assignment.id)
        else:
            self._loop.depend(table)

    def adopted(self) -> None:
        """This process goes on where another one was: somebody may watch its callbacks."""
        self._sys.watch()

    def _answer(self, id: int, function: Callable[[], Any]) -> None:
        """Answer with what function returns, or with the fault of what it raises; also of what cannot be sent."""
        try:
            self._desk.reply([m.REPLY, id, function()])
        except Exception as exc:
            self._desk.reply([m.FAULT, id, self._desk.fault(exc)])

    def _said(self, id: int, error: Exception | None) -> None:
        self._desk.reply([m.REPLY, id, None] if error is None else [m.FAULT, id, self._desk.fault(error)])

    def _serve_keeping(self, id: int, op: str, args: dict[str, Any]) -> None:
        if self._keeping is None:
            self._keeping = Keeping(self._loop, self._hosted, self._parameters, self._assignment, self._desk)
        self._keeping.serve(id, op, args)
        if args.get("kind") == BEFORE_SWAP:
            self._begin_to_leave()  # what a move takes is loaded now: once it is held, callers wait

    def _with_others(self, op: str) -> Callable[[int, str, dict[str, Any]], None]:
        """Return who serves what has to do with other processes of the same id, or of the same group."""
        if op in SHARING_OPS:
            return self._begin_to_share().serve
        return self._begin_to_leave().serve_op if op in LEAVING_OPS else self._begin_to_arrive().serve_op

    def _begin_to_share(self) -> Sharing:
        if self._sharing is None:
            from dspex_runtime.host.sharing import Sharing  # few processes are replicas

            self._sharing = Sharing(self._loop, self._parameters, self._desk)
        return self._sharing

    def _begin_to_leave(self) -> Leaving:
        if self.leaving is None:
            from dspex_runtime.host.moving.leaving import Leaving  # few processes ever move

            self.leaving = Leaving(self._desk, self._loop, self._hosted, self._stopping, self._codec, self._parameters, self.serve)
        return self.leaving

    def _begin_to_arrive(self) -> Arriving:
        if self._arriving is None:
            from dspex_runtime.host.moving.arriving import Arriving

            self._arriving = Arriving(self._desk, self._loop, self._hosted, self._assignment, self._codec, self._parameters)
        return self._arriving

    def _figures(self, op: str, args: dict[str, Any]) -> Any:
        loop = self._loop
        match op:
            case "metrics":
                with loop.lock:
                    return loop.tally.metrics.summary()
            case "executions":
                with loop.lock:
                    return loop.tally.metrics.executions(args.get("n", 20))
            case "statistics":
                self._logs.check()
                return {**loop.counts(), "log": self._logs.counts()}
            case _:
                return self._identity()

    def _identity(self) -> dict[str, Any]:
        return {"id": self._assignment.id, "incarnation": self._assignment.incarnation, "pid": os.getpid()}
