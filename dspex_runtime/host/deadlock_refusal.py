"""Requests that could never begin are answered so, at once; see `deadlock` for which they are.

With the loop's lock, on whichever thread reads. Never ends a call that runs.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from dspex_runtime.errors import DeadlockError
from dspex_runtime.host.deadlock import deadlocked
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.loop_state import LoopState

__all__ = ["refuse_deadlocked"]

log = logging.getLogger("dspex_runtime.host")


def refuse_deadlocked(loop: LoopState) -> None:
    """Refuse those of the queued requests that all call threads wait for. Asked when one came whose chain comes back here."""
    now = time.monotonic()
    held = [request.onward[-1][1] if request.onward else None for request in loop.holders()]
    queued = [(r, r.chain) for r in loop.mailbox.requests() if r.id and (r.deadline is None or r.deadline > now)]
    found = deadlocked(loop.id, held, loop.concurrency, queued)
    if not found:
        return
    loop.mailbox.take_out({request for request, _ in found})
    for request, cycle in found:
        error = DeadlockError(id=loop.id, cycle=cycle)
        log.warning("refused a call of %s: %s", request.method, error)
        if request in loop.intake.fresh:
            loop.intake.fresh.remove(request)
        if request.peer is not None:
            request.peer.send([m.FAULT, request.id, loop.calls.fault(error)])
