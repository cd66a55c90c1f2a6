"""Zygotes played by a test, and processes as a launcher sees them."""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
from typing import Any

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.errors import StartError
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.osproc.zygote_client import Zygote
from dspex_runtime.types import ChildId, Kind
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.framing import FrameReader, frame
from dspex_runtime.wire.messages import Message
from helpers.waiting import wait_gone

_pids = itertools.count(5001)  # of forks that no process stands behind; two zygotes never give the same


def idle_child(fd: int) -> int:
    """Return the pid of a child that does nothing but end with the socket `fd`, the only descriptor it has."""
    closed_fd, open_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.closerange(3, fd)
        os.closerange(fd + 1, 4096)
        poller = select.poll()
        poller.register(fd, 0)  # only its end
        poller.poll()
        os._exit(0)
    os.close(open_fd)
    os.read(closed_fd, 1)  # its end says that the child has let go of everything it inherited
    os.close(closed_fd)
    return pid


class FakeZygote:
    """The zygote's end of the socket, played by the test. `modules` are the other ends of the control pipes it gave away."""

    def __init__(self) -> None:
        ours, self.sock = socket.socketpair()
        self.modules: dict[int, socket.socket] = {}
        self._reader = FrameReader()
        self.handle = Zygote(idle_child(self.sock.fileno()), ours)

    def say(self, message: Message, *fds: int) -> None:
        socket.send_fds(self.sock, [frame(Codec().pack(message))], fds)

    def heard(self) -> list[Message]:
        self.sock.setblocking(False)
        try:
            self._reader.feed(self.sock.recv(2**20))
        except BlockingIOError:
            pass
        messages: list[Message] = []
        while (body := self._reader.next()) is not None:
            messages.append(Codec().unpack(body))
        return messages

    def forked(self, *, warmth: Warmth = Warmth.COLD, pid: int | None = None) -> int:
        """Announce one fork; return its pid."""
        pid = pid if pid is not None else next(_pids)
        parent_end, self.modules[pid] = socket.socketpair()
        self.say(["forked", pid, int(warmth)], parent_end.fileno())
        parent_end.close()
        return pid

    def ready(self) -> None:
        self.say(["ready", {"pid": self.handle.pid, "modules": [], "threads": 1, "seconds": 0.1}])

    def die(self) -> None:
        os.kill(self.handle.pid, signal.SIGKILL)
        wait_gone([self.handle.pid])
        self.sock.close()

    def close(self) -> None:
        for sock in (self.sock, *self.modules.values()):
            sock.close()


class Process:
    """A ModuleProcess as the launcher sees it."""

    def __init__(self, id: str, kind: Kind, target: str | None = "pkg:X", *, template: bool = False) -> None:
        self.id = id
        self.spec = ChildSpec(ChildId(id), kind, launch=LaunchSpec(kind, target=target), template=template)
        self.kind = kind
        self.outgrew = self.stale = False
        self.on_started: Any = None
        self.pid: int | None = None
        self.slot: int | None = None
        self.facts: dict[str, Any] = {}
        self.statuses: list[int] = []
        self.unborn: list[str] = []
        self.error: StartError | None = None
        self._sock: socket.socket | None = None

    def assign(self, pid: int, sock: socket.socket, slot: int, facts: dict[str, Any]) -> None:
        self.pid, self._sock, self.slot, self.facts = pid, sock, slot, facts

    def exited(self, status: int) -> None:
        self.statuses.append(status)
        if self._sock is not None:
            self._sock.close()

    @property
    def ended(self) -> bool:
        return bool(self.statuses or self.unborn)

    @property
    def launch(self) -> LaunchSpec:
        assert self.spec.launch is not None
        return self.spec.launch

    def started(self, kind: Kind, *, outgrew: bool = False) -> None:
        """Play its READY: what it turned out to be."""
        self.kind, self.outgrew = kind, outgrew
        self.on_started(self)

    def never_forked(self, message: str, error: StartError | None = None) -> None:
        self.unborn.append(message)
        self.error = error
