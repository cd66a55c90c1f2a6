"""Runs dspy's own tests against us: `python -m tests.dspy_compat.upstream PATH_TO_DSPY/tests [pytest's arguments]`.

Three times: untouched, with dx.Module as the base of every class they define, and with those programs hosted in other processes.
What passes untouched and fails with ours is printed by name; the exit status is how many of these no difference explains.
Give it the tests of the version that is installed: `git -C dspy checkout VERSION`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dspy_compat.differences import BY_NAME, UPSTREAM
from dspy_compat.ways import WAYS

OURS = Path(__file__).resolve().parents[1]  # where the plugin is imported from
Outcomes = dict[str, dict[str, Any]]


def main(arguments: list[str] | None = None) -> int:
    """Run and compare; return the number of unexplained failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", type=Path, help="the folder `tests` of a checkout of dspy")
    parser.add_argument("--ways", nargs="+", choices=WAYS[1:], default=WAYS[1:])
    given, further = parser.parse_known_args(arguments)
    plain = outcomes(given.tests.resolve(), "plain", further)
    print(f"{len(plain)} tests, {count(plain, 'passed')} pass untouched, {count(plain, 'skipped')} are skipped")
    return sum(compare(way, plain, outcomes(given.tests.resolve(), way, further)) for way in given.ways)


def outcomes(tests: Path, way: str, further: list[str]) -> Outcomes:
    """Run pytest in a process of its own, and return what became of each test."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        environment = os.environ | {"DSPEX_UPSTREAM_WAY": way, "DSPEX_UPSTREAM_RESULTS": str(results), "PYTHONPATH": str(OURS)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "dspy_compat.upstream_plugin", "-p", "no:cacheprovider"]
        said = subprocess.run(
            [*command, *further, str(tests)], cwd=tests.parent, env=environment, capture_output=True, text=True, check=False
        )
        if not results.exists():
            sys.exit(f"pytest ended with {said.returncode}:\n{said.stdout[-4000:]}{said.stderr[-4000:]}")
        found: Outcomes = json.loads(results.read_text())
        return found


def count(found: Outcomes, outcome: str) -> int:
    """Return how many tests had an outcome."""
    return sum(each["outcome"] == outcome for each in found.values())


def compare(way: str, plain: Outcomes, ours: Outcomes) -> int:
    """Print what fails this way and passes untouched; return how many of these no difference explains."""
    failing = [name for name, each in plain.items() if each["outcome"] == "passed" and ours.get(name, each)["outcome"] == "failed"]
    missing = [name for name in plain if name not in ours]
    took_part = sum(bool(each["hosted"]) for each in ours.values())
    print(f"\n{way}: {count(ours, 'passed')} pass" + (f", in {took_part} tests programs were hosted" if way == "hosted" else ""))
    unexplained = 0
    for name in [*failing, *missing]:
        difference = explained(name) if way == "hosted" else None
        unexplained += difference is None
        said = ours[name]["said"].strip().splitlines() if name in ours else ["was not run"]
        print(f"  {'FAILS' if difference is None else difference}: {name}\n      {said[0][:200] if said else ''}")
    print(f"  {unexplained} unexplained, {len(failing) + len(missing) - unexplained} by the list of differences")
    return unexplained


def explained(name: str) -> str | None:
    """Return the difference that a hosted test shows, by its name without parameters."""
    test = name.partition("[")[0]
    found = next((difference for known, difference in UPSTREAM.items() if test.endswith(known)), None)
    assert found is None or found in BY_NAME, found
    return found


if __name__ == "__main__":
    sys.exit(min(main(), 255))
