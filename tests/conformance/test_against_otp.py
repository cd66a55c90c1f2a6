"""The core does what OTP's supervisor and Elixir's DynamicSupervisor did, line by line, in all that is recorded. No Erlang."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest
from conformance import divergence, recording
from conformance.oracles import DYNAMIC, SUPERVISOR, Oracle
from conformance.player import Player
from conformance.recording import Item

CHUNKS = 18
SWAPPED = 12  # every so manyth is played once more with every worker swapped
VALIDATED = 10  # every so manyth is played with the machines' invariants checked after every event


@cache
def recorded(oracle: Oracle) -> list[Item]:
    return list(recording.load(oracle.recorded))


@pytest.fixture(scope="module", autouse=True)
def forgotten_afterwards() -> Iterator[None]:
    """Let go of 300 MB: every later test that has the collector run (the leak check) would walk them, 0.3 s each time."""
    yield
    recorded.cache_clear()


def compare(oracle: Oracle, items: list[Item]) -> None:
    for number, (scenario, theirs) in enumerate(items):
        ours = oracle.core(scenario, validate=number % VALIDATED == 0)
        if ours != theirs:
            pytest.fail(divergence.describe(scenario, theirs, ours), pytrace=False)


def test_there_are_five_thousand_recorded_scenarios() -> None:
    assert len(recorded(SUPERVISOR)) == SUPERVISOR.count >= 5000
    assert recording.versions(SUPERVISOR.recorded).startswith("OTP ")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_core_does_what_otp_did(chunk: int) -> None:
    compare(SUPERVISOR, recorded(SUPERVISOR)[chunk::CHUNKS])


def test_dynamic_supervisors_do_what_elixirs_did() -> None:
    assert len(recorded(DYNAMIC)) == DYNAMIC.count >= 500
    assert "Elixir " in recording.versions(DYNAMIC.recorded)
    compare(DYNAMIC, recorded(DYNAMIC))


@pytest.mark.parametrize("oracle", [SUPERVISOR, DYNAMIC], ids=["supervisor", "dynamic"])
def test_a_supervisor_whose_workers_are_all_swapped_does_the_same(oracle: Oracle) -> None:
    restarted = 0
    for scenario, theirs in recorded(oracle)[::SWAPPED]:
        player = Player(scenario, validate=True, swaps=True)
        ours = oracle.comparable(player.play())
        if ours != theirs:
            pytest.fail(divergence.describe(scenario, theirs, ours), pytrace=False)
        restarted += player.world.swapped
    assert restarted > 100, "nobody was started as the version that a swap had made it"


ROWS = {
    # otp-semantics section: (pattern in the logs of OTP, how often at least)
    "1.2 an end by itself is reported": (r"^report child_terminated \S+ (boom|killed)$", 5000),
    "1.2 a normal end of a permanent child is reported too": (r"^report child_terminated \S+ normal$", 500),
    "1.4 intensity reached": (r"^report shutdown \S+ reached_max_restart_intensity$", 1000),
    "1.5 a supervisor's end is its parent's child's end": (r"^report child_terminated \S+ shutdown$", 500),
    "1.6 a failed restart is tried again": (r"^report start_error", 3000),
    "1.6 restarting is shown": (r"^tree .*=restarting|^answer .*=restarting", 50),
    "1.7 already_present": (r"^answer \d+ already_present$", 100),
    "1.7 already_started": (r"^answer \d+ already_started$", 500),
    "1.7 restarting": (r"^answer \d+ restarting$", 50),
    "1.7 running": (r"^answer \d+ running$", 1000),
    "1.7 not_found": (r"^answer \d+ not_found$", 500),
    "1.7 undefined": (r"^answer \d+ undefined$", 30),
    "1.7 a start by request fails": (r"^answer \d+ start_failed", 50),
    "1.7 the boot fails": (r"^boot failed shutdown:failed_to_start_child", 50),
    "1.7 a nested boot fails": (r"^report start_error \S+ shutdown:failed_to_start_child", 100),
    "1.7 a request that waits when the supervisor ends": (r"^answer \d+ shutdown$", 100),
    "1.8 a child that is killed when its time is over": (r"^report shutdown_error \S+ killed$", 500),
    "1.8 a child that dies of something else while it is stopped": (r"^report shutdown_error \S+ boom$", 500),
    "a supervisor waits in a start": (r"^gate \S+ start$", 1000),
    "a supervisor waits in a stop": (r"^gate \S+ stop$", 1000),
}


DYNAMIC_ROWS = {
    "1.11 max_children": (r"^answer \d+ max_children$", 100),
    "1.11 a start that ignores stores nothing": (r"^answer \d+ undefined$", 5),
    "1.11 terminate_child of an unknown child": (r"^answer \d+ not_found$", 100),
    "1.11 a restart that fails is tried again": (r"^report start_error r(/\w)?/c\d+ ", 100),
    "1.11 intensity reached": (r"^report shutdown r(/\w)?/c\d+ reached_max_restart_intensity$", 50),
    "1.5 a restarted supervisor lost the children that were added": (r"^start r/\w#2$", 50),
}


@pytest.mark.parametrize(("oracle", "rows"), [(SUPERVISOR, ROWS), (DYNAMIC, DYNAMIC_ROWS)], ids=["supervisor", "dynamic"])
def test_the_recorded_scenarios_reach_every_row(oracle: Oracle, rows: dict[str, tuple[str, int]]) -> None:
    text = "\n".join(line for _, log in recorded(oracle) for line in log)
    rare = {row: found for row, (pattern, least) in rows.items() if (found := len(re.findall(pattern, text, re.MULTILINE))) < least}
    assert not rare


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_every_strategy_is_recorded_with_every_auto_shutdown(strategy: str, mode: str) -> None:
    roots = [scenario["root"] for scenario, _ in recorded(SUPERVISOR)]
    assert sum(root["strategy"] == strategy and root.get("auto_shutdown") == mode for root in roots) > 100
