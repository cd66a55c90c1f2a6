"""Each kind of kill once, under load, and every acknowledged write is there; `python -m tests.system.ledger` kills for hours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 13  # each kind once


@pytest.mark.process
def test_after_any_kill_every_acknowledged_write_is_there_in_its_version_and_in_history() -> None:
    command = [sys.executable, "-m", "tests.system.ledger", str(ROUNDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=12 * PATIENCE_S, check=False)
    assert done.stdout, done.stderr[-4000:]
    result = json.loads(done.stdout)
    assert result["complaints"] == [], f"seed {result['seed']}"
    assert result["audits"] > ROUNDS
    assert result["acknowledged"] > 10 * ROUNDS
