"""The bounded mailbox: requests that were read and have not begun. Pure data; whoever calls holds the loop's lock.

Invariants: first in, first out per process; at most `limit` requests of clients (the server's own timer messages and
messages to itself are not counted against anybody); a request leaves it exactly once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex_runtime.host.peer import Peer
    from dspex_runtime.host.streams import CreditWindow

__all__ = ["Mailbox", "Request"]


class Request:
    """One request of one client. A plain class with slots: it is made for every call (0.4 us; a frozen dataclass takes 1.6).

    Attributes:
        peer: Where the reply goes; None for a message that the process sent to itself.
        id: The client's request number; 0 when no reply is wanted (cast, info).
        deadline: CLOCK_MONOTONIC seconds after which the client has given up, or None.
        key: Idempotency key or None.
        credit: Items a stream may still send ahead.
        cancel: How to reach it while it runs, where that is possible (async forwards, streams).
        stream: Where credit goes while it streams.
        handed_over: It runs on the loop thread.
        fresh: It was just read; its client was not yet told whether it waits.
        waited: Its client was told that it waits.
    """

    __slots__ = (
        "args", "began_ns", "cancel", "cancelled", "credit", "deadline", "fresh", "handed_over", "id", "key", "kwargs", "method",
        "peer", "replied", "stream", "waited",
    )  # fmt: skip

    def __init__(
        self,
        peer: Peer | None,
        id: int,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        deadline: float | None = None,
        key: str | None = None,
        credit: int = 0,
    ) -> None:
        self.peer = peer
        self.id = id
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.deadline = deadline
        self.key = key
        self.credit = credit
        self.began_ns = 0
        self.cancelled = False
        self.fresh = False
        self.handed_over = False
        self.replied = False
        self.waited = False
        self.cancel: Callable[[], None] | None = None
        self.stream: CreditWindow | None = None

    def __repr__(self) -> str:
        return f"<request {self.id} {self.method}>"


class Mailbox:
    """First in, first out, bounded.

    Attributes:
        lost: Requests with an idempotency key that left unbegun: others may be waiting for the same key.
    """

    __slots__ = ("_items", "limit", "lost")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lost: list[Request] = []
        self._items: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, request: Request, now: float, in_flight: int = 0) -> bool:
        """Queue a client's request; False when the mailbox is full even without those that nobody waits for any more.

        `in_flight` are async calls that hold no call thread: they share the limit, or nothing would bound them.
        """
        items = self._items
        if len(items) + in_flight >= self.limit:
            self._keep_only(lambda r: r.deadline is None or r.deadline > now)
            items = self._items
            if len(items) + in_flight >= self.limit:
                return False
        items.append(request)
        return True

    def put_own(self, request: Request) -> None:
        """Queue a message of the process to itself: never refused."""
        self._items.append(request)

    def take(self, now: float) -> Request | None:
        """Take the oldest request that still has somebody waiting for it; those past their deadline are dropped silently."""
        items = self._items
        while items:
            request = items.popleft()
            if request.deadline is None or request.deadline > now:
                return request
            if request.key is not None:
                self.lost.append(request)
        return None

    def cancel(self, peer: Peer, id: int) -> bool:
        """Remove one queued request; False when it is not here."""
        return self._keep_only(lambda r: r.id != id or r.peer is not peer) > 0

    def drop_peer(self, peer: Peer) -> int:
        """Remove the calls of a client that went away; its casts stay, they were delivered. Returns how many went."""
        return self._keep_only(lambda r: r.peer is not peer or r.id == 0)

    def take_calls(self) -> list[Request]:
        """Take out every request that somebody waits for, to give it back; casts and messages stay and are still run."""
        calls = [r for r in self._items if r.id]
        self._items = deque(r for r in self._items if not r.id)
        return calls

    def _keep_only(self, keep: Callable[[Request], bool]) -> int:
        gone = [r for r in self._items if not keep(r)]
        if gone:
            self._items = deque(r for r in self._items if keep(r))
            self.lost += [r for r in gone if r.key is not None]
        return len(gone)
