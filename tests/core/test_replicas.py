"""What a group is doing, from what its replicas do."""

from __future__ import annotations

from itertools import permutations

import pytest

from dspex_runtime.core.replicas import group_state
from dspex_runtime.types import State

READY, DEGRADED, STARTING, STOPPED, FAILED = State.READY, State.DEGRADED, State.STARTING, State.STOPPED, State.FAILED


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ((READY, READY), READY),
        ((READY, DEGRADED), DEGRADED),
        ((READY, STOPPED), DEGRADED),
        ((READY, FAILED, State.BACKOFF), DEGRADED),
        ((READY, State.SWAPPING), DEGRADED),
        ((DEGRADED, DEGRADED), DEGRADED),
        ((DEGRADED, FAILED), DEGRADED),
        ((DEGRADED, STARTING, State.SWAPPING), DEGRADED),
        ((STARTING, FAILED), STARTING),
        ((State.SWAPPING, STARTING), State.SWAPPING),
        ((State.BACKOFF, STOPPED), State.BACKOFF),
        ((State.PENDING, FAILED, STOPPED), State.PENDING),
        ((FAILED, STOPPED), STOPPED),
        ((FAILED, State.EXITED), State.EXITED),
        ((FAILED, FAILED), FAILED),
        ((), STOPPED),
    ],
)
def test_it_is_ready_when_all_are_degraded_when_some_serve_and_else_the_best(states: tuple[State, ...], state: State) -> None:
    assert {group_state(order) for order in permutations(states)} == {state}


@pytest.mark.parametrize("state", State)
def test_a_group_of_one_is_what_that_is(state: State) -> None:
    assert group_state([state]) is state
