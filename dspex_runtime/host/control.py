"""The control thread: serves the parent always, and the data channels while every call thread is at work.

Owns the control channel's reading side, and the rotation check while foreign code writes to the log.
Needs the GIL: while C code holds it nothing here answers, and the parent's own clock decides.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import ProtocolError
from dspex_runtime.host import context
from dspex_runtime.host.assignment import Assignment
from dspex_runtime.host.chores import Chores
from dspex_runtime.host.ending import Ending
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.logs import ProcessLog
from dspex_runtime.host.operations import Operations
from dspex_runtime.host.parameters import Parameters
from dspex_runtime.host.parent import ParentPeer
from dspex_runtime.host.peer import Peer
from dspex_runtime.host.stopping import Stopping
from dspex_runtime.host.turns import Turns
from dspex_runtime.host.uplink import ANSWERS, Uplink, is_change, is_mail
from dspex_runtime.osproc.channel import Channel, FdChannel
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec, UndecodableError

if TYPE_CHECKING:
    from dspex_runtime.host.change_mail import ChangeMail
    from dspex_runtime.host.server_loop import ServerLoop

log = logging.getLogger("dspex_runtime.host")

LONGEST_WAIT_S: Final = 3600.0  # epoll takes at most 24 days; a drain may have longer


class Control:
    """Serves one parent."""

    def __init__(
        self,
        channel: FdChannel,
        epoll: select.epoll,
        assignment: Assignment,
        codec: Codec,
        ending: Ending,
        logs: ProcessLog,
        uplink: Uplink,
        parameters: Parameters,
    ) -> None:
        self._channel = channel
        self._uplink = uplink
        self._epoll = epoll
        self._assignment = assignment
        self._codec = codec
        self._ending = ending
        self._logs = logs
        self._parameters = parameters
        self._early_fds: deque[int] = deque()
        self._asked: set[int] = set()  # numbers of what the parent waits for an answer to
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._turns = Turns(channel.fileno(), self.wake)
        self._loop: ServerLoop | None = None
        self._operations: Operations | None = None
        self._chores: Chores | None = None
        self._signalled = False
        self._left = False
        self._stopping: Stopping | None = None
        epoll.register(channel.fileno(), select.EPOLLIN)
        epoll.register(self._wake, select.EPOLLIN | select.EPOLLET)

    def begin(self, loop: ServerLoop, hosted: Hosted) -> None:
        """Make what the parent's requests need."""
        self._loop = loop
        loop.parent_waits = self._turns.unserved
        self._chores = Chores(loop, self._logs, self._parameters, self.wake)
        self._stopping = Stopping(loop, hosted, self._ending, trap_exit=self._assignment.launch.trap_exit, send=self.reply)
        parent = ParentPeer(self._channel, self.fault, self._asked.discard)
        self._operations = Operations(
            self, loop, hosted, self._stopping, self._assignment, self._codec, self._logs, self._parameters, parent
        )

    def serve(self, loop: ServerLoop, hosted: Hosted) -> None:
        """Serve until the process ends: the control thread's whole life. Of a rehearsal, until `leave`."""
        try:
            self.begin(loop, hosted)
            self._serve()
        except BaseException as exc:
            # A module that hears nobody could never be stopped in order: better a clear end.
            log.critical("the control thread failed", exc_info=exc)
            self._ending.exit(("error", type(exc).__name__, f"control thread: {exc}", ""))

    def leave(self) -> None:
        """Have `serve` return: it was a rehearsal."""
        self._left = True
        self.wake()

    def release(self) -> None:
        """Close its own descriptors, of one that does not serve (any more)."""
        os.close(self._wake)
        self._epoll.close()

    def _serve(self) -> None:
        loop = self._loop
        assert loop
        control, data, signals = self._channel.fileno(), loop.channels.fileno(), loop.channels.signals
        for message, fds in self._uplink.serve():  # what came while `init` asked the parent something
            self._early_fds.extend(fds)
            self._handle(message)
        if self._channel.pending:  # what came with the assignment is in our buffer, and the descriptor is quiet
            self._serve_parent()
            self._after_turn()
        while not self._left:
            self._turns.end()
            ready = [fileno for fileno, _ in self._epoll.poll(self._timeout_s())]
            if self._turns.begin() or control in ready:
                self._serve_parent()
            if data in ready:
                loop.take_over()
            if signals in ready:
                loop.hear_signals()
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

    def close(self) -> None:
        """Write down what is to outlive the process. On whatever thread ends it, after all user code."""
        if context.Process.changes is not None:
            context.Process.changes.close()
        if self._chores is not None:
            self._chores.close()

    def take_fd(self) -> int:
        """Take the next descriptor that the parent has sent."""
        return self._early_fds.popleft() if self._early_fds else self._channel.take_fd()

    def reply(self, message: list[Any], fds: Sequence[int] = ()) -> None:
        """Send an answer, from any thread."""
        self._asked.discard(message[1])  # before it is out: what the parent does upon it may be to have us leave
        try:
            self._channel.send(message, fds=fds)
        except OSError:
            pass  # its EOF ends us

    def unanswered(self) -> list[int]:
        """Return the numbers of the parent's requests that were not answered yet, in order."""
        return sorted(self._asked)

    def adopted(self) -> None:
        """This process goes on where another one was: it may have calls to write down, or be watched."""
        if self._chores is not None and self._operations is not None:
            self._chores.begin()
            self._operations.adopted()

    def fault(self, exc: BaseException) -> dict[str, Any]:
        """Return an exception as the map that travels."""
        assert self._loop is not None
        return self._loop.calls.fault(exc)

    def _timeout_s(self) -> float | None:
        now = time.monotonic()
        times = self._stopping.times() if self._stopping is not None else []
        if self._chores is not None and self._loop is not None and not self._loop.sealed:
            times += self._chores.times(now)
        if self._operations is not None and self._operations.leaving is not None:
            times += self._operations.leaving.times()
        return min(max(0.0, min(times) - now), LONGEST_WAIT_S) if times else None

    def _after_turn(self) -> None:
        assert self._stopping
        assert self._operations
        leaving = self._operations.leaving
        if self._signalled and (leaving is None or not leaving.undecided):
            self._signalled = False
            self._stopping.stop("shutdown", 0.0)
        if self._chores is not None and self._loop is not None and not self._loop.sealed:
            self._chores.look()
        self._stopping.look()
        if leaving is not None:
            leaving.look()

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
            if exc.kind == m.CONTROL and exc.request:
                self.reply([m.FAULT, exc.request, self.fault(exc)])
            else:
                self._uplink.undecodable(exc)
            return True
        for message in received:
            self._handle(message)
        return bool(received) and self._channel.pending

    def _handle(self, message: list[Any]) -> None:
        kind = message[0]
        if kind == m.CHANNEL:
            self._add_channel(message[2])
        elif kind == m.CONTROL:
            _, id, op, args = message
            assert self._operations is not None
            if id:
                self._asked.add(id)
            self._operations.serve(id, op, args or {})
        elif kind in ANSWERS:
            self._uplink.answered(message)
        elif is_mail(message):
            assert self._loop is not None
            self._loop.deliver(message[2]["message"])
        elif is_change(message):
            self._changes().came(message[2])
        else:
            log.warning("the parent sent a message of kind %r", kind)

    def _changes(self) -> ChangeMail:
        if context.Process.changes is None:
            from dspex_runtime.host.change_mail import ChangeMail  # few processes subscribe

            assert self._loop is not None
            context.Process.changes = ChangeMail(self._loop, self._codec)
        return context.Process.changes

    def _add_channel(self, info: dict[str, Any]) -> None:
        assert self._loop is not None
        try:
            sock = socket.socket(fileno=self.take_fd())
        except (ProtocolError, OSError) as exc:  # the limit of open files: the client finds its pipe closed
            log.error("cannot serve client %s: %s", info.get("client"), exc)
            return
        peer = Peer(Channel(sock, self._codec), client=str(info.get("client", "")), mux=bool(info.get("mux")))
        self._loop.add_channel(peer)
