"""The programs among the tests that kill, again and again, and tell as JSON what they found; here for a few rounds."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from helpers.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


def found_by(module: str, rounds: int, *arguments: str) -> dict[str, Any]:
    """Run one and return what it found, which is nothing to complain of."""
    command = [sys.executable, "-m", module, str(rounds), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=15 * PATIENCE_S, check=False)
    assert done.stdout, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["complaints"] == [], f"seed {found.get('seed')}: {found}\n{done.stderr[-4000:]}"
    return found


def command_line(description: str | None) -> ArgumentParser:
    """Return the parser of such a program, with what all of them take."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=None, help="of what is done and killed; the moments differ anyway")
    parser.add_argument("--keep", type=Path, default=None, help="a folder for state and ledgers that stays")
    return parser


def run_as_told(
    parser: ArgumentParser, arguments: Sequence[str] | None, run: Callable[[Namespace, int, Path], dict[str, Any]]
) -> int:
    """Run one, given the seed and a folder, and print what it found; return 1 when there was any complaint."""
    chosen = parser.parse_args(arguments)
    seed = random.randrange(2**32) if chosen.seed is None else chosen.seed
    with TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        found = run(chosen, seed, folder)
    print(json.dumps(found))
    return 1 if found["complaints"] else 0
