"""Gives processes to modules: keeps the zygote alive, spares ready, and carries exit statuses to whoever they belong to.

A start takes a spare when one is idle, else the next fork. The zygote is replaced when it dies (after a growing delay when it
keeps dying); its modules live on as children of the runtime, which then reaps them itself.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dspex_runtime.errors import StartError
from dspex_runtime.node.event_loop import EventLoop, Timer
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.peer import Peer
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.subreaper import reap_exited, reap_strays
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.osproc.zygote_client import Zygote
from dspex_runtime.types import Kind
from dspex_runtime.wire.messages import Message

log = logging.getLogger(__name__)

ENTRY: Final = "dspex_runtime.host.bootstrap:main"
RESPAWN_DELAYS_S: Final = (0.0, 0.1, 0.5, 2.0, 10.0)  # before the nth replacement of a zygote that never got ready
MAX_FORKS_AHEAD: Final = 8  # forks asked for and not yet there; more only lengthens the zygote's queue
# Which spare a start takes, by whether it is a dspy module. A spare of another kind still beats a fork.
PREFERENCE: Final = {
    True: (Warmth.MODULE, Warmth.SERVER, Warmth.COLD),
    False: (Warmth.SERVER, Warmth.COLD, Warmth.MODULE),
}
REFILL_AFTER_S: Final = 0.02  # spares are refilled when no start has waited for this long


@dataclass(frozen=True, slots=True)
class Spare:
    """A forked process that waits to become a module."""

    pid: int
    sock: socket.socket


@dataclass(slots=True)
class Pool:
    """Idle processes of one warmth. COLD ones are forked for starts that wait or are announced, none is kept in store."""

    warmth: Warmth
    size: int
    idle: deque[Spare] = field(default_factory=deque)
    asked: int = 0  #: forks asked for and not yet there


class Launcher:
    """See the module docstring."""

    def __init__(
        self,
        loop: EventLoop,
        board: Board,
        lifeline_fd: int,
        *,
        preload: Sequence[str],
        env: Mapping[str, str],
        spares: int,
        path: Sequence[str],
        facts: Callable[[ModuleProcess], dict[str, Any]],
        on_failed: Callable[[StartError], None],
        report: Callable[..., None],
    ) -> None:
        self._loop = loop
        self._board = board
        self._lifeline_fd = lifeline_fd
        self._preload = tuple(preload)
        self._env = dict(env)
        self._path = tuple(path)
        self._facts = facts
        self._on_failed = on_failed
        self._report = report
        sizes = {Warmth.MODULE: spares if "dspy" in preload else 0, Warmth.SERVER: spares, Warmth.COLD: 0}
        self._pools = {warmth: Pool(warmth, size) for warmth, size in sizes.items()}
        self._waiting: deque[ModuleProcess] = deque()
        self._expected = 0  #: starts announced and not yet made
        self._by_pid: dict[int, ModuleProcess] = {}
        self._adopted: set[int] = set()  #: pids whose zygote died: ours to reap
        self._zygote: Zygote | None = None
        self._peer: Peer | None = None
        self._ready = False
        self._was_ready = False
        self._failures = 0
        self._closing = False
        self._refill_timer: Timer | None = None

    @property
    def zygote_pid(self) -> int | None:
        """The living zygote's pid."""
        return self._zygote.pid if self._zygote else None

    # -- the zygote -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the zygote; starts that are asked for meanwhile wait for it."""
        self._zygote = Zygote.spawn(
            preload=self._preload,
            env=self._env,
            lifeline_fd=self._lifeline_fd,
            board_fd=self._board.fd,
            entry=ENTRY,
            log_fd=2,
            path=self._path,
        )
        self._peer = Peer(self._loop, self._zygote.sock, self._message, self._zygote_lost)

    def _message(self, peer: Peer, message: Message) -> None:
        match message:
            case ["forked", int(pid), int(warmth)]:
                self._forked(peer, pid, self._pools[Warmth(warmth)])
            case ["exited", int(pid), int(status)]:
                self._exited(pid, status)
                peer.send(["reap", pid])
            case ["ready", dict() as info]:
                self._ready = self._was_ready = True
                self._failures = 0
                self._report("zygote_ready", **info)
                self._ask_forks()
                self._refill_later()
            case ["failed", dict() as why]:
                self._preload_failed(why)
            case ["fork_failed", str(text), int(warmth)]:
                self._fork_failed(text, self._pools[Warmth(warmth)])
            case _:
                log.error("illegal message from the zygote: %r", message)

    def _preload_failed(self, why: dict[str, Any]) -> None:
        error = StartError(str(why.get("message")), remote_traceback=why.get("traceback"), reason=("error", "PreloadError", "", ""))
        self._report("zygote_failed", message=str(why.get("message")))
        if not self._was_ready:
            self._on_failed(error)

    def _zygote_lost(self, _peer: Peer, error: Exception | None) -> None:
        zygote, self._zygote, self._peer, self._ready = self._zygote, None, None, False
        if zygote is None:
            return
        if error is not None:
            log.error("zygote: %s", error)
        os.kill(zygote.pid, signal.SIGKILL)  # its socket closed: it is gone, or of no use; this makes the wait short
        os.waitpid(zygote.pid, 0)
        if self._closing:
            return
        self._adopted |= set(self._by_pid)
        for pool in self._pools.values():
            pool.asked = 0
            for spare in pool.idle:
                self._adopted.add(spare.pid)
                spare.sock.close()  # a spare exits when its control pipe ends
            pool.idle.clear()
        self.reap()
        delay_s = self._reopen_later()
        self._report("zygote_lost", pid=zygote.pid, modules=len(self._by_pid), again_in_s=delay_s)

    def _reopen_later(self) -> float:
        delay_s = RESPAWN_DELAYS_S[min(self._failures, len(RESPAWN_DELAYS_S) - 1)]
        self._failures += 1
        self._loop.call_later(delay_s, self._reopen)
        return delay_s

    def _reopen(self) -> None:
        if self._closing or self._zygote is not None:
            return
        try:
            self.open()
        except OSError as exc:
            self._report("zygote_failed", message=f"cannot start a zygote: {exc}")
            self._reopen_later()

    # -- starting ---------------------------------------------------------------------------------------------------

    def start(self, process: ModuleProcess) -> None:
        """Give `process` an OS process, now or when the zygote has made one."""
        for warmth in PREFERENCE[process.spec.kind is Kind.MODULE]:
            if self._pools[warmth].idle:
                self._assign(process, self._pools[warmth].idle.popleft())
                self._ask_forks()
                self._refill_later()
                return
        self._waiting.append(process)
        self._ask_forks()

    def expect(self, starts: int) -> None:
        """Announce starts that will follow one after another: forks are made ahead of them, on another core.

        A negative number takes back what was announced: it is being made now, or will not be.
        """
        self._expected += starts
        if starts > 0:
            self._ask_forks()

    def abandon(self, process: ModuleProcess) -> None:
        """Forget a start that still waits for a process; it ends as never forked."""
        if process in self._waiting:
            self._waiting.remove(process)
            process.never_forked("stopped before it had a process")

    def _assign(self, process: ModuleProcess, spare: Spare) -> None:
        try:
            slot = self._board.allocate()
        except OSError as exc:
            spare.sock.close()
            process.never_forked(f"no place on the board for another process: {exc}")
            return
        self._by_pid[spare.pid] = process
        process.assign(spare.pid, spare.sock, slot, self._facts(process))

    def _ask_forks(self) -> None:
        if not self._ready or self._peer is None:
            return
        # Whoever waits gets a cold fork: a rehearsal pays only while nobody waits for it.
        pool = self._pools[Warmth.COLD]
        coming = max(0, self._expected - len(pool.idle))
        wanted = min(len(self._waiting) + coming, MAX_FORKS_AHEAD) - pool.asked
        if wanted > 0:
            pool.asked += wanted
            self._peer.send(["fork", wanted, int(Warmth.COLD)])

    def _refill_later(self) -> None:
        if self._refill_timer is None or self._refill_timer.callback is None:
            self._refill_timer = self._loop.call_later(REFILL_AFTER_S, self._refill)

    def _refill(self) -> None:
        if not self._ready or self._peer is None or self._closing:
            return
        if self._waiting or self._expected:
            self._refill_later()  # a tree is coming up: its starts go first
            return
        for pool in self._pools.values():
            missing = pool.size - len(pool.idle) - pool.asked
            if missing > 0:
                pool.asked += missing
                self._peer.send(["fork", missing, int(pool.warmth)])

    def _forked(self, peer: Peer, pid: int, pool: Pool) -> None:
        fd = peer.take_fd()
        pool.asked = max(0, pool.asked - 1)
        if fd is None:
            peer.close(RuntimeError("the zygote sent a fork without its control pipe"))
            return
        spare = Spare(pid, socket.socket(fileno=fd))
        if self._waiting:
            self._assign(self._waiting.popleft(), spare)
            self._ask_forks()
        else:
            pool.idle.append(spare)
        self._refill_later()

    def _fork_failed(self, text: str, pool: Pool) -> None:
        pool.asked = max(0, pool.asked - 1)
        self._report("fork_failed", message=text)
        if self._waiting:
            self._waiting.popleft().never_forked(text)
        self._ask_forks()

    # -- ending -----------------------------------------------------------------------------------------------------

    def _exited(self, pid: int, status: int) -> None:
        process = self._by_pid.pop(pid, None)
        if process is None:
            self._spare_lost(pid)
            return
        slot = process.slot
        process.exited(status)
        if slot is not None:
            self._board.free(slot)

    def _spare_lost(self, pid: int) -> None:
        for pool in self._pools.values():
            for spare in [s for s in pool.idle if s.pid == pid]:
                pool.idle.remove(spare)
                spare.sock.close()
                self._refill_later()

    def reap(self) -> None:
        """Collect the exits of processes whose zygote died. Called on SIGCHLD; costs nothing while there are none."""
        if self._adopted:
            for pid, status in reap_exited(self._adopted):
                self._adopted.discard(pid)
                self._exited(pid, status)
        reap_strays({*self._adopted, *self._by_pid, *(() if self._zygote is None else (self._zygote.pid,))})

    # -- closing ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End spares and the zygote. Modules must be gone by now; the zygote kills whatever descendant is left."""
        self._closing = True
        if self._refill_timer is not None:
            self._refill_timer.cancel()
        while self._waiting:
            self._waiting.popleft().never_forked("the runtime is stopping")
        for pool in self._pools.values():
            for spare in pool.idle:
                spare.sock.close()
            pool.idle.clear()
        if self._peer is not None and self._zygote is not None:
            zygote = self._zygote
            self._zygote = None
            if not self._ready:
                os.kill(zygote.pid, signal.SIGKILL)  # still importing; it has no children
            self._peer.close()  # EOF: it kills its descendants and exits
            os.waitpid(zygote.pid, 0)
