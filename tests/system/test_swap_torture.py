"""Swaps in all ways under load, and each kind of kill once within one; `python -m tests.system.swap_torture` goes on for hours."""

from __future__ import annotations

import pytest

from helpers.killing_runs import found_by

pytestmark = pytest.mark.process

SWAPS = 25
ROUNDS = 10


def test_no_swap_loses_repeats_or_reorders_anything_and_nobody_is_told_of_an_end() -> None:
    result = found_by("tests.system.swap_torture", SWAPS)
    assert result["swaps"] > SWAPS
    assert result["calls and casts"] > 10 * SWAPS
    assert result["reads"] > 10 * SWAPS


@pytest.mark.slow
def test_whoever_is_killed_within_a_swap_it_happened_or_the_old_version_serves() -> None:
    result = found_by("tests.system.swap_torture", ROUNDS, "--kills")
    assert result["calls and casts"] > 10 * ROUNDS
