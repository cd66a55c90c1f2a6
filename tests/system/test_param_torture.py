"""A server dies in the middle of sets, again and again, and readers see nothing of it; `python -m tests.system.param_torture`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
KILLS = 25


@pytest.mark.process
def test_no_kill_of_a_module_or_of_the_keeper_tears_loses_or_turns_back_what_readers_see() -> None:
    command = [sys.executable, "-m", "tests.system.param_torture", str(KILLS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=12 * PATIENCE_S, check=False)
    assert done.stdout, done.stderr[-4000:]
    result = json.loads(done.stdout)
    assert result["complaints"] == [], f"seed {result['seed']}"
    assert result["reads"] > 100 * KILLS
    assert result["sets"] > 2 * KILLS
    assert result["sets from inside"] > KILLS
