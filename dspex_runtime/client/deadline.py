"""Deadlines of calls: the explicit time-out, else the module's, and never later than the caller's own deadline.

A deadline is seconds of CLOCK_MONOTONIC, which all processes of one machine share; None is no deadline. Inside a module the
request being served has one, and what is called for it ends with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any, Final

from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError
from dspex_runtime.host.context import check_cancelled, current_request

FOREVER_S: Final = 1e8  # three years: a longer time-out is none; the kernel's and Python's waits end between 1e6 and 1e10
SERVER_CALL_TIMEOUT_S: Final = 5.0  # OTP's gen_server:call

_scope: Final[ContextVar[float | None]] = ContextVar("dspex_deadline_scope", default=None)


@contextmanager
def deadline_scope(deadline: float | None) -> Iterator[None]:
    """Cap every call made inside by `deadline`; a scope can shorten the one around it, never lengthen it."""
    outer = _scope.get()
    token = _scope.set(outer if deadline is None or (outer is not None and outer < deadline) else deadline)
    try:
        yield
    finally:
        _scope.reset(token)


def caller_deadline() -> float | None:
    """Return the deadline that caps the calls made here, or None.

    Raises:
        CallCancelledError: The request being served was given up; a sync forward learns it at its next call of ours.
    """
    request = current_request.get()
    scope = _scope.get()
    if request is None:
        return scope
    check_cancelled()
    own = request.deadline
    if own is None or (scope is not None and scope < own):
        return scope
    return own


def deadline_after(timeout_s: float | None, start: float) -> float | None:
    """Return the deadline of what began at `start`; None and FOREVER_S or more mean that only the caller's own deadline holds."""
    cap = caller_deadline()
    try:
        if timeout_s is None or timeout_s >= FOREVER_S:
            return cap
        deadline = start + timeout_s
    except TypeError:
        raise no_seconds(timeout_s) from None
    if deadline != deadline:
        raise no_seconds(timeout_s)
    return deadline if cap is None or deadline < cap else cap


def no_seconds(timeout: Any) -> ConfigError:
    """Return the error for a time-out that is no number."""
    return ConfigError(f"a time-out is a number of seconds, or None; got {show(timeout)}")


def remaining_s(deadline: float | None) -> float | None:
    """Return the seconds left, 0.0 when it passed; None for no deadline."""
    return None if deadline is None else max(0.0, deadline - monotonic())
