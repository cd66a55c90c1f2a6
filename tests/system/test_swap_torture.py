"""Swaps in all ways under load, and each kind of kill once within one; `python -m tests.system.swap_torture` goes on for hours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.waiting import PATIENCE_S

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
SWAPS = 25
ROUNDS = 10


def torture(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.system.swap_torture", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=15 * PATIENCE_S, check=False)
    assert done.stdout, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["complaints"] == [], f"seed {result['seed']}\n{done.stderr[-4000:]}"
    return result


def test_no_swap_loses_repeats_or_reorders_anything_and_nobody_is_told_of_an_end() -> None:
    result = torture(str(SWAPS))
    assert result["swaps"] > SWAPS
    assert result["calls and casts"] > 10 * SWAPS
    assert result["reads"] > 10 * SWAPS


@pytest.mark.slow
def test_whoever_is_killed_within_a_swap_it_happened_or_the_old_version_serves() -> None:
    result = torture(str(ROUNDS), "--kills")
    assert result["calls and casts"] > 10 * ROUNDS
