"""Exit statuses of the zygote's children: report first, reap on acknowledgement.

A dead child stays a zombie between the two, so its pid and process group cannot be reused and whoever got the report may
still signal either without hitting a stranger. Owns the table of children; never forks, never sends.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["Reaper", "exited", "first_exited", "wait_status"]

# Up to so many live children all of them are asked as soon as P_ALL is stuck on a reported zombie (0.9 us each). Above it
# the zombie's acknowledgement is awaited first, so that one death among 10 000 costs what it costs among 10.
SCAN_AT_ONCE: Final = 256

_PEEK: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT


def wait_status(result: os.waitid_result) -> int:
    """Return what wait(2) would have said: waitid reports the same facts in another form."""
    match result.si_code:
        case os.CLD_EXITED:
            return (result.si_status & 0xFF) << 8
        case os.CLD_DUMPED:
            return result.si_status | 0x80
        case _:
            return int(result.si_status)


def first_exited() -> tuple[int, int] | None:
    """Return (pid, wait status) of some dead child without reaping it, or None."""
    try:
        result = os.waitid(os.P_ALL, 0, _PEEK)
    except ChildProcessError:
        return None  # no children at all
    return None if result is None else (result.si_pid, wait_status(result))


def exited(pid: int) -> int | None:
    """Return the wait status of this child if it is dead, without reaping it; None while it lives."""
    try:
        result = os.waitid(os.P_PID, pid, _PEEK)
    except ChildProcessError:
        return None
    return None if result is None else wait_status(result)


class Reaper:
    """Children of the calling process: live ones, and dead ones that were reported and wait for `acknowledge`."""

    def __init__(self, *, scan_at_once: int = SCAN_AT_ONCE) -> None:
        self.live: set[int] = set()
        self.reported: set[int] = set()
        self.strays = 0  #: orphans of dead children that were reaped, ever
        self.behind = False  #: a reported zombie hides whoever died after it; `scan(everyone=True)` finds those
        self._scan_at_once = scan_at_once

    def add(self, pid: int) -> None:
        """Know `pid` from now on. Call before the next scan, or it is taken for a stray."""
        self.live.add(pid)

    def adopt(self, pid: int) -> bool:
        """Know a process that became a child by the death of its parent; False if it is none of ours, or was reported."""
        if pid in self.reported:
            return False
        try:
            os.waitid(os.P_PID, pid, _PEEK)
        except ChildProcessError:
            return False
        self.live.add(pid)
        return True

    def scan(self, *, everyone: bool = False, strangers: bool = False) -> list[tuple[int, int]]:
        """Return (pid, wait status) of children that died since, each once; they stay zombies. Strays are reaped here.

        With `strangers` they are returned, too, and acknowledged like any: one of them may be somebody's who adopts it late.

        Cost: a few system calls. When P_ALL keeps returning a zombie already reported, one more per live child: at once
        if they are few or `everyone` is set, else `behind` is left True.
        """
        found: list[tuple[int, int]] = []
        self.behind = False
        while (first := first_exited()) is not None:
            pid = first[0]
            if pid in self.reported:
                if everyone or len(self.live) <= self._scan_at_once:
                    found += self._scan_live()
                else:
                    self.behind = True
                break
            if strangers or pid in self.live:
                self._report(pid)
                found.append(first)
            else:
                os.waitpid(pid, os.WNOHANG)
                self.strays += 1
        return found

    def acknowledge(self, pid: int) -> bool:
        """Really reap a reported child: its pid is free from here on. False if there is nothing to reap under that pid."""
        if pid not in self.reported:
            return False
        self.reported.discard(pid)
        os.waitpid(pid, 0)
        return True

    def _scan_live(self) -> list[tuple[int, int]]:
        dead = [(pid, status) for pid in self.live if (status := exited(pid)) is not None]
        for pid, _ in dead:
            self._report(pid)
        return dead

    def _report(self, pid: int) -> None:
        self.live.discard(pid)
        self.reported.add(pid)
