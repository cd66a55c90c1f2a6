"""Asks OTP again and writes what it answers to recorded/: `python -m tests.conformance.record [supervisor|dynamic]`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conformance import divergence, recording
from conformance.oracles import ORACLES, Oracle


def main(arguments: list[str] | None = None) -> int:
    """Record; return the number of divergences, 255 at most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("oracle", nargs="?", choices=list(ORACLES), help="all when not given")
    chosen = parser.parse_args(arguments).oracle
    return min(sum(record(oracle) for oracle in ORACLES.values() if chosen in (None, oracle.name)), 255)


def record(oracle: Oracle) -> int:
    """Ask one of them; return the number of divergences."""
    begun = time.monotonic()
    scenarios = {seed: oracle.generate(seed) for seed in range(oracle.count)}
    logs = oracle.ask(scenarios)
    recording.save(oracle.recorded, oracle.versions(), [(scenarios[seed], logs[seed]) for seed in scenarios])
    print(f"{oracle.name}: {oracle.versions()}")
    print(f"  {oracle.count} scenarios, {sum(map(len, logs.values()))} lines in {time.monotonic() - begun:.0f} s")
    print(f"  {oracle.recorded.stat().st_size} bytes: {oracle.recorded}")
    diverging = [seed for seed in scenarios if oracle.core(scenarios[seed]) != logs[seed]]
    for seed in diverging[:3]:
        print(divergence.describe(scenarios[seed], logs[seed], oracle.core(scenarios[seed])))
    print(f"  {len(diverging)} divergences")
    return len(diverging)


if __name__ == "__main__":
    sys.exit(main())
