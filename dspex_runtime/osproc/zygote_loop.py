"""The zygote's main loop: forks what it is asked for, reports who exited, reaps who was acknowledged, ends strays.

Every page that is written here between two forks is copied here, and the old one stays with the child that was forked before:
the way from one fork to the next is short, and this file is imported last, so that what runs all the time lies together.

Owns no process's fate: the messages are listed in `zygote`, which also ends what is left.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Collection
from typing import Any, Final

from dspex_runtime.errors import ProtocolError
from dspex_runtime.osproc import signals
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.descendants import children_of, kill
from dspex_runtime.osproc.forker import Forker
from dspex_runtime.osproc.mark import forked_by, read_mark
from dspex_runtime.osproc.reaper import Reaper

__all__ = ["ZygoteLoop"]

BEHIND_S: Final = 0.002  # how long an acknowledgement is awaited before all live children are asked, see Reaper
STRAYS_EVERY_S: Final = 0.1  # orphans of dead modules are looked for at most this often: reading 10 000 children takes ms

# ["forked", pid, warmth] as the codec frames it: an array of three, a text of six letters, a 32-bit and a small number.
_FORKED: Final = struct.Struct("!i9sIB")
_FORKED_HEAD: Final = b"\x93\xa6forked\xce"
_FD: Final = struct.Struct("i")


class ZygoteLoop:
    """What the zygote does after the preload, and a template once it is built, until it is told to quit or the runtime is gone."""

    def __init__(
        self, sock: socket.socket, channel: FdChannel, forker: Forker, wakeup: signals.Wakeup, *, others: Collection[int] = ()
    ) -> None:
        """Prepare.

        Args:
            sock: The channel's.
            channel: To the runtime.
            forker: Forks.
            wakeup: Of SIGCHLD.
            others: Children that are no modules.
        """
        self._sock = sock
        self._channel = channel
        self._forker = forker
        self._wakeup = wakeup
        self._others = frozenset(others)
        self._templates: set[int] = set()  #: children that fork, until the runtime has said whom to adopt of the dead one's
        self._reaper = Reaper()
        self._marks: dict[int, str] = {}  #: of live children
        self._wanted: deque[int] = deque()  #: forks asked for, as their warmth
        self.told_to_quit = False
        self._strays_at: float | None = None
        self._strays_seen = 0
        self._last_sweep = 0.0
        self._poller = select.poll()
        self._poller.register(channel.fileno(), select.POLLIN)
        self._poller.register(wakeup.fileno(), select.POLLIN)

    def run(self) -> None:
        """Serve until told to quit or the runtime is gone."""
        try:
            self._prepare()
            self._report_exits(everyone=False)  # a second guard may have left before there was a wakeup
            while not self.told_to_quit:
                self._turn()
        except (EOFError, ConnectionError, ProtocolError):
            pass  # the runtime ended; so do we

    def _turn(self) -> None:
        ready = {fd for fd, _ in self._poller.poll(self._timeout_ms())}
        acknowledged = False
        if self._channel.fileno() in ready:
            for message in self._channel.recv_ready():
                acknowledged |= self._handle(message)
        if self._wakeup.fileno() in ready:
            self._wakeup.drain()
            self._report_exits(everyone=False)
        elif self._reaper.behind or acknowledged:
            # Nothing new, so the zombie we waited for was acknowledged, or it was not in time.
            self._report_exits(everyone=not acknowledged)
        while self._wanted:
            self._fork(self._wanted.popleft())
            if self._poller.poll(0):
                break  # exits and acknowledgements are served between forks
        if self._strays_at is not None and time.monotonic() >= self._strays_at:
            self._kill_strays()
        if not self._wanted:
            self._prepare()

    def _timeout_ms(self) -> float | None:
        if self._wanted:
            return 0
        if self._reaper.behind:
            return BEHIND_S * 1000
        if self._strays_at is not None:
            return max(0.0, (self._strays_at - time.monotonic()) * 1000) + 1
        return None

    def _handle(self, message: list[Any]) -> bool:
        """Carry out one request; True if it freed a zombie, or there may be a new one."""
        match message:
            case ["reap", int(pid)]:
                return self._reaper.acknowledge(pid)
            case ["fork", int(n), int(warmth)]:
                self._wanted.extend([warmth] * n)
            case ["template", int(pid)]:
                self._templates.add(pid)
            case ["adopt", int(pid), list(orphans)]:
                self._adopt(pid, orphans)
                return True  # one of them may be dead, and its end have been passed over
            case ["quit"]:
                self.told_to_quit = True
            case _:
                raise ProtocolError(f"illegal message from the runtime: {message!r}")
        return False

    def _fork(self, warmth: int) -> None:
        try:
            pid, control_fd, mark = self._forker.fork(warmth)
        except OSError as exc:
            self._channel.send(["fork_failed", f"cannot fork a module process: {exc}", warmth])
            return
        self._reaper.add(pid)
        self._marks[pid] = mark
        try:
            self._announce(pid, warmth, control_fd)
        finally:
            os.close(control_fd)

    def _announce(self, pid: int, warmth: int, control_fd: int) -> None:
        # One call instead of the channel's twenty: what is written between two forks is copied twice, once here and once in
        # the child that was forked before. Eighteen bytes go whole or not at all.
        message = _FORKED.pack(_FORKED.size - 4, _FORKED_HEAD, pid, warmth)
        self._sock.sendmsg((message,), ((socket.SOL_SOCKET, socket.SCM_RIGHTS, _FD.pack(control_fd)),))

    def _prepare(self) -> None:
        try:
            self._forker.prepare()
        except OSError:
            pass  # the next fork will say so, if the shortage lasts

    def _report_exits(self, *, everyone: bool) -> None:
        for pid, status in self._reaper.scan(everyone=everyone, strangers=bool(self._templates)):
            if self._marks.pop(pid, None) is not None:  # the group of a stranger may be that of a living module's daemon
                _kill_group(pid)
            self._channel.send(["exited", pid, status])
            self._look_for_strays()
        if self._reaper.strays != self._strays_seen:
            self._strays_seen = self._reaper.strays
            self._look_for_strays()  # what the dead stray had started moved up to us

    def _adopt(self, template: int, orphans: list[int]) -> None:
        """Report these from now on: the template that forked them is dead. Those that were reported as strangers are known now."""
        self._templates.discard(template)
        for pid in orphans:
            if pid in self._reaper.reported:
                _kill_group(pid)
            elif self._reaper.adopt(pid):
                self._marks[pid] = read_mark(pid) or ""
        self._look_for_strays()

    def _look_for_strays(self) -> None:
        if self._strays_at is None:
            self._strays_at = max(time.monotonic(), self._last_sweep + STRAYS_EVERY_S)

    def _kill_strays(self) -> None:
        """Kill orphans that carry the mark of a child that is dead. Those of living ones (daemons) are left alone."""
        self._strays_at = None
        self._last_sweep = time.monotonic()
        ours = self._reaper.live | self._reaper.reported | self._others
        living = set(self._marks.values())
        for pid in children_of(os.getpid()):
            if pid in ours or (mark := read_mark(pid)) is None:
                continue
            # What a template had forked that died just now is its children's, or one of them, until it is known which live.
            if self._forker.marker.of_this_run(mark) and mark not in living and forked_by(mark) not in self._templates:
                kill(pid)


def _kill_group(pid: int) -> None:
    """Kill what a dead child leaves behind; its zombie pins the group's number."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
