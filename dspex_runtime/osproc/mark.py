"""The mark that a module process hands down to everything it starts: DSPEX_FORK=<run>.<zygote>.<number>.

It answers "whose is this orphan?" for processes that left their process group and their parent. Subprocesses inherit it
through the environment. Forks that never exec inherit the memory behind /proc/<pid>/environ, so the zygote
overwrites the value in place before each fork: for that it is exec'ed with a blank of the same length. A process started
with an environment of its own has no mark, and is found only as long as it has a living ancestor below the zygote.

The run is the inode of the lifeline: the same for all zygotes of one runtime, another for every runtime.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
from collections.abc import Collection, Iterator
from typing import Final

__all__ = ["BLANK", "VARIABLE", "Marker", "forked_by", "kill_marked", "read_mark", "run_of"]

VARIABLE: Final = "DSPEX_FORK"
BLANK: Final = "0" * (12 + 1 + 8 + 1 + 12)  # run, zygote, number, all of fixed width
_FIND: Final = re.compile(rb"(?:^|\0)" + VARIABLE.encode() + rb"=([0-9.]+)(?:\0|$)")


def run_of(lifeline_fd: int) -> str:
    """Return the name of the runtime that a lifeline belongs to, for marks."""
    return f"{os.fstat(lifeline_fd).st_ino:012d}"


class Marker:
    """Makes and writes marks; one per zygote, made before anything changes the environment, and one per template."""

    def __init__(self, run: str, memory: memoryview[int] | None = None) -> None:
        """Make one for the calling process.

        Args:
            run: See `run_of`.
            memory: Where others read the mark; None: where the blank is.
        """
        self._run = run
        self.prefix = f"{run}.{os.getpid():08d}"  #: of the marks of one zygote
        self._memory = _blank() if memory is None else memory

    def of_this_process(self) -> Marker:
        """Return one for a fork of the process that has this one: it has the same memory, in a copy of its own."""
        return Marker(self._run, self._memory)

    def mark(self, number: int) -> str:
        """Return the mark of the zygote's `number`-th child."""
        return f"{self.prefix}.{number:012d}"

    def of_this_run(self, mark: str) -> bool:
        """Return whether a mark was made by this runtime's zygotes, not by a runtime that one of its modules runs."""
        return mark.startswith(self._run + ".")

    def apply(self, mark: str) -> None:
        """Mark what the calling process forks from now on, as others read it. A zygote does this before each fork."""
        if self._memory is not None:
            self._memory[:] = mark.encode()

    def adopt(self, mark: str) -> None:
        """Mark what the calling process execs from now on. Its child does this, not the zygote: see `zygote` on pages."""
        os.environ[VARIABLE] = mark


def _blank() -> memoryview[int] | None:
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    address = getenv(VARIABLE.encode())
    # Without the blank (a zygote run by hand) the in-place copy is left out: never write to memory of another length.
    if address is None or os.environ.get(VARIABLE) != BLANK:
        return None
    return memoryview((ctypes.c_char * len(BLANK)).from_address(address)).cast("B")


def forked_by(mark: str) -> int:
    """Return the pid of the zygote or template that forked the process with this mark, or an ancestor of it."""
    return int(mark.split(".")[1])


def read_mark(pid: int) -> str | None:
    """Return the mark of a process, or None: no mark, not readable, or gone."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            found = _FIND.search(file.read())
    except OSError:
        return None
    return found[1].decode() if found else None


def kill_marked(run: str, *, keep: Collection[int] = ()) -> int:
    """SIGKILL every process on the machine that carries a mark of `run` (or of one zygote, a marker's `prefix`); returns how many.

    Cost: about 15 us per process on the machine.
    """
    count = 0
    for pid in _all_pids():
        mark = None if pid in keep else read_mark(pid)
        if mark is None or not mark.startswith(run + ".") or forked_by(mark) == pid:
            continue  # the last: a zygote carries its latest child's mark, and ends by itself
        count += _kill_if_marked(pid, mark)
    return count


def _kill_if_marked(pid: int, mark: str) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # Read again through a pid that the pidfd now pins: the number may have been reused since the first look.
        if read_mark(pid) != mark:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def _all_pids() -> Iterator[int]:
    own = os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != own:
            yield int(name)
