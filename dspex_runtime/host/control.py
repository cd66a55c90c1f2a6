"""The control thread: serves the parent always, and the data channels while every call thread is at work.

Owns the control channel's reading side, the clock of a drain, and the rotation check while foreign code writes to the log.
Needs the GIL: while C code holds it nothing here answers, and the parent's own clock decides.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import CallError, ProtocolError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.host.assignment import Assignment
from dspex_runtime.host.ending import Ending
from dspex_runtime.host.genserver import checked_reason
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.logs import ProcessLog
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.parent import ParentPeer
from dspex_runtime.host.peer import Peer
from dspex_runtime.osproc.channel import Channel, FdChannel
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec, UndecodableError

if TYPE_CHECKING:
    from dspex_runtime.host.server_loop import ServerLoop

log = logging.getLogger("dspex_runtime.host")

LONGEST_WAIT_S: Final = 3600.0  # epoll takes at most 24 days; a drain may have longer
LOG_CHECK_S: Final = 5.0  # how often the log's size is looked at while code that is not Python writes to it


class Control:
    """Serves one parent."""

    def __init__(
        self, channel: FdChannel, epoll: select.epoll, assignment: Assignment, codec: Codec, ending: Ending, logs: ProcessLog
    ) -> None:
        self._channel = channel
        self._epoll = epoll
        self._assignment = assignment
        self._codec = codec
        self._ending = ending
        self._logs = logs
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._parent = ParentPeer(channel, self.fault)
        self._loop: ServerLoop | None = None
        self._hosted: Hosted | None = None
        self._signalled = False
        self._stop_reason: ExitReason | None = None
        self._drain_until: float | None = None  # when a stop no longer waits for running calls
        self._drains: list[tuple[int, float | None]] = []  # requests to be told when nothing runs: id, until
        epoll.register(channel.fileno(), select.EPOLLIN)
        epoll.register(self._wake, select.EPOLLIN | select.EPOLLET)

    def serve(self, loop: ServerLoop, hosted: Hosted) -> None:
        """Serve until the process ends: the control thread's whole life."""
        self._loop, self._hosted = loop, hosted
        try:
            self._serve()
        except BaseException as exc:
            # A module that hears nobody could never be stopped in order: better a clear end.
            log.critical("the control thread failed", exc_info=exc)
            self._ending.exit(("error", type(exc).__name__, f"control thread: {exc}", ""))

    def _serve(self) -> None:
        loop = self._loop
        assert loop
        control, data = self._channel.fileno(), loop.channels.fileno()
        if self._channel.pending:  # what came with the assignment is in our buffer, and the descriptor is quiet
            self._serve_parent()
            self._after_turn()
        while True:
            ready = [fileno for fileno, _ in self._epoll.poll(self._timeout_s())]
            if control in ready:
                self._serve_parent()
            if data in ready:
                loop.take_over()
            self._after_turn()

    def wake(self) -> None:
        """Make the thread look at its flags; safe from a signal handler and under the loop's lock."""
        os.eventfd_write(self._wake, 1)

    def on_sigterm(self, signum: int, frame: object) -> None:  # noqa: ARG002 (signal handler)
        """Stop as if the parent had said so. Takes no lock: it may interrupt a thread that holds one."""
        self._signalled = True
        self.wake()

    def event(self, payload: dict[str, Any]) -> None:
        """Tell the parent something; a parent that is gone is noticed elsewhere."""
        try:
            self._channel.send([m.EVENT, 0, payload])
        except OSError:
            pass

    def fault(self, exc: BaseException) -> dict[str, Any]:
        """Return an exception as the map that travels."""
        assert self._loop is not None
        return self._loop.calls.fault(exc)

    def _timeout_s(self) -> float | None:
        times = [until for _, until in self._drains if until is not None]
        if self._drain_until is not None:
            times.append(self._drain_until)
        if self._logs.foreign:
            times.append(time.monotonic() + LOG_CHECK_S)
        return min(max(0.0, min(times) - time.monotonic()), LONGEST_WAIT_S) if times else None

    def _after_turn(self) -> None:
        if self._signalled:
            self._signalled = False
            self._stop("shutdown", 0.0)
        if self._logs.foreign:
            self._logs.check()
        if self._drains:
            self._answer_drains()
        if self._drain_until is not None and time.monotonic() >= self._drain_until:
            self._end_drain()

    def _end_drain(self) -> None:
        loop, hosted, reason = self._loop, self._hosted, self._stop_reason
        assert loop
        assert hosted
        assert reason
        self._drain_until = None
        if hosted.serial:
            # terminate() must not run beside a callback. It has until the parent's own time-out, then it is killed.
            return
        loop.give_up()
        # The main thread may be in a call that never returns, so this one ends the process; whoever comes first does.
        self._ending.exit(reason)

    def _answer_drains(self) -> None:
        assert self._loop is not None
        running = self._loop.counts()["running"]
        now = time.monotonic()
        waiting = []
        for id, until in self._drains:
            if running == 0 or (until is not None and now >= until):
                self._send([m.REPLY, id, {"running": running}])
            else:
                waiting.append((id, until))
        self._drains = waiting

    def _serve_parent(self) -> None:
        more = True
        while more:
            more = self._serve_messages()

    def _serve_messages(self) -> bool:
        """Serve what is here; True when more may be, that a poll of the descriptor would not tell of."""
        try:
            received = self._channel.recv_ready()
        except (EOFError, ConnectionError):
            os._exit(0)  # the runtime is gone; nobody is left to end for
        except UndecodableError as exc:  # a value that cannot be rebuilt here; whatever else is wrong ends the process
            log.error("lost a message of the parent: %s", exc)
            return True
        for message in received:
            kind = message[0]
            if kind == m.CHANNEL:
                self._add_channel(message[2])
            elif kind == m.CONTROL:
                _, id, op, args = message
                self._operate(id, op, args or {})
            else:
                log.warning("the parent sent a message of kind %r", kind)
        return bool(received) and self._channel.pending

    def _add_channel(self, info: dict[str, Any]) -> None:
        assert self._loop is not None
        try:
            sock = socket.socket(fileno=self._channel.take_fd())
        except (ProtocolError, OSError) as exc:  # the limit of open files: the client finds its pipe closed
            log.error("cannot serve client %s: %s", info.get("client"), exc)
            return
        peer = Peer(Channel(sock, self._codec), client=str(info.get("client", "")), mux=bool(info.get("mux")))
        self._loop.add_channel(peer)

    def _send(self, message: list[Any]) -> None:
        try:
            self._channel.send(message)
        except OSError:
            pass  # its EOF ends us

    def _answer(self, id: int, function: Callable[[], Any]) -> None:
        """Answer with what function returns, or with the fault of what it raises; also of what cannot be sent."""
        try:
            self._send([m.REPLY, id, function()])
        except Exception as exc:
            self._send([m.FAULT, id, self.fault(exc)])

    def _operate(self, id: int, op: str, args: dict[str, Any]) -> None:
        loop, hosted = self._loop, self._hosted
        assert loop
        assert hosted
        match op:
            case "stop":
                if id:
                    self._send([m.REPLY, id, None])
                self._stop(checked_reason(args.get("reason", "shutdown")), args.get("drain_s"))
            case "drain":
                timeout_s = args.get("timeout_s")
                loop.drain()
                self._drains.append((id, None if timeout_s is None else time.monotonic() + timeout_s))
            case "call":
                timeout_s = args.get("timeout_s")
                deadline = None if timeout_s is None else time.monotonic() + timeout_s
                loop.put(Request(self._parent, id, args["method"], args.get("args", []), args.get("kwargs", {}), deadline))
            case "get_state":
                loop.run_on_main(lambda: self._answer(id, hosted.get_state))
            case "replace_state":
                loop.run_on_main(lambda: self._answer(id, lambda: hosted.replace_state(self._function(args["function"]))))
            case "suspend" | "resume":
                loop.suspend(op == "suspend")
                self._send([m.REPLY, id, None])
            case "check_log":
                self._logs.check()
            case "status":
                loop.run_on_main(lambda: self._answer(id, lambda: {**loop.counts(), **hosted.status()}))
            case "ping" | "metrics" | "executions" | "statistics":
                self._answer(id, lambda: self._figures(op, args))
            case _:
                self._send([m.FAULT, id, self.fault(CallError(f"a module has no operation {op!r}"))])

    def _figures(self, op: str, args: dict[str, Any]) -> Any:
        loop = self._loop
        assert loop is not None
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
                return {"id": self._assignment.id, "incarnation": self._assignment.incarnation, "pid": os.getpid()}

    def _function(self, pickled: Any) -> Callable[[Any], Any]:
        """The client's function, as the codec already rebuilt it or as the bytes that cloudpickle made."""
        if callable(pickled):
            return pickled  # type: ignore[no-any-return]
        import pickle

        function: Callable[[Any], Any] = pickle.loads(pickled)
        return function

    def _stop(self, reason: ExitReason, drain_s: float | None) -> None:
        assert self._loop is not None
        if not self._assignment.launch.trap_exit:
            self._ending.exit(reason, run_terminate=False)
        until = None if drain_s is None else time.monotonic() + drain_s
        if self._stop_reason is None:
            self._stop_reason, self._drain_until = reason, until
            self._loop.stop(reason)
        elif until is not None and (self._drain_until is None or until < self._drain_until):
            self._drain_until = until  # asked again, with less patience


# signal.signal without its conversion to and from enums, which in a fresh process faults in 20 pages a call.
_set_handler: Final = getattr(signal.signal, "__wrapped__", signal.signal)


def ignore_interrupts() -> None:
    """Leave ^C and hang-ups to the runtime. A handler, not SIG_IGN: that would be inherited by every program the module starts."""
    _set_handler(signal.SIGINT, _nothing)
    # When the zygote dies, our process group is orphaned: if we are stopped (SIGSTOP) at that moment the kernel sends SIGHUP
    # and SIGCONT (POSIX, _exit). A module has to outlive its zygote also then.
    _set_handler(signal.SIGHUP, _nothing)


def stop_on_sigterm(handler: Callable[[int, object], None]) -> None:
    """SIGTERM stops in order; without this it ends the process at once."""
    _set_handler(signal.SIGTERM, handler)


def _nothing(signum: int, frame: object) -> None:
    """Let it pass."""
