"""The keeper's threads: one that carries requests out in order, and one that moves SQLite's log into its file.

A stuck disk stops these threads and nothing else. Decides nothing about what is carried out.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dspex_runtime.state.database import checkpoint_wal
from dspex_runtime.state.health import Cause, Health

__all__ = ["WalMover", "Worker"]

log = logging.getLogger(__name__)

IDLE_AFTER_S: Final = 0.03  # behind a job: what is owed and nobody waits for is one commit, 1 ms of a core, and not four
BROKEN_S: Final = 2.0  # until an `idle` that raised is tried again
WAL_BYTES: Final = 4 * 2**20  # the log is moved when it is larger
WAL_LATER_S: Final = 0.1  # ... this much later: 4 MB are 5 ms of a core, and what was committed is often a part of a swap
WAL_ALARM_BYTES: Final = 256 * 2**20  # so much that could not be moved is more than a moment's delay

Job = Callable[[], object]


class Worker:
    """Carries jobs out one after the other; `idle` runs when none waits, and says in how many seconds it is to run again.

    Behind a job it runs IDLE_AFTER_S later, once for all that came until then; `close` does not end before it has.
    """

    def __init__(self, name: str, idle: Callable[[], float | None] | None = None) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._idle = idle
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Have a job carried out behind those that wait. A job answers for its own errors."""
        self._jobs.put(job)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self._jobs.qsize()

    def close(self, timeout_s: float | None = None) -> None:
        """Carry out what waits, then end."""
        self._jobs.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        due: float | None = None  # when `idle` is to run
        while True:
            try:
                job = self._jobs.get(timeout=None if due is None else max(0.0, due - time.monotonic()))
            except queue.Empty:
                due = self._rest()
                continue
            if job is None:
                if due is not None:
                    self._rest()
                return
            self._guarded(job)
            behind = time.monotonic() + IDLE_AFTER_S
            due = behind if due is None else min(due, behind)

    def _rest(self) -> float | None:
        """Run `idle`; return when it is to run again."""
        try:
            again_s = self._idle() if self._idle is not None else None
        except Exception:
            log.exception("unexpected error")
            again_s = BROKEN_S
        return None if again_s is None else time.monotonic() + again_s

    def _guarded(self, job: Job) -> None:
        try:
            job()
        except Exception:
            log.exception("unexpected error")


class WalMover:
    """Moves the write-ahead log of a database into it on a connection of its own, so that no commit ever waits for that."""

    def __init__(self, path: Path, health: Health) -> None:
        self._path = path
        self._health = health
        self._wal = Path(f"{path}-wal")
        self._ending = threading.Event()
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wal", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Something was committed: move the log if it has grown large."""
        self._wanted.set()

    def close(self) -> None:
        """End it."""
        self._ending.set()
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while self._wanted.wait() and not self._ending.is_set():
            self._wanted.clear()
            left = 0
            try:
                left = size = self._wal.stat().st_size
                if size > WAL_BYTES and not self._ending.wait(WAL_LATER_S):
                    left = self._move(size)
            except (OSError, sqlite3.Error):
                pass  # there is none, or the disk is in trouble: whoever writes says so
            self._judge(left)

    def _move(self, size: int) -> int:
        """Return how many bytes are still only in the log."""
        try:
            connection = sqlite3.connect(self._path)
            try:
                pages = checkpoint_wal(connection)
                return pages * int(connection.execute("PRAGMA page_size").fetchone()[0])
            finally:
                connection.close()
        except sqlite3.Error:
            return size

    def _judge(self, left: int) -> None:
        if left > WAL_ALARM_BYTES:
            text = f"{self._wal} has {left >> 20} MB that cannot be moved into {self._path.name}: it is read, or the disk full"
            self._health.failing(text, Cause.LOG)
        else:
            self._health.well(Cause.LOG)
