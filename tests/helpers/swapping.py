"""What the tests of swaps and of compiles between real processes share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dspex_runtime as dx
from helpers.waiting import wait_until


class Gate:
    """Where a migration, a call or the optimizer `Slow` waits."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def reached(self, suffix: str = "") -> int:
        """Wait for somebody; returns the pid."""
        begun = Path(f"{self.path}{suffix}.begun")
        wait_until(lambda: begun.exists() and begun.read_text(), what=f"somebody at gate {suffix}")
        return int(begun.read_text())

    def open(self, suffix: str = "") -> None:
        Path(self.path + suffix).touch()


class Running:
    """Something that takes its time, in another thread."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as exc:
            self.error = exc

    def done(self) -> Any:
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


@contextmanager
def load(call: Callable[[int, int], Any], threads: int = 4) -> Iterator[list[tuple[int, int]]]:
    """Have threads call all the time; yields the keys that were answered. Whatever fails, fails at the end."""
    stop, answered, failed = threading.Event(), [], []
    answered: list[tuple[int, int]]

    def run(who: int) -> None:
        n = 0
        try:
            while not stop.is_set():
                call(who, n)
                answered.append((who, n))
                n += 1
        except BaseException as exc:
            failed.append(exc)

    running = [threading.Thread(target=run, args=(who,)) for who in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield answered
    finally:
        stop.set()
        for thread in running:
            thread.join(30)
    assert not failed, failed


def more(answered: Sequence[object], n: int) -> None:
    """Wait until n more calls were answered."""
    enough = len(answered) + n
    wait_until(lambda: len(answered) > enough, what="calls")


def restarted(rt: dx.Runtime, id: str, incarnation: int) -> None:
    wait_until(lambda: rt.info(id).incarnation == incarnation + 1 and rt.info(id).state == "READY", what="the restart")
