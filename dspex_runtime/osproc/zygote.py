"""The zygote process: imports once, forks modules, reports and reaps them. Started by `zygote_client`, spoken to over a socket.

    python -m dspex_runtime.osproc.zygote --sock FD --lifeline FD --board FD --entry pkg.mod:function [--path DIR] [--preload NAME]

    zygote -> runtime   ["ready", {"pid", "modules", "threads", "seconds"}] | ["failed", {"message", "traceback"}] and exit 1
    runtime -> zygote   ["fork", n, warmth]             answered n times by one of
    zygote -> runtime   ["forked", pid, warmth] + the parent end of the child's control pipe
                        ["fork_failed", text, warmth]
                        ["exited", pid, wait_status]      pid stays a zombie until
    runtime -> zygote   ["reap", pid]
                        ["quit"] or the socket's end      kill every descendant, exit

Invariants: one thread; never runs user code but the preload list; never decides a restart; a pid is reported forked before it is
reported exited, and exited once; when it ends, nothing below it lives.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import signal
import socket
import sys
import time
from collections import deque
from typing import Any, Final

from dspex_runtime.errors import ProtocolError
from dspex_runtime.osproc import guard, lifeline, signals
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.descendants import children_of, end_all, kill
from dspex_runtime.osproc.descriptors import close_all_but, same_file
from dspex_runtime.osproc.forker import Forker
from dspex_runtime.osproc.mark import Marker, read_mark, run_of
from dspex_runtime.osproc.preload import PreloadError, own_modules, preload, resolve, set_environment
from dspex_runtime.osproc.reaper import Reaper
from dspex_runtime.osproc.subreaper import set_subreaper
from dspex_runtime.wire.codec import Codec

__all__ = ["main"]

END_TIMEOUT_S: Final = 5.0  # what does not die of SIGKILL in this time is stuck in the kernel
BEHIND_S: Final = 0.002  # how long an acknowledgement is awaited before all live children are asked, see Reaper
STRAYS_EVERY_S: Final = 0.1  # orphans of dead modules are looked for at most this often: reading 10 000 children takes ms


class Zygote:
    """The main loop after the preload. See the module docstring for what it keeps."""

    def __init__(self, channel: FdChannel, forker: Forker, marker: Marker, wakeup: signals.Wakeup, guard_pid: int) -> None:
        self._channel = channel
        self._forker = forker
        self._marker = marker
        self._wakeup = wakeup
        self._guard_pid = guard_pid
        self._reaper = Reaper()
        self._marks: dict[int, str] = {}  #: of live children
        self._wanted: deque[int] = deque()  #: forks asked for, as their warmth
        self._quit = False
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
            while not self._quit:
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
        if self._wanted:
            self._fork(self._wanted.popleft())  # one per turn: exits and acknowledgements are served between forks
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
        """Carry out one request; True if it freed a zombie."""
        match message:
            case ["reap", int(pid)]:
                return self._reaper.acknowledge(pid)
            case ["fork", int(n), int(warmth)]:
                self._wanted.extend([warmth] * n)
            case ["quit"]:
                self._quit = True
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
            self._channel.send(["forked", pid, warmth], fds=(control_fd,))
        finally:
            os.close(control_fd)

    def _prepare(self) -> None:
        try:
            self._forker.prepare()
        except OSError:
            pass  # the next fork will say so, if the shortage lasts

    def _report_exits(self, *, everyone: bool) -> None:
        for pid, status in self._reaper.scan(everyone=everyone):
            self._marks.pop(pid, None)
            try:
                os.killpg(pid, signal.SIGKILL)  # leftover grandchildren; the zombie pins the group's number
            except ProcessLookupError:
                pass
            self._channel.send(["exited", pid, status])
            self._look_for_strays()
        if self._reaper.strays != self._strays_seen:
            self._strays_seen = self._reaper.strays
            self._look_for_strays()  # what the dead stray had started moved up to us

    def _look_for_strays(self) -> None:
        if self._strays_at is None:
            self._strays_at = max(time.monotonic(), self._last_sweep + STRAYS_EVERY_S)

    def _kill_strays(self) -> None:
        """Kill orphans that carry the mark of a child that is dead. Those of living ones (daemons) are left alone."""
        self._strays_at = None
        self._last_sweep = time.monotonic()
        ours = self._reaper.live | self._reaper.reported | {self._guard_pid}
        living = set(self._marks.values())
        for pid in children_of(os.getpid()):
            if pid in ours or (mark := read_mark(pid)) is None:
                continue
            if self._marker.of_this_run(mark) and mark not in living:
                kill(pid)


def main(argv: list[str] | None = None) -> int:
    """Run the zygote process; returns its exit status."""
    started = time.monotonic()
    options = _options(argv)
    sys.path[:] = options.path or sys.path
    if "DSPEX_PYTHONPATH" in os.environ:
        _restore_pythonpath(os.environ.pop("DSPEX_PYTHONPATH"))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    close_all_but((options.sock, options.lifeline, options.board), limit=limit)
    for fd in (options.sock, options.lifeline, options.board):
        os.set_inheritable(fd, False)  # had to survive our exec, must not survive a module's
    signals.ignore((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))  # the runtime decides when modules end, not a terminal
    set_subreaper()
    run = run_of(options.lifeline)
    marker = Marker(run)
    set_environment()
    guard_pid = guard.start(lifeline_fd=options.lifeline, board_fd=options.board, run=run, limit=limit)
    channel = FdChannel(socket.socket(fileno=options.sock), Codec())
    wakeup = signals.Wakeup([signal.SIGCHLD])
    try:
        # While it imports it cannot hear the runtime end; the kernel can.
        armed_fd = lifeline.arm(options.lifeline)
        try:
            modules = preload(options.preload, known_children=(guard_pid,))
            preload(own_modules(options.entry), known_children=(guard_pid,))
            entry = resolve(options.entry)
        except PreloadError as exc:
            _try_send(channel, ["failed", {"message": exc.message, "traceback": exc.traceback_text}])
            return 1
        os.close(armed_fd)
        wakeup.close()
        wakeup = signals.Wakeup([signal.SIGCHLD])  # again: what was imported may have taken it
        board = Board.attach(options.board)
        forker = Forker(entry, board, lifeline_fd=options.lifeline, marker=marker, keep_fds=same_file(options.board), limit=limit)
        threads = len(os.listdir("/proc/self/task"))
        ready = {"pid": os.getpid(), "modules": modules, "threads": threads, "seconds": time.monotonic() - started}
        if _try_send(channel, ["ready", ready]):
            Zygote(channel, forker, marker, wakeup, guard_pid).run()
        return 0
    finally:
        _end(run, wakeup, guard_pid)


def _end(run: str, wakeup: signals.Wakeup, guard_pid: int) -> None:
    end_all(run=run, wakeup_fd=wakeup.fileno(), timeout_s=END_TIMEOUT_S, keep=(guard_pid,))
    try:
        if os.waitid(os.P_PID, guard_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            kill(guard_pid)  # nothing is left to guard
        os.waitpid(guard_pid, 0)
    except ChildProcessError:
        pass  # it found another guard at work and went


def _try_send(channel: FdChannel, message: list[Any]) -> bool:
    try:
        channel.send(message)
    except ConnectionError:
        return False  # the runtime is gone already
    return True


def _restore_pythonpath(value: str) -> None:
    # zygote_client set PYTHONPATH so that this file is found; programs started by modules get the user's own.
    if value:
        os.environ["PYTHONPATH"] = value
    else:
        os.environ.pop("PYTHONPATH", None)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dspex zygote")
    parser.add_argument("--sock", type=int, required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--board", type=int, required=True)
    parser.add_argument("--entry", required=True)
    parser.add_argument("--path", action="append", default=[])
    parser.add_argument("--preload", action="append", default=[])
    options = parser.parse_args(argv)
    sys.argv[1:] = []  # modules must not parse our options
    return options


if __name__ == "__main__":
    # Run the importable copy, not this one: its classes must not live in __main__, which belongs to the user.
    from dspex_runtime.osproc.zygote import main as run_zygote

    sys.exit(run_zygote())
