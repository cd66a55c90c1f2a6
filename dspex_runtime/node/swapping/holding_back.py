"""What is meant for a process while it is swapped, kept until it is decided which of the two gets it.

From `Hold` on: questions that need a moment between two callbacks, which there may not be until the swap has ended. From `Move` on:
everything, in the order in which it came. A question that is kept has its time-out all the same. Never sends anything by itself:
`release` hands it to the process that serves. Of a process that is held with others (`node.composites`) it is the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import DspexError
from dspex_runtime.node.event_loop import EventLoop, Timer

if TYPE_CHECKING:
    from dspex_runtime.node.control_pipe import ControlPipe

__all__ = ["QUICK", "HeldPeer", "HoldingBack"]

log = logging.getLogger(__name__)

#: Questions that the control thread answers by itself, whatever else it waits for.
QUICK: Final = frozenset({"ping", "metrics", "executions", "statistics", "watched", "hand_over", "reply", "signal"})


@dataclass(slots=True, eq=False)
class _Kept:
    """One thing that is kept: how it is said again, and the descriptors that it brings."""

    again: Callable[[ControlPipe], None]
    fds: Sequence[int] = ()
    timer: Timer | None = None


class HoldingBack:
    """See the module docstring. `everything`: nothing at all passes, what the swap itself says excepted.

    Args:
        loop: Keeps the time.
        why: What is said of the process to those who waited too long.
    """

    def __init__(self, loop: EventLoop, why: str = "it is being swapped") -> None:
        self.why = why
        self.everything = False
        self._loop = loop
        self._kept: list[_Kept] = []
        self._next: list[Callable[[], None]] = []
        self.peer = HeldPeer(self)

    def __len__(self) -> int:
        return len(self._kept)

    def keeps(self, op: str) -> bool:
        """Return whether a question waits for the end of the swap."""
        return self.everything or op not in QUICK

    def put(self, again: Callable[[ControlPipe], None], fds: Sequence[int] = ()) -> None:
        """Keep something that is said; it is said again by `again`, to whoever is to hear it."""
        self._kept.append(_Kept(again, fds))

    def put_question(
        self,
        ask: Callable[[ControlPipe, float | None], None],
        timeout_s: float | None,
        too_late: Callable[[], None],
        fds: Sequence[int] = (),
    ) -> None:
        """Keep a question.

        Args:
            ask: Asks it, with what is left of its time.
            timeout_s: How long it may take, the time that it is kept included.
            too_late: Called instead when that is over.
            fds: What it brings; closed when it is not asked.
        """
        until = None if timeout_s is None else self._loop.now() + timeout_s

        def again(to: ControlPipe) -> None:
            ask(to, None if until is None else max(0.0, until - self._loop.now()))

        kept = _Kept(again, fds)
        if timeout_s is not None:
            kept.timer = self._loop.call_later(timeout_s, lambda: self._expired(kept, too_late))
        self._kept.append(kept)

    def _expired(self, kept: _Kept, too_late: Callable[[], None]) -> None:
        self._kept.remove(kept)
        _close(kept.fds)
        too_late()

    def then(self, done: Callable[[], None]) -> None:
        """Call `done` in the turn after this has ended: whoever else wants to hold the process waits for that."""
        self._next.append(done)

    def release(self, to: ControlPipe) -> None:
        """Say it all to `to`, in order."""
        self._say(to)
        following, self._next = self._next, []
        for done in following:
            self._loop.call_soon(done)

    def _say(self, to: ControlPipe) -> None:
        kept, self._kept = self._kept, []
        for each in kept:
            if each.timer is not None:
                each.timer.cancel()
            try:
                each.again(to)
            except DspexError as exc:  # it cannot be sent: nobody waits here who could be told
                log.error("lost what was kept for %s while it was swapped: %s", to.id, exc)


class HeldPeer:
    """Stands where a process's pipe does, for what is sent there directly: changes of parameters that it follows."""

    backlog_bytes: Final = 0

    def __init__(self, held: HoldingBack) -> None:
        self._held = held

    def send(self, message: Any, fds: Sequence[int] = ()) -> None:
        """Keep a message."""
        self._held.put(partial(_send, message, fds), fds)

    def when_drained(self, done: Callable[[], None]) -> None:
        """Nothing waits here: it is drained."""
        done()


def _send(message: Any, fds: Sequence[int], to: ControlPipe) -> None:
    to.peer.send(message, fds)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
