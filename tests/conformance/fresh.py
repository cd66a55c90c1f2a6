"""Plays scenarios that nobody has seen with OTP and the core: `python -m tests.conformance.fresh N --seed S`. Needs Erlang."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conformance import divergence
from conformance.oracles import ORACLES, SUPERVISOR, Oracle
from conformance.shrinking import shrink

BEYOND_RECORDED = 1_000_000  # the recorded seeds are all below


def main(arguments: list[str] | None = None) -> int:
    """Play; return the number of divergences, 255 at most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, metavar="N", help="how many scenarios")
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="makes them the same again; printed when not given")
    parser.add_argument("--oracle", choices=list(ORACLES), default=SUPERVISOR.name, help="whom to ask (default: %(default)s)")
    options = parser.parse_args(arguments)
    oracle = ORACLES[options.oracle]
    seed = random.SystemRandom().randrange(2**40) if options.seed is None else options.seed
    begun = time.monotonic()
    scenarios = {number: oracle.generate(BEYOND_RECORDED + seed + number) for number in range(options.count)}
    logs = oracle.ask(scenarios)
    diverging = [scenarios[number] for number in scenarios if oracle.core(scenarios[number], validate=True) != logs[number]]
    for scenario in diverging[:3]:
        show(oracle, scenario)
    lines, seconds = sum(map(len, logs.values())), time.monotonic() - begun
    print(f"{oracle.versions()}; --seed {seed}; {lines} lines in {seconds:.0f} s")
    print(f"{len(diverging)} divergences in {options.count} fresh scenarios")
    return min(len(diverging), 255)


def show(oracle: Oracle, scenario: dict[str, Any]) -> None:
    """Print a divergence, made as small as it gets."""

    def first_diverging(scenarios: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        logs = oracle.ask(dict(enumerate(scenarios)))
        return next((scenario for number, scenario in enumerate(scenarios) if oracle.core(scenario) != logs[number]), None)

    smallest = shrink(scenario, first_diverging)
    print(divergence.describe(smallest, oracle.ask({0: smallest})[0], oracle.core(smallest)))


if __name__ == "__main__":
    sys.exit(main())
