"""What compares is itself right: scenarios are the same for a seed, differences are found, shown and made small."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from conformance import divergence, generator, otp, player
from conformance.shrinking import shrink

SMALL = {
    "root": {
        "strategy": "one_for_one",
        "intensity": 1,
        "period": 1000,
        "children": [{"id": "a", "restart": "permanent", "shutdown": 5000, "starts": {"2": "fail boom"}}],
    },
    "steps": [["exit", "r/a", "boom"], ["call", "r", "which_children", ""]],
}


def test_a_seed_gives_the_same_scenario_for_ever() -> None:
    assert generator.scenario(7) == generator.scenario(7) != generator.scenario(8)


def test_scenarios_are_plain_data() -> None:
    for seed in range(50):
        scenario = generator.scenario(seed)
        assert json.loads(json.dumps(scenario)) == scenario


def test_a_log_tells_what_happened_in_order() -> None:
    assert player.play(SMALL, validate=True) == [
        "start r#1",
        "start r/a#1",
        "up r/a",
        "tree r: a=up 1/1/0/1",
        "> exit r/a boom",
        "end r/a#1 boom",
        "report child_terminated r/a boom",
        "start r/a#2",
        "report start_error r/a boom",
        "report shutdown r/a reached_max_restart_intensity",
        "end r#1 shutdown",
        "> call 1 r which_children ",
        "answer 1 noproc",
        "> stop",
    ]


def test_an_unknown_word_in_a_scenario_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown step"):
        player.play({**SMALL, "steps": [["explode", "r/a"]]})


def test_a_divergence_shows_where_it_begins_and_how_both_go_on() -> None:
    text = divergence.describe(SMALL, ["start r#1", "up r/a"], ["start r#1", "up r/b", "x"])
    assert "line 2" in text
    assert "  - up r/a" in text
    assert "  + up r/b\n  + x" in text


@pytest.mark.parametrize(("theirs", "ours", "first"), [([], [], 0), (["a"], ["a", "b"], 1), (["a", "b"], ["a", "c"], 1)])
def test_the_first_difference(theirs: list[str], ours: list[str], first: int) -> None:
    assert divergence.first_difference(theirs, ours) == first


def test_shrinking_leaves_only_what_the_divergence_needs() -> None:
    def first_with_a_kill_of_b(scenarios: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        return next((scenario for scenario in scenarios if "end r/b#1 killed" in player.play(scenario)), None)

    found = next(s for seed in range(1000) if first_with_a_kill_of_b([s := generator.scenario(seed)]) and len(s["steps"]) > 4)
    small = shrink(found, first_with_a_kill_of_b, rounds=200)
    assert "end r/b#1 killed" in player.play(small)
    assert len(small["steps"]) <= 1
    assert len(small["root"]["children"]) <= 2


def test_plain_data_as_erlang_terms() -> None:
    assert otp.term({"a": [1, "x", True], "b": {}}) == '#{<<"a">>=>[1,<<"x">>,true],<<"b">>=>#{}}'
    with pytest.raises(TypeError, match="not plain data"):
        otp.term(1.5)
