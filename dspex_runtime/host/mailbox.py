"""The bounded mailbox: requests that were read and have not begun. Pure data; whoever calls holds the loop's lock.

Invariants: first in, first out per process; at most `limit` requests of clients (the server's own timer messages and
messages to itself are not counted against anybody); a request leaves it exactly once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.host.deferred import From, as_from

if TYPE_CHECKING:
    from dspex_runtime.host.peer import Peer
    from dspex_runtime.host.streams import CreditWindow

__all__ = ["Mailbox", "Request"]

ERRAND: Final = "$errand"
SIGNAL: Final = "$signal"  # the key of an exit signal: no errand overtakes it


class Request:
    """One request of one client. A plain class with slots: it is made for every call (0.4 us; a frozen dataclass takes 1.6).

    Attributes:
        peer: Where the reply goes; None for a message that the process sent to itself.
        id: The client's request number; 0 when no reply is wanted (cast, info).
        number: Its place in the row of what its client sends to this process, over whichever pipe; 0 for none.
        early: The other pipes of its client have not all been looked at since it was read: they may hold what was sent before.
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
        "__weakref__", "args", "began_ns", "cancel", "cancelled", "credit", "deadline", "early", "fresh", "handed_over", "id",
        "key", "kwargs", "method", "number", "peer", "replied", "stream", "waited",
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
        self.id = self.number = id
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.deadline = deadline
        self.key = key
        self.credit = credit
        self.began_ns = 0
        self.cancelled = False
        self.early = False
        self.fresh = False
        self.handed_over = False
        self.replied = False
        self.waited = False
        self.cancel: Callable[[], None] | None = None
        self.stream: CreditWindow | None = None

    def __repr__(self) -> str:
        return f"<request {self.id} {self.method}>"

    def __reduce__(self) -> tuple[Any, ...]:
        sent = as_from(self)
        return From, (sent.socket, sent.id, sent.incarnation, sent.number)


class Mailbox:
    """First in, first out, bounded.

    Attributes:
        errands: How many errands of the parent (`put_behind`) are in it.
        lost: Requests with an idempotency key that left unbegun: others may be waiting for the same key.
    """

    __slots__ = ("_items", "errands", "limit", "lost", "own_client")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.errands = 0
        self.lost: list[Request] = []
        self.own_client: str | None = None  # who sent what has no peer, once a client of this very process has
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

    def requests(self) -> list[Request]:
        """Return what is queued, in order, without the errands."""
        return [request for request in self._items if not _is_errand(request)]

    def put_behind(self, client: str, errand: Callable[[], None]) -> bool:
        """Queue an errand behind the last thing that a client has sent; False where nothing of that client waits.

        An errand is no request: it is taken with `take_errand`, when it is the first.
        """
        last = -1
        for place, request in enumerate(self._items):
            sender = request.key if _is_errand(request) else request.peer.client if request.peer is not None else self.own_client
            if sender == client or request.key == SIGNAL:
                last = place
        if last < 0:
            return False
        self._items.insert(last + 1, Request(None, 0, ERRAND, [errand], {}, key=client))
        self.errands += 1
        return True

    def take_errand(self) -> Callable[[], None] | None:
        """Take the errand that is the first in the queue; None when a request is, or nothing."""
        if not self.errands or not _is_errand(self._items[0]):
            return None
        self.errands -= 1
        errand: Callable[[], None] = self._items.popleft().args[0]
        return errand

    def take_errands(self) -> list[Callable[[], None]]:
        """Take out all errands: nothing before them will be run now."""
        errands = [r.args[0] for r in self._items if _is_errand(r)]
        self._items = deque(r for r in self._items if not _is_errand(r))
        self.errands = 0
        return errands

    def clear(self) -> None:
        """Drop everything."""
        self._items.clear()
        self.errands = 0

    def take(self, now: float) -> Request | None:
        """Take the oldest request that still has somebody waiting for it; those past their deadline are dropped silently.

        None also where an errand comes first, or one that came early.
        """
        items = self._items
        while items and not items[0].early and not (self.errands and _is_errand(items[0])):
            request = items.popleft()
            if request.deadline is None or request.deadline > now:
                return request
            if request.key is not None:
                self.lost.append(request)
        return None

    def is_early(self) -> bool:
        """Return whether the first one came early: it is not taken before it has `settled` its place."""
        return bool(self._items) and self._items[0].early

    def put_in_order(self, requests: list[Request]) -> None:
        """Give these, as far as they are queued, the order in which their clients sent them.

        The places that a client's requests have stay its own: nobody gets before anybody else by it.
        """
        wanted = {id(request) for request in requests if request.number and request.peer is not None}
        places: dict[str, list[int]] = {}
        for place, request in enumerate(self._items):
            if id(request) in wanted:
                assert request.peer is not None
                places.setdefault(request.peer.client, []).append(place)
        items = list(self._items)
        for own in places.values():
            for place, request in zip(own, sorted((items[place] for place in own), key=lambda r: r.number), strict=True):
                self._items[place] = request

    def cancel(self, peer: Peer, id: int) -> bool:
        """Remove one queued request; False when it is not here."""
        return self._keep_only(lambda r: r.id != id or r.peer is not peer) > 0

    def drop_peer(self, peer: Peer) -> int:
        """Remove the calls of a client that went away; its casts stay, they were delivered. Returns how many went."""
        return self._keep_only(lambda r: r.peer is not peer or r.id == 0)

    def drop_messages(self, unwanted: Callable[[Any], bool]) -> int:
        """Remove queued messages ("$info") that the process itself or the parent put there; return how many went."""
        return self._keep_only(lambda r: r.peer is not None or r.method != "$info" or not r.args or not unwanted(r.args[0]))

    def count_messages(self, wanted: Callable[[Any], bool]) -> int:
        """Return how many of those messages are queued."""
        return sum(r.peer is None and r.method == "$info" and bool(r.args) and wanted(r.args[0]) for r in self._items)

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
            for request in gone:
                request.early = False
        return len(gone)


def _is_errand(request: Request) -> bool:
    return request.method == ERRAND and request.peer is None and request.key is not None  # anybody may send any method
