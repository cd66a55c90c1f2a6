"""One incarnation of one module, as the runtime process sees it: assigned, ready, stopping, gone.

Life: a fork from the zygote is assigned -> READY (and the readiness call) or FAULT -> ... -> exit status from the zygote.
`on_end` is called exactly once, after everything the process had sent was handled: pipe end is not death, death is not pipe
end. Never decides what follows from its end, and never reaps: the zygote does. Which reason it ended for: `ending`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

from dspex_runtime import exit_reason
from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec, Shutdown
from dspex_runtime.core.keys import show
from dspex_runtime.core.launch_map import to_map
from dspex_runtime.errors import StartError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.control_pipe import ControlPipe
from dspex_runtime.node.ending import Ending, reason_of
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.handing_on import told
from dspex_runtime.node.peer import Peer
from dspex_runtime.node.readiness import asked, refused
from dspex_runtime.state.protocol import OFFERS
from dspex_runtime.types import Kind
from dspex_runtime.wire.messages import BYE, CANCEL, CONTROL, EVENT, FAULT, READY, REPLY, Message

CONTROL_LOST_GRACE_S: Final = 2.0  # a process that closed its control pipe is on its way out, or is broken and is killed


class Keeper(Protocol):
    """Who keeps what is to outlive a process (`node.keeping`)."""

    def offered(self, process: ModuleProcess, event: dict[str, Any], fd: int) -> None:
        """Take what the process wants kept; the descriptor is the keeper's."""

    def rotated(self, process: ModuleProcess) -> None:
        """Hear that a segment of its journal is complete."""

    def ready(self, process: ModuleProcess) -> None:
        """Hear that it has become what it was to be."""

    def ended(self, process: ModuleProcess, ending: Ending) -> None:
        """Hear of its end, after all that it had sent and before anybody starts another one."""


class ModuleProcess(ControlPipe):
    """See the module docstring. `slot` is its place on the board, None before it is assigned.

    One that is there for a rehearsal (`node.swapping`) is a second process of the same incarnation: nobody keeps anything for it,
    and it is ready when it is built, for what makes it so is asked once it has its state.
    """

    def __init__(
        self,
        loop: EventLoop,
        *,
        id: str,
        incarnation: int,
        spec: ChildSpec,
        on_ready: Callable[[ModuleProcess], None],
        on_end: Callable[[ModuleProcess, Ending], None],
        on_event: Callable[[ModuleProcess, dict[str, Any]], None],
        on_request: Callable[[ModuleProcess, Message], None],
    ) -> None:
        super().__init__(loop, id, incarnation)
        self.spec = spec
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_event = on_event
        self._on_request = on_request
        self.pid: int | None = None
        self.slot: int | None = None
        self.version: str | None = None
        self.kind = spec.kind  #: as it turned out: a name alone does not tell a module from a server
        self.idempotent: list[str] = []
        self.takes: list[str] | None = None  #: keywords of a call; None: any
        self.awaited = False  #: its calls run beside each other, on its event loop
        self.log: str | None = None
        self.files: list[list[Any]] = []  #: of the user's, that it was made of (`node.sources`)
        self.boot_s: float | None = None  #: from assignment to ready, as the process measured it
        self.outgrew = False  #: it imported what is not in the zygote it came from, and is in the other one
        self.stale = False  #: its template was built of a file that has changed since; it has built itself anew
        self.on_started: Callable[[ModuleProcess], None] | None = None  #: told when the above is known
        self.keeper: Keeper | None = None
        self.on_changed: Callable[[str, dict[str, Any]], None] | None = None  #: told of changes of its parameters
        self.on_progress: Callable[[dict[str, Any]], None] | None = None  #: told how its compile goes (`node.compiling`)
        self.saved = False  #: its periodic checkpoints were begun (`node.checkpointing`)
        self.main: str | None = None  #: by which token its main thread claims locks
        self.rehearsal = False  #: it was started beside the one that serves, see the class
        self._ready = False
        self._ignored = False
        self._stopping = False
        self._ended = False
        self._bye: ExitReason | None = None
        self._fault: dict[str, Any] | None = None
        self._kill_reason: ExitReason | None = None

    @property
    def launch(self) -> LaunchSpec:
        """The launch spec; a process always has one."""
        assert self.spec.launch is not None
        return self.spec.launch

    @property
    def serving(self) -> bool:
        """Whether new calls may be sent to it."""
        return self._ready and not self._stopping and self._peer is not None and not self._peer.closed

    @property
    def ended(self) -> bool:
        """Whether `on_end` was called."""
        return self._ended

    # -- starting ---------------------------------------------------------------------------------------------------

    def assign(self, pid: int, sock: socket.socket, slot: int, facts: dict[str, Any]) -> None:
        """Make a forked process this module; `facts` are the runtime's part of the assignment (socket, log, ...)."""
        self.pid = pid
        self.slot = slot
        self.log = facts.get("log")
        spec = {**facts, "id": self.id, "incarnation": self.incarnation, "slot": slot, "launch": to_map(self.launch)}
        self._open(Peer(self._loop, sock, self._message, self._control_lost), spec)
        if self._kill_reason is not None:  # killed while it waited for a process
            self._kill()

    def _message(self, _peer: Peer, message: Message) -> None:
        match message:
            case [int(kind), 0, dict() as info] if kind == READY:
                self._started(info)
            case [int(kind), 0, dict() as fault] if kind == FAULT:
                self._fault = fault
            case [int(kind), int(request), value] if kind in (REPLY, FAULT):
                self._answered(request, *((value, None) if kind == REPLY else (None, value)))
            case [int(kind), 0, dict() as event] if kind == EVENT and event.get("type") in OFFERS:
                self._offered(event)
            case [int(kind), 0, dict() as event] if kind == EVENT and event.get("type") == "changed":
                if self.on_changed is not None:
                    self.on_changed(self.id, event)
            case [int(kind), 0, {"type": "compile", "progress": dict() as progress}] if kind == EVENT:
                if self.on_progress is not None:
                    self.on_progress(progress)
            case [int(kind), 0, {"type": "rotated"}] if kind == EVENT:
                if self.keeper is not None:
                    self.keeper.rotated(self)
            case [int(kind), 0, dict() as event] if kind == EVENT:
                self._on_event(self, event)
            case [int(kind), 0, reason] if kind == BYE and exit_reason.is_exit_reason(reason):
                self._bye = told(reason)
                self._stopping = True
            case [int(kind), int(request), *_] if kind in (CONTROL, CANCEL) and request < 0:
                self._on_request(self, message)
            case _:
                self.illegal(message)

    def illegal(self, message: Message) -> None:
        """It sent what is no message of the protocol: it is broken, and killed."""
        self.kill(("error", "ProtocolError", f"illegal message on the control pipe: {show(message, 200)}", ""))

    def _offered(self, event: dict[str, Any]) -> None:
        fd = self.peer.take_fd()
        if fd is None:
            self.illegal([EVENT, 0, event])
        elif self.keeper is None:
            os.close(fd)
        else:
            self.keeper.offered(self, event, fd)

    def _started(self, info: dict[str, Any]) -> None:
        if info.get("ignore"):
            self._ignored = True
            return
        self.version = info.get("version")
        self.boot_s = info.get("seconds")
        self.files = info.get("files") or []
        if info.get("kind") in (Kind.MODULE, Kind.SERVER):
            self.kind = Kind(info["kind"])
        methods = info.get("methods") or {}
        self.idempotent = list(methods.get("idempotent", ()))
        self.takes, self.awaited = methods.get("takes"), bool(methods.get("awaited"))
        self.outgrew = bool(info.get("outgrew"))
        self.stale = bool(info.get("stale"))
        self.main = info.get("main")
        if self.on_started is not None:
            self.on_started(self)
        readiness = self.launch.readiness
        if readiness is None or self.rehearsal:
            self._become_ready()
        else:
            self.request(*asked(readiness), self._readiness_answered)

    def _readiness_answered(self, value: Any, fault: dict[str, Any] | None) -> None:
        if self._ended:
            return
        if fault is None and value is not False:
            self._become_ready()
            return
        assert self.launch.readiness is not None
        text = refused(self.launch.readiness, fault)
        self._fault = fault or self._to_fault(RuntimeError(text))
        self.kill(("error", "ReadinessFailed", text, ""))

    def _become_ready(self) -> None:
        self._ready = True
        if self.keeper is not None:
            self.keeper.ready(self)
        self._on_ready(self)

    # -- ending -----------------------------------------------------------------------------------------------------

    def stop(self, shutdown: Shutdown, reason: ExitReason) -> None:
        """Ask it to drain, run `terminate` and exit. Whoever asks also keeps the time and kills."""
        self._stopping = True
        if self._peer is None:
            self._kill_reason = reason  # not forked yet: the fork it is waiting for will be killed
            return
        args = {"reason": reason, "drain_s": shutdown.drain_s, "timeout_s": shutdown.timeout_s}
        self._peer.send([CONTROL, 0, "stop", args])

    def replaced(self, on_end: Callable[[ModuleProcess, Ending], None]) -> None:
        """Another process is what it was: nothing of it is kept any more, and its end is told to `on_end` alone."""
        self._stopping = True
        self._on_end = on_end
        self.keeper = self.on_changed = self.on_progress = None
        self._requests.close()

    def leave(self, shutdown: Shutdown, reason: ExitReason) -> None:
        """Tell one that was replaced to drop what it has of its clients, and to end as `stop` has it."""
        args = {"reason": reason, "drain_s": shutdown.drain_s, "timeout_s": shutdown.timeout_s}
        self.peer.send([CONTROL, 0, "leave", args])

    def kill(self, reason: ExitReason) -> None:
        """SIGKILL the process and its group; `reason` is what its end will be called."""
        if self._ended:
            return
        self._stopping = True
        if self._kill_reason is None:
            self._kill_reason = reason
        self._kill()

    def _kill(self) -> None:
        self.signal(signal.SIGKILL, group=True)

    def signal(self, signo: int, *, group: bool = False) -> None:
        """Send a signal. Safe: the pid stays ours until its exit was handled here (the zygote reaps on our acknowledgement)."""
        if self.pid is None or self._ended:
            return
        if signo == signal.SIGKILL:
            self._stopping = True  # it is as good as dead: whoever waits for "ready" now means the next one
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, signo)
            else:
                os.kill(self.pid, signo)

    def _control_lost(self, _peer: Peer, error: Exception | None) -> None:
        if self._ended:
            return
        self._stopping = True
        if error is not None:
            self.kill(("error", "ProtocolError", str(error), ""))
        else:
            lost = ("error", "ProtocolError", "closed its control pipe", "")
            self._loop.call_later(CONTROL_LOST_GRACE_S, lambda: self.kill(lost))

    def exited(self, wait_status: int) -> None:
        """Its exit was reported: handle what it still had sent, then tell `on_end`."""
        if self._ended:
            return
        if self._peer is not None:
            self._peer.drain()
        self._ended = True
        if self._peer is not None:
            self._peer.close()
        self._requests.close()
        start_fault = None if self._ready else self._fault
        reason = reason_of(wait_status, bye=self._bye, kill_reason=self._kill_reason, start_fault=start_fault)
        ending = Ending(reason, self._ready, self._ignored, self._fault)
        if self.keeper is not None:
            self.keeper.ended(self, ending)
        self._on_end(self, ending)

    def never_forked(self, message: str, error: StartError | None = None) -> None:
        """No process could be had for it: ends as a failed start, with `error` if the zygote itself did not start."""
        if self._ended:
            return
        self._ended = True
        reason: ExitReason = self._kill_reason or (error and error.reason) or ("error", "ForkFailed", message, "")
        fault = self._to_fault(error or OSError(message))
        self._on_end(self, Ending(reason, ready=False, ignored=False, fault=fault))
