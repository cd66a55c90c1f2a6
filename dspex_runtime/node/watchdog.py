"""Finds hung and overgrown modules by looking, not by asking: reads the board, /proc and log sizes, once a second.

Hung is: busy past its call's deadline plus grace; or idle while a client's request found no answer and a ping finds none
either. A forward that waits a minute for its LM within its deadline is not hung, and idle modules cost one comparison.
Source: DESIGN §10.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.osproc.board import BEGUN, BUSY_NS, ENDED, EXPECTED_BY, FAILED, LAST_NS, NO_DEADLINE, QUEUED, RUNNING, Board

INTERVAL_S: Final = 1.0
STALLED_AFTER_S: Final = 2.5  # a scan this late means that the machine or this process stood still: that time does not count
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Watchdog:
    """Looks at every running process once per interval."""

    def __init__(
        self, loop: EventLoop, board: Board, processes: Callable[[], Iterable[ModuleProcess]], *, log_max_bytes: int
    ) -> None:
        self._loop = loop
        self._board = board
        self._processes = processes
        self._log_max_bytes = log_max_bytes
        self._last_scan = loop.now()
        self._excused_s = 0.0  #: time that stood still, forgiven to calls that were running then
        self._excused_until = 0.0
        self._seen_begun: dict[int, int] = {}
        self._suspects: set[int] = set()
        loop.call_later(INTERVAL_S, self._scan)

    def _scan(self) -> None:
        now = self._loop.now()
        late_s = now - self._last_scan - INTERVAL_S
        if late_s > STALLED_AFTER_S:
            self._excused_s = late_s + (self._excused_s if now < self._excused_until else 0.0)
            self._excused_until = now + 60.0
        elif now >= self._excused_until:
            self._excused_s = 0.0
        self._last_scan = now
        for process in list(self._processes()):
            if process.slot is not None and not process.ended:
                self._look(process, now)
        self._loop.call_later(INTERVAL_S, self._scan)

    def _look(self, process: ModuleProcess, now: float) -> None:
        assert process.slot is not None
        slot = self._board.slot(process.slot)
        expected_by = slot.get(EXPECTED_BY)
        liveness = process.launch.liveness
        if liveness is not None and 0 < expected_by < NO_DEADLINE:
            over_s = now - expected_by / 1e9 - self._excused_s
            if over_s > liveness.grace_s:
                detail = f"busy {over_s:.1f} s past its call's deadline (grace {liveness.grace_s:g} s)"
                process.kill(("limit", "liveness", detail))
                return
        if not self._worth_sampling(process.slot, slot.get(BEGUN), expected_by):
            return
        if process.log is not None and file_bytes(process.log) > self._log_max_bytes:
            process.check_log()
        limit = process.launch.limits.memory_bytes
        if limit is not None:
            used = resident_bytes(process.pid)
            if used > limit:
                process.kill(("limit", "memory", f"{used // 2**20} MiB in use, {limit // 2**20} MiB allowed"))

    def _worth_sampling(self, number: int, begun: int, expected_by: int) -> bool:
        # A module that neither runs a call nor ran one since the last look is sampled every eighth time: its own threads may grow.
        changed = self._seen_begun.get(number) != begun
        self._seen_begun[number] = begun
        return changed or expected_by != 0 or int(self._last_scan) % 8 == number % 8

    def unanswered(self, process: ModuleProcess) -> None:
        """A client's request timed out: ask the module whether it is there, and end it when it does not answer in its grace."""
        liveness = process.launch.liveness
        if liveness is None or process.slot is None or process.ended:
            return
        if self._board.slot(process.slot).get(EXPECTED_BY) != 0:
            return  # busy: its stamps are judged by the scan
        key = id(process)
        if key in self._suspects:
            return
        self._suspects.add(key)

        def answered(_value: Any, fault: dict[str, Any] | None) -> None:
            self._suspects.discard(key)
            if fault is not None and not process.ended:
                process.kill(("limit", "liveness", f"idle, and no answer to a ping within {liveness.grace_s:g} s"))

        process.request("ping", {}, liveness.grace_s, answered)


def file_bytes(path: str) -> int:
    """Return the size of a file, 0 when there is none. Cost: one stat, 2 us."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def resident_bytes(pid: int | None) -> int:
    """Return the anonymous memory a process holds, in bytes (resident less file and shared pages); 0 when it is gone.

    Cost: one read of /proc/<pid>/statm, 15 us.
    """
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            _, resident, shared, *_ = statm.read().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * PAGE_BYTES


def metrics(board: Board, slot: int | None) -> dict[str, Any]:
    """Return the figures of one module that can be read without asking it."""
    if slot is None:
        return {}
    stamps = board.slot(slot)
    expected_by = stamps.get(EXPECTED_BY)
    return {
        "calls": stamps.get(ENDED),
        "failures": stamps.get(FAILED),
        "running": stamps.get(RUNNING),
        "queued": stamps.get(QUEUED),
        "last_ms": stamps.get(LAST_NS) / 1e6,
        "overdue_s": max(0.0, time.monotonic() - expected_by / 1e9) if 0 < expected_by < NO_DEADLINE else 0.0,
    }


def totals(board: Board, slot: int | None) -> dict[str, int]:
    """Return what one process has counted in all; {} before it had a slot."""
    if slot is None:
        return {}
    stamps = board.slot(slot)
    return {"calls": stamps.get(ENDED), "failures": stamps.get(FAILED), "busy_ns": stamps.get(BUSY_NS)}
