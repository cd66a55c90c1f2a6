"""Which requests run now, and the stamps and metrics that follow from it. Under the loop's lock.

The stamps on the board are how the parent sees a hung module without asking it; see DESIGN §10.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.metrics import Call, Metrics
from dspex_runtime.osproc.board import BEGUN, BUSY_NS, ENDED, EXPECTED_BY, FAILED, LAST_NS, NO_DEADLINE, QUEUED, RUNNING, Slot

UNCOUNTED: Final = ""  # the method of a request of which nothing was run: it will be asked again
_NS: Final = 1_000_000_000
_LAST_S: Final = NO_DEADLINE / _NS  # a later deadline does not fit the board, and is none


class Tally:
    """Running requests of one process.

    Attributes:
        on_first: Called, once, when the next request has ended.

    Args:
        slot: Where to stamp.
        base: See `Metrics`.
    """

    __slots__ = ("_queued", "_stamp", "begun", "metrics", "on_first", "running")

    def __init__(self, slot: Slot, base: Mapping[str, Any] | None = None) -> None:
        self.metrics = Metrics(base)
        self.on_first: Callable[[], None] | None = None
        self.running: dict[Request, int] = {}  # -> the stamp by which it should end
        self.begun = 0
        self._stamp = slot.set
        self._queued = 0

    def begin(self, request: Request) -> None:
        """Stamp a request as begun."""
        request.began_ns = time.monotonic_ns()
        deadline = request.deadline
        running = self.running
        running[request] = expected_by = NO_DEADLINE if deadline is None or deadline >= _LAST_S else int(deadline * _NS)
        self.begun += 1
        stamp = self._stamp
        # RUNNING goes up last and down first: a watcher that sees it up finds a deadline that belongs to it.
        stamp(EXPECTED_BY, expected_by if len(running) == 1 else min(running.values()))
        stamp(BEGUN, self.begun)
        stamp(RUNNING, len(running))

    def end(self, request: Request, error: str | None) -> bool:
        """Stamp and record a request as ended; False when it was ended before."""
        now = time.monotonic_ns()
        running = self.running
        if running.pop(request, None) is None:
            return False
        duration = now - request.began_ns
        metrics = self.metrics
        if request.method is not UNCOUNTED:
            metrics.record(request.method, request.began_ns, duration, error, request.degraded)
        stamp = self._stamp
        stamp(RUNNING, len(running))
        stamp(EXPECTED_BY, min(running.values()) if running else 0)
        stamp(ENDED, metrics.count)
        stamp(BUSY_NS, metrics.busy_ns)
        stamp(LAST_NS, duration)
        if error is not None:
            stamp(FAILED, metrics.failures)
        if self.on_first is not None:
            first, self.on_first = self.on_first, None
            first()
        return True

    def adopt(self, begun: int, base: Mapping[str, Any], calls: Sequence[Call], new: int) -> None:
        """Count on from where another process of this incarnation was; see `Metrics.adopt`. What ran here was a rehearsal."""
        self.begun = begun
        self.metrics.adopt(base, calls, new)
        for field, value in ((BEGUN, begun), (ENDED, 0), (FAILED, 0), (BUSY_NS, 0)):
            self._stamp(field, value)

    def amend(self, error: str) -> None:
        """The request just ended well has a result that cannot be sent."""
        self.metrics.amend(error)
        self._stamp(FAILED, self.metrics.failures)

    def queued(self, n: int) -> None:
        """Stamp the length of the mailbox, where it changed."""
        if n != self._queued:
            self._queued = n
            self._stamp(QUEUED, n)
