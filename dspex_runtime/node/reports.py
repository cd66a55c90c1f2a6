"""Structured events: every transition of the tree, numbered, kept in a ring and pushed to whoever follows.

A follower that does not read is never waited for: over `MAX_FOLLOWER_BACKLOG_BYTES` its events are counted instead of sent,
and the count is the next thing it gets.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dspex_runtime.core.burst_limit import BurstLimit
from dspex_runtime.node.peer import Peer
from dspex_runtime.wire.ext import Opaque
from dspex_runtime.wire.messages import BYE, EVENT

KEPT_EVENTS: Final = 10_000
MAX_FOLLOWER_BACKLOG_BYTES: Final = 2**20
MAX_HISTORY_BACKLOG_BYTES: Final = 32 * 2**20  # for one that wants what is kept and no more: it cannot fall behind
EVENT_VALUE_BYTES: Final = 1024  # a larger value of a user's is not shown in events, thousands of which are kept

Event = dict[str, Any]


def shown(name: str, value: Any, size: int) -> dict[str, Any]:
    """Return a user's value as a fact of an event; of a large or a pickled one only how many bytes it takes."""
    return {name: value} if size <= EVENT_VALUE_BYTES and not _holds_closed(value) else {f"{name}_bytes": size}


def _holds_closed(value: Any) -> bool:
    """Whether there is something in it that only those who unpickle can read."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, Opaque):
            return True
        if isinstance(item, Mapping):
            left.extend((*item.keys(), *item.values()))
        elif isinstance(item, list | tuple | set | frozenset):
            left.extend(item)
    return False


@dataclass(slots=True)
class Follower:
    """One subscription of one client."""

    peer: Peer
    subscription: int
    skipped: int = 0

    def push(self, event: Event, limit_bytes: int = MAX_FOLLOWER_BACKLOG_BYTES) -> None:
        """Send one event, or count it when the follower is behind."""
        if self.peer.backlog_bytes > limit_bytes:
            self.skipped += 1
            return
        if self.skipped:
            self.peer.send([EVENT, self.subscription, {"type": "skipped", "count": self.skipped}])
            self.skipped = 0
        self.peer.send([EVENT, self.subscription, event])

    def end(self, why: str) -> None:
        """Say that nothing more will come, and what of it was left out."""
        if self.skipped:
            self.peer.send([EVENT, self.subscription, {"type": "skipped", "count": self.skipped}])
        self.peer.send([BYE, self.subscription, why])


@dataclass(slots=True)
class Reports:
    """The event log of one runtime."""

    events: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    followers: dict[tuple[int, int], Follower] = field(default_factory=dict)
    seq: int = 0
    sink: Callable[[Event], None] | None = None  #: gets every event, too
    _burst: BurstLimit = field(default_factory=BurstLimit)

    def report(self, type: str, id: str | None = None, /, **facts: Any) -> None:
        """Record an error report; of a flood of them only so many a second, and a "reports_dropped" with the number of the others.

        State events are never dropped: whoever follows them would see another tree.
        """
        if self._burst.allow(time.monotonic()):
            self.emit(type, id, **facts)

    def emit(self, type: str, id: str | None = None, /, **facts: Any) -> None:
        """Record one event and push it to the followers."""
        dropped = self._burst.take_dropped(time.monotonic())
        if dropped:
            self._push("reports_dropped", None, count=dropped)
        self._push(type, id, **facts)

    def _push(self, type: str, id: str | None, /, **facts: Any) -> None:
        self.seq += 1
        event: Event = {"seq": self.seq, "time": time.time(), "type": type, "id": id, **facts}
        self.events.append(event)
        if self.sink is not None:
            self.sink(event)
        for follower in list(self.followers.values()):
            follower.push(event)

    def follow(
        self, peer: Peer, subscription: int, since: int | None, snapshot: Callable[[], Iterable[Event]], *, on: bool = True
    ) -> None:
        """Start pushing to a client: first what is now, then (with `since`) the kept events after it, then all that comes.

        Not `on`: end where what comes would begin.
        """
        follower = Follower(peer, subscription)
        children = list(snapshot())
        peer.send(
            [EVENT, subscription, {"seq": self.seq, "time": time.time(), "type": "snapshot", "id": None, "children": children}]
        )
        if since is not None:
            for event in self.events:
                if event["seq"] > since:
                    follower.push(event, MAX_FOLLOWER_BACKLOG_BYTES if on else MAX_HISTORY_BACKLOG_BYTES)
        if on:
            self.followers[(id(peer), subscription)] = follower
        else:
            follower.end("done")

    def end(self) -> None:
        """Tell every follower that nothing more will come."""
        for follower in list(self.followers.values()):  # one that does not read is closed, and leaves
            follower.end("stopped")
        self.followers.clear()

    def unfollow(self, peer: Peer, subscription: int | None = None) -> None:
        """End one subscription of a client, or all of them."""
        for key in [k for k in self.followers if k[0] == id(peer) and subscription in (None, k[1])]:
            del self.followers[key]
