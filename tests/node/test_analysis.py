"""What a start has waited for: times that are told, and the chain that follows from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.node.analysis import Timeline, analyze
from dspex_runtime.types import ChildId
from helpers.fake_tree import group, worker


@dataclass
class Clock:
    time: float = 100.0

    def now(self) -> float:
        return self.time


def after(child: ChildSpec, *siblings: str) -> ChildSpec:
    return replace(child, after=frozenset(map(ChildId, siblings)))


class Play:
    """A tree whose starts are played: (second, "start" or "ready", id)."""

    def __init__(self, *children: ChildSpec) -> None:
        self.clock = Clock()
        self.timeline = Timeline(self.clock.now)
        self.tree = SupervisorSpec(children=children)
        self.timeline.begin("", self.tree)

    def at(self, second: float, *steps: tuple[str, str]) -> Play:
        self.clock.time = 100.0 + second
        for what, id in steps:
            (self.timeline.starting if what == "start" else self.timeline.ready)(id)
        return self

    def begin(self, path: str, spec: SupervisorSpec | None) -> Play:
        assert spec is not None
        self.timeline.begin(path, spec)
        return self

    def found(self) -> dict[str, Any]:
        return analyze(self.tree, self.timeline)

    def chain(self) -> list[str]:
        return [each["id"] for each in self.found()["chain"]]


def test_children_that_start_one_by_one_have_waited_for_the_one_before() -> None:
    play = Play(worker("a"), worker("b"))
    play.at(1, ("start", "a")).at(3, ("ready", "a"), ("start", "b")).at(4, ("ready", "b"))
    found = play.found()
    assert found["seconds"] == 4.0
    assert [(each["id"], each["waited_for"], each["why"]) for each in found["chain"]] == [("a", None, None), ("b", "a", "sibling")]
    first = found["children"][0]
    assert (first["asked"], first["started"], first["ready"], first["seconds"]) == (0.0, 1.0, 3.0, 2.0)


def test_of_those_side_by_side_the_last_one_that_was_needed_counts() -> None:
    play = Play(worker("fast"), worker("slow"), worker("free"), after(worker("x"), "fast", "slow"))
    play.at(0, ("start", "fast"), ("start", "slow"), ("start", "free")).at(1, ("ready", "fast")).at(2, ("ready", "free"))
    play.at(5, ("ready", "slow"), ("start", "x")).at(6, ("ready", "x"))
    found = play.found()
    assert play.chain() == ["slow", "x"]
    assert found["chain"][1]["why"] == "dependency"
    assert [each["id"] for each in found["children"]] == ["fast", "slow", "free", "x"]


def test_a_supervisor_that_was_waited_for_leads_to_its_last_child() -> None:
    inner = group("sup", worker("p"), worker("q"))
    play = Play(inner, after(worker("x"), "sup"))
    play.at(0, ("start", "sup")).begin("sup", inner.supervisor).at(1, ("start", "sup/p")).at(
        2, ("ready", "sup/p"), ("start", "sup/q")
    )
    play.at(4, ("ready", "sup/q"), ("ready", "sup"), ("start", "x")).at(5, ("ready", "x"))
    assert play.chain() == ["sup/p", "sup/q", "sup", "x"]


def test_the_first_below_a_supervisor_has_waited_for_that() -> None:
    inner = group("sup", worker("p"))
    play = Play(worker("a"), inner)
    play.at(0, ("start", "a")).at(2, ("ready", "a"), ("start", "sup")).begin("sup", inner.supervisor)
    play.at(3, ("start", "sup/p")).at(7, ("ready", "sup/p"))
    found = play.found()
    assert found["chain"][-1]["why"] == "supervisor"
    assert play.chain() == ["a", "sup", "sup/p"]


def test_what_comes_back_later_is_no_part_of_the_start() -> None:
    inner = group("sup", worker("p"))
    play = Play(inner)
    play.at(0, ("start", "sup")).begin("sup", inner.supervisor).at(0, ("start", "sup/p")).at(
        1, ("ready", "sup/p"), ("ready", "sup")
    )
    play.at(50, ("start", "sup")).begin("sup", inner.supervisor).at(51, ("start", "sup/p")).at(60, ("ready", "sup/p"))
    assert play.found()["seconds"] == 1.0


def test_a_root_that_starts_anew_begins_anew() -> None:
    play = Play(worker("a"))
    play.at(1, ("start", "a")).at(2, ("ready", "a")).at(50).begin("", play.tree)
    assert play.found() == {"seconds": None, "children": [], "chain": []}
    play.at(51, ("start", "a")).at(52, ("ready", "a"))
    assert play.found()["seconds"] == pytest.approx(2.0)


def test_one_that_is_not_ready_yet_is_shown_and_makes_no_chain() -> None:
    play = Play(worker("a"), worker("b"))
    play.at(1, ("start", "a"))
    found = play.found()
    assert (found["seconds"], found["chain"]) == (None, [])
    assert found["children"][0]["ready"] is None
