"""Real processes under our supervisors do what the core does, which does what OTP does: the same random scenarios."""

from __future__ import annotations

from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conformance import divergence, generator, player
from conformance.processes import RealPlayer, seen, visible

from helpers.system import Start

pytestmark = pytest.mark.process

PER_STRATEGY = 7
STRATEGIES = ("one_for_one", "rest_for_one", "one_for_all")


@cache
def chosen(strategy: str) -> list[dict[str, Any]]:
    """Return those of the first seeds in which something happens, and not too much."""
    found: list[dict[str, Any]] = []
    for seed in count():
        scenario = visible(generator.scenario(seed))
        if scenario["root"]["strategy"] != strategy:
            continue
        log = player.play(scenario)
        starts = sum(line.startswith("start ") for line in log)
        decisions = sum(line.startswith("report child_terminated ") for line in log)
        timeouts = sum(line.startswith("report shutdown_error ") for line in log)
        if starts in range(10, 31) and decisions >= 4 and timeouts <= 2:
            found.append(scenario)
        if len(found) == PER_STRATEGY:
            break
    return found


@pytest.mark.parametrize("number", range(PER_STRATEGY))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_processes_do_what_the_core_does(strategy: str, number: int, runtime: Start, tmp_path: Path) -> None:
    scenario = chosen(strategy)[number]
    real = RealPlayer(scenario, runtime, tmp_path / "journal")
    journal = real.play()
    expected = seen(real.core.world)
    if journal != expected:
        pytest.fail(divergence.describe(scenario, expected, journal, names=("the core", "the processes")), pytrace=False)


def test_the_scenarios_show_sweeps_retries_escalation_and_significant_children() -> None:
    logs = "\n".join("\n".join(player.play(scenario)) for strategy in STRATEGIES for scenario in chosen(strategy))
    for line in ("report start_error", "reached_max_restart_intensity", "report shutdown_error", "report child_terminated"):
        assert line in logs
    assert "any_significant" in str([chosen(strategy) for strategy in STRATEGIES])
