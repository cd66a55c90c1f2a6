"""Some hundreds of writers are killed at random instructions; `python -m tests.params.torture` kills thousands."""

from __future__ import annotations

import pytest

from helpers.killing_runs import found_by

KILLS = 300


@pytest.mark.process
def test_no_kill_tears_loses_or_turns_back_a_value_that_any_reader_sees() -> None:
    result = found_by("tests.params.torture", KILLS)
    assert (result["torn"], result["backwards"], result["lost"], result["other"]) == (0, 0, 0, 0)
    assert result["kills"] == KILLS
    assert result["inside a write"] > KILLS / 10
    assert result["inside the adding of a name"] > 0
    assert result["growths"] > 0
    assert result["publishes"] > KILLS
    assert result["reads"] > KILLS
