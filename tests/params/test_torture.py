"""Some hundreds of writers are killed at random instructions; `python -m tests.params.torture` kills thousands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
KILLS = 300


@pytest.mark.process
def test_no_kill_tears_loses_or_turns_back_a_value_that_any_reader_sees() -> None:
    command = [sys.executable, "-m", "tests.params.torture", str(KILLS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=6 * PATIENCE_S, check=False)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["complaints"] == [], result
    assert (result["torn"], result["backwards"], result["lost"], result["other"]) == (0, 0, 0, 0)
    assert result["kills"] == KILLS
    assert result["inside a write"] > KILLS / 10
    assert result["inside the adding of a name"] > 0
    assert result["growths"] > 0
    assert result["publishes"] > KILLS
    assert result["reads"] > KILLS
