"""Which process and which request the running code belongs to. What user code and the client ask: id, deadline, cancelled?

Works on call threads, on the loop thread (a task inherits it) and on threads that copy the context, as dspy's do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from threading import Lock
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dspex_runtime.host.assignment import Assignment
    from dspex_runtime.host.change_mail import ChangeMail
    from dspex_runtime.host.genserver import ServerHost
    from dspex_runtime.host.mailbox import Request
    from dspex_runtime.host.own_mail import OwnMail
    from dspex_runtime.host.server_loop import ServerLoop
    from dspex_runtime.host.uplink import Uplink

__all__ = [
    *("CallCancelledError", "cancelled", "chain_of", "check_cancelled", "deadline", "given_up", "incarnation", "self_id"),
    *("wakers_of", "waking"),
]

current_request: ContextVar[Request | None] = ContextVar("dspex_request", default=None)

# Tells the requests of one id apart, those of the process before in a swap too: it began earlier than we.
_tokens: Final = count(monotonic_ns())
_nesting: Final = Lock()  # of a request's first nested call: all its threads are to find the same


class CallCancelledError(BaseException):
    """The client gave this call up. Not an Exception: a module's `except Exception` must not turn it into work."""


class Process:
    """The one module this process is; set once, after the assignment."""

    assignment: Assignment | None = None
    parent: Uplink | None = None  #: set before user code is imported
    loop: ServerLoop | None = None
    server: ServerHost | None = None  #: from before its init
    mail: OwnMail | None = None  #: what it sends to itself; set before user code is imported
    changes: ChangeMail | None = None  #: what others tell it of their parameters, once they do
    pid: int | None = None  #: what user code forks is another process


def self_id() -> str:
    """Return the full id of the module or server this code runs in.

    Raises:
        RuntimeError: This is no module process.
    """
    if Process.assignment is None:
        raise RuntimeError("self_id() has an answer only inside a module process")
    return Process.assignment.id


def incarnation() -> int | None:
    """Return which incarnation of the id this process is, or None outside a module process."""
    return Process.assignment.incarnation if Process.assignment else None


def deadline() -> float | None:
    """Return the deadline of the request being served (time.monotonic() seconds); calls made for it may not outlive it."""
    request = current_request.get()
    return request.deadline if request is not None else None


def chain_of(request: Request | None) -> list[list[Any]] | None:
    """Return the calls that wait for what a request calls, itself last; None where there is none, or this is no module.

    What it called names it by the same token, whichever of its threads asks.
    """
    if request is None:
        return None
    onward = request.onward
    if onward is None and Process.assignment is not None:
        with _nesting:
            onward = request.onward
            if onward is None:
                onward = request.onward = [*(request.chain or ()), [Process.assignment.id, next(_tokens)]]
    return onward


def wakers_of(request: Request) -> set[Callable[[], None]]:
    """Return where those who wait for a request's sake leave what ends their wait."""
    wakers = request.wakers
    if wakers is None:
        with _nesting:
            if request.wakers is None:
                request.wakers = set()
            wakers = request.wakers
    return wakers


@contextmanager
def waking(request: Request, wake: Callable[[], None]) -> Iterator[None]:
    """Have `wake` called from another thread when the request is given up meanwhile: whoever waits inside is to stop waiting.

    It must not block. It is no longer called behind this, unless the request is given up: then it may be, late.

    Raises:
        CallCancelledError: The request is given up, before or meanwhile.
    """
    wakers = wakers_of(request)
    wakers.add(wake)
    try:
        if not request.cancelled:
            yield
    finally:
        wakers.discard(wake)
        if request.cancelled:
            raise given_up(request)


def cancelled() -> bool:
    """Return whether the client gave up the request being served."""
    request = current_request.get()
    return request is not None and request.cancelled


def check_cancelled() -> None:
    """Raise `CallCancelledError` when the client gave up the request being served. Our own calls do this for sync forwards."""
    request = current_request.get()
    if request is not None and request.cancelled:
        raise given_up(request)


def given_up(request: Request) -> CallCancelledError:
    """Return what is to be raised where a request is served that was given up."""
    request.told = True
    return CallCancelledError(repr(request))
