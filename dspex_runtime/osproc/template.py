"""A fork of a zygote that goes on as one itself, of what it has become: whether it may, and that it does.

What a fork shares with its parent without meaning to (a file's position, a connection, a lock that a thread holds) is a fault far
from its cause. So a process in which user code has left any of that is refused, by name.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import stat
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.osproc import signals
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.descendants import end_all
from dspex_runtime.osproc.preload import PreloadError, check_alone
from dspex_runtime.osproc.subreaper import set_subreaper

if TYPE_CHECKING:
    from dspex_runtime.osproc.forker import Entry, Forker

__all__ = ["check", "open_fds", "serve"]

END_TIMEOUT_S: Final = 5.0
#: What this process handles itself from here on; what it forks has it as user code left it.
_TAKEN: Final = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def open_fds() -> dict[int, os.stat_result]:
    """Return the open descriptors, by number, and what is behind each."""
    found: dict[int, os.stat_result] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.fstat(int(name))
        except OSError:
            continue  # the listing's own, closed by now
    return found


def check(what: str, before: Collection[int]) -> list[int]:
    """Return the descriptors that were opened since and may be shared: /dev/null and its like, which have no position.

    Args:
        what: What was done since, for the message.
        before: Those that were open before.

    Raises:
        PreloadError: It left a thread, a child process, CUDA, a connection or an open file behind.
    """
    check_alone(what, "")
    gc.collect()  # a file object in a cycle is closed by now
    new = {fd: info for fd, info in open_fds().items() if fd not in before}
    wrong = [_named(fd, info) for fd, info in sorted(new.items()) if not stat.S_ISCHR(info.st_mode)]
    if wrong:
        raise PreloadError(f"{what} left open: {', '.join(wrong)}; forks would share it")
    return list(new)


def serve(
    sock: socket.socket, channel: FdChannel, forker: Forker, entry: Entry, *, keep_fds: Collection[int], facts: dict[str, Any]
) -> int:
    """Say ready, then fork and report as a zygote does, until told to quit or the runtime is gone; return the exit status.

    When it is over nothing lives that was forked here. Should it be killed, what it had forked becomes the zygote's.

    Args:
        sock: The channel's.
        channel: To the runtime.
        forker: That this process comes from.
        entry: What the children run.
        keep_fds: From `check`.
        facts: For the runtime.
    """
    from dspex_runtime.osproc.zygote_loop import ZygoteLoop  # not above: it is the zygote's last import, see there

    dispositions = signals.now(_TAKEN)
    signals.ignore((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    set_subreaper()
    wakeup = signals.Wakeup([signal.SIGCHLD])
    own = forker.successor(entry, keep_fds=keep_fds, dispositions=dispositions)
    gc.collect()
    gc.freeze()
    try:
        channel.send(["ready", {"pid": os.getpid(), **facts}])
        ZygoteLoop(sock, channel, own, wakeup).run()
    except ConnectionError:
        pass  # the runtime is gone already
    finally:
        end_all(run=own.marker.prefix, wakeup_fd=wakeup.fileno(), timeout_s=END_TIMEOUT_S)
    return 0


def _named(fd: int, info: os.stat_result) -> str:
    if stat.S_ISSOCK(info.st_mode):
        return f"a socket (descriptor {fd})"
    try:
        return f"{os.readlink(f'/proc/self/fd/{fd}')} (descriptor {fd})"
    except OSError:
        return f"descriptor {fd}"
