"""What a module depends on, which of that is down, and what becomes of its calls meanwhile.

    fail             every call is refused, queued ones too: `DependencyDownError`
    wait             (restart and stop, too) nothing that clients send begins; it is queued until all are up, or its deadline
    degrade          a call that begins is answered by `forward_degraded`, or else by the fallback module

Of several that are down the first of these goes before the others. What runs goes on; what the parent asks, the module's own
messages and writes of parameters are not concerned. Casts wait as calls do, and are dropped where calls are refused: nobody could
be told.

Owns the table that the parent tells, whole each time. Never decides what is down. Under the loop's lock, but for `check` and for
what call threads look up (`_instead`): a table is replaced and never changed, so they see one or the other.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dspex_runtime.errors import DependencyDownError, StartError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.host.hosted import Entry, Hosted
from dspex_runtime.types import OnDown
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.loop_state import LoopState
    from dspex_runtime.host.mailbox import Request

__all__ = ["Dependencies", "check"]

log = logging.getLogger("dspex_runtime.host")


class Way(IntEnum):
    """What becomes of calls; the highest of all that is down counts."""

    AS_EVER = 0
    DEGRADE = 1
    WAIT = 2
    FAIL = 3


WAYS: Final = {
    OnDown.DEGRADE: Way.DEGRADE,
    OnDown.WAIT: Way.WAIT,
    OnDown.RESTART: Way.WAIT,
    OnDown.STOP: Way.WAIT,
    OnDown.FAIL: Way.FAIL,
}


class Edge(NamedTuple):
    """One dependency; `down` is why it is down, None while it is up."""

    on_down: OnDown
    fallback: str | None
    down: ExitReason | None


def edges(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Edge]:
    """Return what the parent tells, by full id: {"on_down", "fallback", "down"}."""
    return {id: Edge(OnDown(edge["on_down"]), edge["fallback"], edge["down"]) for id, edge in table.items()}


def check(hosted: Hosted, table: Mapping[str, Mapping[str, Any]], id: str) -> None:
    """Refuse what could not be answered.

    Raises:
        StartError: It is to degrade, and there is neither a `forward_degraded` nor a fallback to do it with.
    """
    for dependency, edge in edges(table).items():
        if edge.on_down is OnDown.DEGRADE and edge.fallback is None and not hosted.degrades:
            raise StartError(
                f"{id!r} is to degrade while {dependency!r} is down: expected forward_degraded(...) in its class, or a `fallback`"
                f" module; found neither",
                id=id,
                hint="on_down: wait lets its calls wait; a server degrades with a `fallback` only",
            )


class Dependencies:
    """Of one module process.

    Args:
        loop: Whose calls are concerned.
        hosted: What answers them.
        id: Full id of the module.
    """

    def __init__(self, loop: LoopState, hosted: Hosted, id: str) -> None:
        self._loop = loop
        self._hosted = hosted
        self._id = id
        self._edges: dict[str, Edge] = {}
        self.error: DependencyDownError | None = None  #: what every call is refused with

    def tell(self, table: Mapping[str, Mapping[str, Any]]) -> None:
        """Go by this from now on."""
        loop, self._edges = self._loop, edges(table)
        down = {id: edge for id, edge in self._edges.items() if edge.down is not None}
        way = max((WAYS[edge.on_down] for edge in down.values()), default=Way.AS_EVER)
        if way is Way.WAIT:
            loop.mailbox.park()
        elif loop.mailbox.parking:
            loop.mailbox.unpark()
        self.error = self._error(down) if way is Way.FAIL else None
        if self.error is not None:
            for request in loop.mailbox.take_clients():
                self.refuse(request)
        loop.calls.answer_instead(self._instead if way is Way.DEGRADE else None)

    def refuse(self, request: Request) -> None:
        """Tell a client that its call does not begin."""
        assert self.error is not None
        if request.key is not None:
            self._loop.mailbox.lost.append(request)
        if request.id and request.peer is not None:
            request.peer.send([m.FAULT, request.id, {**self._loop.calls.fault(self.error), "retryable": True}])
        else:
            log.warning("dropped a cast: %s", self.error)

    def dropped(self, casts: int) -> None:
        """Note that so many casts that waited are not run."""
        if casts:
            down = ", ".join(id for id, edge in self._edges.items() if edge.down is not None)
            log.warning("dropped %d casts that waited for %s: the process stops", casts, down)

    def _error(self, down: Mapping[str, Edge]) -> DependencyDownError:
        dependency, edge = next((id, edge) for id, edge in down.items() if edge.on_down is OnDown.FAIL)
        return DependencyDownError(id=self._id, dependency=dependency, reason=edge.down or "noproc")

    def _instead(self, method: str) -> Entry | None:
        """Return how a method is answered while something is down; None: as ever. On call threads, without the lock.

        What was found by the table before is forgotten after a new one is there (`Calls.answer_instead`).
        """
        edge = next((edge for edge in self._edges.values() if edge.down is not None and edge.on_down is OnDown.DEGRADE), None)
        return None if edge is None else self._hosted.find_degraded(method, edge.fallback)
