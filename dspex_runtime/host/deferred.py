"""Calls whose answer is still owed, as values that travel: any process may give the answer, exactly one wins.

A `from_` that is pickled (cast to another server, sent to a client, put into a state that is) becomes a `From`: whose call,
of which incarnation, under which number. The process that got the call keeps the request until it is answered, its client
is gone, or has given up. Owns that table; sends nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from dspex_runtime.host.context import Process

if TYPE_CHECKING:
    from dspex_runtime.host.mailbox import Request
    from dspex_runtime.host.peer import Peer

__all__ = ["Deferred", "From", "as_from", "elsewhere", "question"]

REPLY_TIMEOUT_S: Final = 5.0  # the control thread of the process that got the call passes an answer on at once


@dataclass(frozen=True, slots=True)
class From:
    """The `from_` of a call that came to another process, or came back from one; `dx.reply` takes it."""

    socket: str
    id: str
    incarnation: int
    number: int

    @property
    def is_here(self) -> bool:
        """Whether this is the process that got the call."""
        own = Process.assignment
        return own is not None and (own.socket, own.id, own.incarnation) == (self.socket, self.id, self.incarnation)

    @property
    def is_of_our_runtime(self) -> bool:
        """Whether this process's own parent knows the one that got the call."""
        return Process.parent is not None and Process.assignment is not None and Process.assignment.socket == self.socket


# Gives an answer from a process that is no module of that runtime: set by the client, which knows how to reach others.
elsewhere: Callable[[From, Any], bool] | None = None


class Deferred:
    """Requests that left this process as a `From`. Has a lock of its own: a value may be packed on any thread."""

    def __init__(self) -> None:
        self._last = 0  # number
        self._lock = threading.Lock()
        self._open: dict[int, Request] = {}
        self._number_of: dict[Request, int] = {}
        # Those whose answer a callback kept back, by who waits for it. Weak: nobody can answer one that is held nowhere.
        self._kept: WeakValueDictionary[tuple[Peer, int], Request] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def note(self, request: Request) -> int:
        """Return the number under which a request can be answered from elsewhere; the same for every copy."""
        with self._lock:
            number = self._number_of.get(request)
            if number is None:
                self._last = number = self._number_of[request] = self._last + 1
                if not request.replied and request.peer is not None and request.peer.open:
                    self._open[number] = request
                else:
                    del self._number_of[request]  # nobody waits: the number will not be found
            return number

    def keep(self, request: Request) -> None:
        """Know of a call whose callback has returned without an answer; its `from_` may be anywhere in this process."""
        assert request.peer is not None
        with self._lock:
            if self._kept is None:
                self._kept = WeakValueDictionary()
            self._kept[request.peer, request.id] = request

    def only_here(self) -> list[Request]:
        """Return the calls, still waited for, that only this process can answer: their `from_` was never pickled."""
        with self._lock:
            kept = list(self._kept.values()) if self._kept is not None else []
            return [r for r in kept if not r.replied and r.peer is not None and r.peer.open and r not in self._number_of]

    def calls(self) -> tuple[int, dict[int, Request]]:
        """Return the last number that was given, and the calls that can be answered by theirs."""
        with self._lock:
            return self._last, dict(self._open)

    def number_of(self, request: Request) -> int | None:
        """Return the number that a call is known by, None where it has none, or is answered."""
        with self._lock:
            return self._number_of.get(request)

    def adopt(self, last: int, calls: Mapping[int, Request]) -> None:
        """Go on where another process was: with its numbers and the calls that are owed an answer."""
        with self._lock:
            self._last = max(self._last, last)
            self._open.update(calls)
            self._number_of.update({request: number for number, request in calls.items()})

    def find(self, number: int) -> Request | None:
        """Return the request of a number, or None when nobody waits for its answer any more."""
        with self._lock:
            return self._open.get(number)

    def forget(self, request: Request) -> None:
        """Drop a request that was answered; whoever says so has marked it as replied."""
        with self._lock:
            number = self._number_of.pop(request, None)
            if number is not None:
                del self._open[number]

    def given_up(self, peer: Peer, id: int) -> None:
        """Drop the request that a client has cancelled."""
        if self._kept is not None:
            with self._lock:
                self._kept.pop((peer, id), None)
        if self._open:
            self._drop(lambda known: known.peer is peer and known.id == id)

    def client_gone(self, peer: Peer) -> None:
        """Drop what a client waited for."""
        if self._open:
            self._drop(lambda known: known.peer is peer)

    def _drop(self, gone: Callable[[Request], bool]) -> None:
        with self._lock:
            for number, request in [item for item in self._open.items() if gone(item[1])]:
                del self._open[number]
                del self._number_of[request]


def question(from_: From, value: Any) -> dict[str, Any]:
    """Return the arguments of the operation "module_op" that asks the process that got a call to give this answer."""
    args = {"number": from_.number, "value": value}
    return {"id": from_.id, "incarnation": from_.incarnation, "op": "reply", "args": args, "timeout": REPLY_TIMEOUT_S}


def as_from(request: Request) -> From:
    """Return what stands for a request in other processes.

    Raises:
        TypeError: Nobody waits for it (a cast), or this is not the process that got it.
    """
    own, loop = Process.assignment, Process.loop
    if own is None or loop is None or not request.id or request.peer is None:
        raise TypeError(f"{request!r} has no caller who waits: only the from_ of a handle_call can be sent to others")
    return From(own.socket, own.id, own.incarnation, loop.deferred.note(request))
