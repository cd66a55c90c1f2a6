"""Which process and which request the running code belongs to. What user code and the client ask: id, deadline, cancelled?

Works on call threads, on the loop thread (a task inherits it) and on threads that copy the context, as dspy's do.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex_runtime.host.assignment import Assignment
    from dspex_runtime.host.change_mail import ChangeMail
    from dspex_runtime.host.genserver import ServerHost
    from dspex_runtime.host.mailbox import Request
    from dspex_runtime.host.own_mail import OwnMail
    from dspex_runtime.host.server_loop import ServerLoop
    from dspex_runtime.host.uplink import Uplink

__all__ = ["CallCancelledError", "cancelled", "check_cancelled", "deadline", "incarnation", "self_id"]

current_request: ContextVar[Request | None] = ContextVar("dspex_request", default=None)


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


def cancelled() -> bool:
    """Return whether the client gave up the request being served."""
    request = current_request.get()
    return request is not None and request.cancelled


def check_cancelled() -> None:
    """Raise `CallCancelledError` when the client gave up the request being served. Our own calls do this for sync forwards."""
    if cancelled():
        raise CallCancelledError(_request_text())


def _request_text() -> Any:
    return repr(current_request.get())
