"""Structured events: every transition of the tree, numbered, kept in a ring and pushed to whoever follows.

A follower that does not read is never waited for: over `MAX_FOLLOWER_BACKLOG_BYTES` its events are counted instead of sent,
and the count is the next thing it gets.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from dspex_runtime.node.peer import Peer
from dspex_runtime.wire.messages import BYE, EVENT

KEPT_EVENTS: Final = 10_000
MAX_FOLLOWER_BACKLOG_BYTES: Final = 2**20

Event = dict[str, Any]


@dataclass(slots=True)
class Follower:
    """One subscription of one client."""

    peer: Peer
    subscription: int
    skipped: int = 0

    def push(self, event: Event) -> None:
        """Send one event, or count it when the follower is behind."""
        if self.peer.backlog_bytes > MAX_FOLLOWER_BACKLOG_BYTES:
            self.skipped += 1
            return
        if self.skipped:
            self.peer.send([EVENT, self.subscription, {"type": "skipped", "count": self.skipped}])
            self.skipped = 0
        self.peer.send([EVENT, self.subscription, event])


@dataclass(slots=True)
class Reports:
    """The event log of one runtime."""

    events: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    followers: dict[tuple[int, int], Follower] = field(default_factory=dict)
    seq: int = 0

    def emit(self, type: str, id: str | None = None, **facts: Any) -> None:
        """Record one event and push it to the followers."""
        self.seq += 1
        event: Event = {"seq": self.seq, "time": time.time(), "type": type, "id": id, **facts}
        self.events.append(event)
        for follower in list(self.followers.values()):
            follower.push(event)

    def follow(self, peer: Peer, subscription: int, since: int | None, snapshot: Callable[[], Iterable[Event]]) -> None:
        """Start pushing to a client: first what is now, then (with `since`) the kept events after it, then all that comes."""
        follower = Follower(peer, subscription)
        children = list(snapshot())
        peer.send(
            [EVENT, subscription, {"seq": self.seq, "time": time.time(), "type": "snapshot", "id": None, "children": children}]
        )
        if since is not None:
            for event in self.events:
                if event["seq"] > since:
                    follower.push(event)
        self.followers[(id(peer), subscription)] = follower

    def end(self) -> None:
        """Tell every follower that nothing more will come."""
        for (_, subscription), follower in self.followers.items():
            follower.peer.send([BYE, subscription, "stopped"])
        self.followers.clear()

    def unfollow(self, peer: Peer, subscription: int | None = None) -> None:
        """End one subscription of a client, or all of them."""
        for key in [k for k in self.followers if k[0] == id(peer) and subscription in (None, k[1])]:
            del self.followers[key]
