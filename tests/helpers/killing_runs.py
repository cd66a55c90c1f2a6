"""The programs among the tests that kill, again and again, and tell as JSON what they found; here for a few rounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from helpers.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


def found_by(module: str, rounds: int) -> dict[str, Any]:
    """Run one and return what it found, which is nothing to complain of."""
    command = [sys.executable, "-m", module, str(rounds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=12 * PATIENCE_S, check=False)
    assert done.stdout, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["complaints"] == [], f"seed {found.get('seed')}: {found}"
    return found
