"""Groups on the command line: `dspex scale`, and replicas below their group in the tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dspex_cli.commands.tree import lines
from dspex_cli.replicas import grouped

Run = Callable[..., Any]


def child(id: str, group: str | None = None, state: str = "READY") -> dict[str, Any]:
    return {"id": id, "kind": "module", "state": state, "group": group, "pid": 7}


class TestTree:
    """What `dspex tree` draws."""

    def test_replicas_are_below_their_group_where_the_first_of_them_was(self) -> None:
        children = [child("a"), child("qa#0", "qa"), child("b"), child("qa#1", "qa")]
        assert [each["id"] for each in grouped(children)] == ["a", "qa", "b"]
        assert [each["id"] for each in grouped(children)[1]["children"]] == ["qa#0", "qa#1"]

    @pytest.mark.parametrize(
        ("states", "state"),
        [(("READY", "READY"), "READY"), (("READY", "BACKOFF"), "DEGRADED"), (("FAILED", "STARTING"), "STARTING")],
    )
    def test_a_group_is_what_info_says_that_it_is(self, states: tuple[str, ...], state: str) -> None:
        (group,) = grouped(child(f"qa#{number}", "qa", each) for number, each in enumerate(states))
        assert group["state"] == state

    def test_a_child_of_the_same_name_stays_apart(self) -> None:
        assert [each["id"] for each in grouped([child("qa"), child("qa#0", "qa")])] == ["qa", "qa"]

    def test_it_says_how_many_there_are(self) -> None:
        tree = {"id": "root", "state": "READY", "children": [child("sup/qa#0", "sup/qa"), child("sup/qa#1", "sup/qa")]}
        drawn = list(lines(tree))
        assert drawn[1].startswith("└─ qa  module  READY  2 replicas")
        assert drawn[2].startswith("   ├─ qa#0  module  READY")


class TestScale:
    """`dspex scale ID=N`."""

    def test_it_asks_for_each_and_says_what_there_is(self, dspex: Run, runtime: Any) -> None:
        outcome = dspex("scale", "qa=2", "counter=1")
        assert (outcome.code, outcome.out) == (0, "qa has 2 replicas: qa#0, qa#1\ncounter has 1 replica: counter#0\n")
        assert [asked for asked in runtime.asked if asked[0] == "scale"] == [
            ("scale", "qa", {"n": 2}),
            ("scale", "counter", {"n": 1}),
        ]

    @pytest.mark.usefixtures("runtime")
    def test_none_is_a_number(self, dspex: Run) -> None:
        assert dspex("scale", "qa=0").out == "qa has 0 replicas\n"

    @pytest.mark.parametrize("word", ["qa", "qa=", "=3", "qa=-1", "qa=three"])
    def test_anything_else_is_a_mistake(self, dspex: Run, runtime: Any, word: str) -> None:
        outcome = dspex("scale", word)
        assert outcome.code == 2
        assert "ID=N" in outcome.err
        assert runtime.asked == []

    @pytest.mark.usefixtures("runtime")
    def test_an_unknown_id_is_told(self, dspex: Run) -> None:
        assert dspex("scale", "nobody=2").code == 3


def test_the_logs_of_a_group_are_those_of_its_replicas(dspex: Run, runtime: Any) -> None:
    qa = runtime.children["qa"]
    runtime.children["qa"] = replace(qa, replicas=["qa#0", "qa#1"])
    for number in (0, 1):
        runtime.children[f"qa#{number}"] = replace(qa, id=f"qa#{number}", group="qa")
        runtime.log_lines[f"qa#{number}"] = [f"line of {number}\n"]
    assert dspex("logs", "qa").out == "qa#0 | line of 0\nqa#1 | line of 1\n"


def test_info_names_the_replicas(dspex: Run, runtime: Any) -> None:
    runtime.children["qa"] = replace(runtime.children["qa"], replicas=["qa#0", "qa#1"], params="shared")
    shown = dspex("info", "qa").out
    assert "qa#0, qa#1" in shown
    assert "shared" in shown
