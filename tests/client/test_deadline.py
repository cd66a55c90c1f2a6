"""Which deadline a call gets."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from dspex_runtime.client.deadline import caller_deadline, deadline_after, deadline_scope, remaining_s
from dspex_runtime.errors import ConfigError
from dspex_runtime.host.context import CallCancelledError, current_request
from dspex_runtime.host.mailbox import Request

TABLE = [
    # timeout, caller's own deadline, deadline of what begins at 100
    (5.0, None, 105.0),
    (5.0, 103.0, 103.0),
    (5.0, 110.0, 105.0),
    (None, None, None),
    (inf, None, None),
    (None, 103.0, 103.0),
    (inf, 103.0, 103.0),
    (0.0, None, 100.0),
    (1e12, None, None),  # more than the kernel's clocks hold
    (1e300, 103.0, 103.0),
]


@pytest.mark.parametrize(("timeout", "own", "deadline"), TABLE)
def test_the_callers_own_deadline_caps_all(timeout: float | None, own: float | None, deadline: float | None) -> None:
    with deadline_scope(own):
        assert deadline_after(timeout, 100.0) == deadline


def test_a_scope_shortens_the_one_around_it_and_never_lengthens_it() -> None:
    with deadline_scope(50.0):
        with deadline_scope(80.0):
            assert caller_deadline() == 50.0
        with deadline_scope(20.0):
            assert caller_deadline() == 20.0
        with deadline_scope(None):
            assert caller_deadline() == 50.0
    assert caller_deadline() is None


def test_inside_a_module_the_request_being_served_is_the_cap() -> None:
    token = current_request.set(Request(None, 1, "answer", [], {}, 70.0))
    try:
        assert caller_deadline() == 70.0
        with deadline_scope(60.0):
            assert caller_deadline() == 60.0
    finally:
        current_request.reset(token)


def test_a_call_made_for_a_request_that_was_given_up_is_not_made() -> None:
    request = Request(None, 1, "answer", [], {}, 70.0)
    request.cancelled = True
    token = current_request.set(request)
    try:
        with pytest.raises(CallCancelledError):
            caller_deadline()
    finally:
        current_request.reset(token)


def test_what_has_passed_leaves_nothing() -> None:
    assert remaining_s(None) is None
    assert remaining_s(0.0) == 0.0


@pytest.mark.parametrize("timeout", ["x", [1], float("nan")])
def test_what_is_no_number_of_seconds_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigError, match="a time-out is a number of seconds"):
        deadline_after(timeout, 100.0)
