"""The zygote process: imports once, forks modules, reports and reaps them. Started by `zygote_client`, spoken to over a socket.

    python -m dspex_runtime.osproc.zygote --sock=FD --lifeline=FD --board=FD --entry=pkg.mod:function
        [--rehearsal=pkg.mod:function] [--path=DIR ...] [--preload=NAME ...]

    zygote -> runtime   ["ready", {"pid", "modules", "threads", "seconds"}] | ["failed", {"message", "traceback"}] and exit 1
    runtime -> zygote   ["fork", n, warmth]             answered n times by one of
    zygote -> runtime   ["forked", pid, warmth] + the parent end of the child's control pipe
                        ["fork_failed", text, warmth]
                        ["exited", pid, wait_status]      pid stays a zombie until
    runtime -> zygote   ["reap", pid]
                        ["template", pid]                 a child that is to fork itself: at its death its children become ours,
                        ["adopt", pid, [pid, ...]]        and these of them are to be reported from then on
                        ["quit"] or the socket's end      kill every descendant, exit

Invariants: one thread; never runs user code but the preload list; never decides a restart; a pid is reported forked before it is
reported exited, and exited once; when it ends, nothing below it lives.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.osproc import guard, lifeline, signals, user_code
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.descendants import end_all, kill
from dspex_runtime.osproc.descriptors import close_all_but, same_file
from dspex_runtime.osproc.mark import Marker, run_of
from dspex_runtime.osproc.preload import PreloadError, own_modules, preload, rehearse, resolve, set_environment
from dspex_runtime.osproc.subreaper import set_subreaper
from dspex_runtime.wire.codec import Codec

__all__ = ["main"]

END_TIMEOUT_S: Final = 5.0  # what does not die of SIGKILL in this time is stuck in the kernel


def main(argv: list[str] | None = None) -> int:
    """Run the zygote process; returns its exit status."""
    started = time.monotonic()
    options = _options(sys.argv[1:] if argv is None else argv)
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
    sock = socket.socket(fileno=options.sock)
    channel = FdChannel(sock, Codec())
    wakeup = signals.Wakeup([signal.SIGCHLD])
    everything = False
    try:
        # While it imports it cannot hear the runtime end; the kernel can.
        armed_fd = lifeline.arm(options.lifeline)
        try:
            user_code.install()
            modules = preload(options.preload, known_children=(guard_pid,))
            preload(own_modules(options.entry), known_children=(guard_pid,))
            entry = resolve(options.entry)
            if options.rehearsal:
                rehearse(options.rehearsal, known_children=(guard_pid,))
        except PreloadError as exc:
            _try_send(channel, ["failed", {"message": exc.message, "traceback": exc.traceback_text}])
            return 1
        os.close(armed_fd)
        wakeup.close()
        wakeup = signals.Wakeup([signal.SIGCHLD])  # again: what was imported may have taken it
        from dspex_runtime.osproc.forker import Forker  # now: see `zygote_loop`
        from dspex_runtime.osproc.zygote_loop import ZygoteLoop

        board = Board.attach(options.board)
        forker = Forker(
            entry,
            board,
            lifeline_fd=options.lifeline,
            marker=marker,
            keep_fds=same_file(options.board),
            limit=limit,
            dispositions=signals.non_default(),
        )
        threads = len(os.listdir("/proc/self/task"))
        ready = {"pid": os.getpid(), "modules": modules, "threads": threads, "seconds": time.monotonic() - started}
        if _try_send(channel, ["ready", ready]):
            zygote = ZygoteLoop(sock, channel, forker, wakeup, others=(guard_pid,))
            zygote.run()
            everything = zygote.told_to_quit
        return 0
    finally:
        if everything or lifeline.is_cut(options.lifeline):
            _end_run(run, wakeup, guard_pid)
        else:
            _end_own(marker, wakeup, guard_pid)


def _end_own(marker: Marker, wakeup: signals.Wakeup, guard_pid: int) -> None:
    """End what this zygote has made: the runtime lives, and so do the modules of its other zygotes, and the guard."""
    end_all(run=marker.prefix, wakeup_fd=wakeup.fileno(), timeout_s=END_TIMEOUT_S, keep=(guard_pid,))


def _end_run(run: str, wakeup: signals.Wakeup, guard_pid: int) -> None:
    """End whatever belongs to this run, whoever made it."""
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


@dataclass(frozen=True, slots=True)
class _Options:
    sock: int
    lifeline: int
    board: int
    entry: str
    rehearsal: str
    path: list[str]
    preload: list[str]


def _options(argv: list[str]) -> _Options:
    # Not argparse: it and what it imports would be in every module process, and only we ever write this line.
    given: dict[str, list[str]] = {}
    for argument in argv:
        name, _, value = argument.removeprefix("--").partition("=")
        given.setdefault(name, []).append(value)
    sys.argv[1:] = []  # modules must not parse our options
    return _Options(
        sock=int(given["sock"][0]),
        lifeline=int(given["lifeline"][0]),
        board=int(given["board"][0]),
        entry=given["entry"][0],
        rehearsal=given.get("rehearsal", [""])[0],
        path=given.get("path", []),
        preload=given.get("preload", []),
    )


if __name__ == "__main__":
    # Run the importable copy, not this one: its classes must not live in __main__, which belongs to the user.
    from dspex_runtime.osproc.zygote import main as run_zygote

    sys.exit(run_zygote())
