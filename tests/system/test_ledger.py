"""Each kind of kill once, under load, and every acknowledged write is there; `python -m tests.system.ledger` kills for hours."""

from __future__ import annotations

import pytest

from helpers.killing_runs import found_by

ROUNDS = 13  # each kind once


@pytest.mark.process
def test_after_any_kill_every_acknowledged_write_is_there_in_its_version_and_in_history() -> None:
    result = found_by("tests.system.ledger", ROUNDS)
    assert result["audits"] > ROUNDS
    assert result["acknowledged"] > 10 * ROUNDS
