"""A server dies in the middle of sets, again and again, and readers see nothing of it; `python -m tests.system.param_torture`."""

from __future__ import annotations

import pytest

from helpers.killing_runs import found_by

KILLS = 25


@pytest.mark.process
def test_no_kill_of_a_module_or_of_the_keeper_tears_loses_or_turns_back_what_readers_see() -> None:
    result = found_by("tests.system.param_torture", KILLS)
    assert result["reads"] > 100 * KILLS
    assert result["sets"] > 2 * KILLS
    assert result["sets from inside"] > KILLS
