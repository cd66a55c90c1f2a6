"""The runtime's events on their way to the store: in batches, so that a storm of them is a few writes. Never waits, never reads."""

from __future__ import annotations

from typing import Any, Final

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.keeping import Keeping
from dspex_runtime.node.peer import PLAIN

__all__ = ["EventStore"]

PERIOD_S: Final = 1.0
MOST_AT_ONCE: Final = 1000  # of a storm the newest are stored; followers and the runtime's own memory have them all


class EventStore:
    """Takes every event; tells the keeper once a period, and only when there were any."""

    def __init__(self, loop: EventLoop, keeping: Keeping) -> None:
        self._loop = loop
        self._keeping = keeping
        self._events: list[bytes] = []

    def take(self, event: dict[str, Any]) -> None:
        """Keep one for the next batch."""
        try:
            self._events.append(PLAIN.pack([event]))
        except UnserialisableError:
            return  # its followers did not get it either
        if len(self._events) == 1:
            self._loop.call_later(PERIOD_S, self.flush)
        elif len(self._events) > MOST_AT_ONCE:
            del self._events[0]

    def flush(self) -> None:
        """Tell what there is."""
        events, self._events = self._events, []
        if events:
            self._keeping.tell("events", {"records": events})
