from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.core.child_spec import Dependency
from dspex_runtime.core.dependencies import Dependencies
from dspex_runtime.core.dependency_events import (
    CascadeRestart,
    CascadeStop,
    Consequence,
    Declared,
    Fact,
    Forgotten,
    Hold,
    Refused,
    Release,
    Starting,
    TellDown,
    TellUp,
    Up,
    WentDown,
)
from dspex_runtime.core.invariants import InvariantError
from dspex_runtime.types import Incarnation, OnDown


class Facts:
    """Dependencies that are told of processes: each start is the next incarnation. Validated after every fact."""

    def __init__(self, **edges: str) -> None:
        """`x="y:restart z"`: x depends on y, and on z with `wait`; what is only depended on is declared as well."""
        self.dependencies = Dependencies()
        self.incarnations: dict[str, int] = {}
        self.tell(*(declared(id, text) for id, text in edges.items()))

    def tell(self, *facts: Fact) -> list[str]:
        found = self.dependencies.handle(*facts)
        self.dependencies.validate()
        return [said(consequence) for consequence in found]

    def starting(self, id: str) -> list[str]:
        self.incarnations[id] = self.incarnations.get(id, 0) + 1
        return self.tell(Starting(id, Incarnation(self.incarnations[id])))

    def up(self, id: str) -> list[str]:
        return self.tell(Up(id, Incarnation(self.incarnations[id])))

    def start(self, *ids: str) -> list[str]:
        """Bring them up, one after the other."""
        return [text for id in ids for text in (*self.starting(id), *self.up(id))]

    def down(self, *ids: str, coming: bool = True) -> list[str]:
        """Let them die in one batch."""
        return self.tell(*(WentDown(id, "killed", coming) for id in ids))


def declared(id: str, text: str, group: str | None = None) -> Declared:
    pairs = [item.partition(":") for item in text.split()]
    return Declared(id, {dep: Dependency(OnDown(on_down or "wait")) for dep, _, on_down in pairs}, group)


def said(consequence: Consequence) -> str:
    match consequence:
        case TellDown(id, dep, dependency, reason):
            return f"{id}: {dep} is down ({dependency.on_down}, {reason})"
        case TellUp(id, dep):
            return f"{id}: {dep} is up"
        case Hold(id):
            return f"hold {id}"
        case Release(id):
            return f"release {id}"
        case CascadeRestart(id, incarnation, because):
            return f"restart {id} {incarnation} for {','.join(because)}"
        case CascadeStop(id, incarnation, because):
            return f"stop {id} {incarnation} for {because}"
        case Refused(id, cycle):
            return f"refused {id}: {cycle}"


# telling


@pytest.mark.parametrize("on_down", [mode.value for mode in OnDown if mode is not OnDown.STOP])
def test_a_process_is_told_that_a_dependency_is_down_and_that_it_is_up_again(on_down: str) -> None:
    facts = Facts(x=f"y:{on_down}")
    facts.start("y", "x")
    assert f"x: y is down ({on_down}, killed)" in facts.down("y")
    assert facts.dependencies.down("x") == {"y": "killed"}
    assert "x: y is up" not in facts.starting("y")
    assert "x: y is up" in facts.up("y")
    assert facts.dependencies.down("x") == {}


def test_a_process_that_begins_has_it_from_its_assignment_and_is_told_what_changes_from_then_on() -> None:
    facts = Facts(x="y:fail")
    assert facts.start("x") == []
    assert facts.dependencies.down("x") == {"y": "noproc"}
    assert facts.start("y") == ["x: y is up"]
    facts.down("x")
    assert facts.down("y") == []
    assert facts.dependencies.down("x") == {"y": "killed"}


def test_one_that_is_still_starting_is_told_as_well() -> None:
    facts = Facts(x="y:fail")
    facts.start("y")
    facts.starting("x")
    assert facts.down("y") == ["x: y is down (fail, killed)"]


def test_why_it_is_down_is_told_again_when_it_is_another_reason() -> None:
    facts = Facts(x="y:fail")
    facts.start("y", "x")
    facts.down("y")
    assert facts.down("y") == []
    assert facts.tell(WentDown("y", "shutdown", coming=False)) == ["x: y is down (fail, shutdown)"]


def test_a_swap_is_no_down_for_it_is_no_fact_and_the_same_incarnation_again_is_no_news() -> None:
    facts = Facts(x="y:restart")
    facts.start("y", "x")
    assert facts.up("y") == []


def test_a_group_does_not_start() -> None:
    facts = Facts(x="qa:restart")
    facts.tell(Up("qa", Incarnation(1)))
    facts.start("x")
    assert facts.tell(WentDown("qa", "killed", True)) == ["x: qa is down (restart, killed)", "hold x"]
    assert facts.tell(Up("qa", Incarnation(2))) == ["x: qa is up", "release x", "restart x 1 for qa"]


# what is declared


def test_another_declaration_counts_at_once() -> None:
    facts = Facts(x="y:fail")
    facts.start("x")
    assert facts.tell(declared("x", "y:degrade z")) == ["x: y is down (degrade, noproc)", "x: z is down (wait, noproc)", "hold x"]
    assert facts.dependencies.edges("x").keys() == {"y", "z"}
    assert facts.dependencies.needed_by("z") == ["x"]
    assert facts.tell(declared("x", "y:degrade")) == ["x: z is up", "release x"]
    assert facts.dependencies.needed_by("z") == []


def test_a_dependency_that_is_new_is_no_reason_to_be_restarted() -> None:
    facts = Facts(x="")
    facts.start("y", "x")
    assert facts.tell(declared("x", "y:restart")) == []
    facts.down("y")
    assert "restart x 1 for y" in facts.start("y")


def test_who_is_forgotten_is_down_for_the_others_and_waits_for_nothing() -> None:
    facts = Facts(x="y", y="z")
    facts.start("z", "y", "x")
    assert facts.tell(Forgotten("y")) == ["x: y is down (wait, noproc)", "hold x"]
    assert facts.dependencies.obstacles("x") == {"y": False}
    assert facts.dependencies.edges("y") == {}
    facts.tell(declared("y", "z"))
    assert facts.start("y") == ["x: y is up", "release x"]


def test_one_that_was_held_is_released_when_it_is_forgotten() -> None:
    facts = Facts(x="y")
    assert facts.tell(Forgotten("x")) == ["release x"]
    assert facts.dependencies._nodes == {}


@pytest.mark.parametrize(
    ("known", "new", "path"),
    [
        ({"a": "b", "b": "c"}, ("c", "a"), "c -> a -> b -> c"),
        ({"s/a": "t/b"}, ("t/c", "s/d"), "t -> s -> t, by t/c -> s/d, s/a -> t/b"),
    ],
)
def test_a_circle_is_refused_and_changes_nothing(known: dict[str, str], new: tuple[str, str], path: str) -> None:
    facts = Facts(**known)
    id, text = new
    assert {id: str(cycle) for id, cycle in facts.dependencies.refusals(declared(id, text)).items()} == {id: path}
    assert facts.tell(declared(id, text)) == [f"refused {id}: {path}"]
    assert facts.dependencies.edges(id) == {}
    assert facts.tell(declared(id, "elsewhere")) == [f"hold {id}"]


def test_of_declarations_that_make_a_circle_together_the_last_is_refused() -> None:
    facts = Facts()
    said = facts.tell(declared("a", "b"), declared("b", "c"), declared("c", "a"), declared("d", "a"))
    assert said[0].startswith("refused c: ")
    assert facts.dependencies.edges("c") == {}
    assert facts.dependencies.needed_by("a") == ["d"]


def test_a_declaration_that_opens_a_circle_may_come_with_the_one_that_would_close_it() -> None:
    facts = Facts(a="b")
    assert not [text for text in facts.tell(declared("b", "a"), declared("a", "")) if "refused" in text]


def test_the_replicas_of_a_group_are_one() -> None:
    facts = Facts(x="qa")
    assert facts.tell(declared("qa#0", "x", group="qa"))[0].startswith("refused qa#0: ")


# holding


@pytest.mark.parametrize(
    ("on_down", "held"), [("wait", True), ("restart", True), ("stop", True), ("fail", False), ("degrade", False)]
)
def test_who_waits_for_a_dependency_is_held_while_it_is_down(on_down: str, held: bool) -> None:
    facts = Facts(x=f"y:{on_down} z")
    assert facts.dependencies.is_held("x")
    assert facts.start("z") == ([] if held else ["release x"])
    assert facts.dependencies.is_held("x") == held
    facts.start("y")
    assert not facts.dependencies.is_held("x")
    assert facts.down("y") == (["hold x"] if held else [])


def test_what_a_start_has_to_wait_for_is_coming_or_not() -> None:
    facts = Facts(x="a b c d:fail e", c="f")
    facts.start("e", "f", "c")
    facts.down("a", "c")
    facts.down("f", "b", coming=False)
    assert facts.dependencies.obstacles("x") == {"a": True, "b": False, "c": False}
    facts.starting("f")
    assert facts.dependencies.obstacles("x") == {"a": True, "b": False, "c": True}
    assert facts.dependencies.obstacles("new", declared("new", "a e unknown").edges) == {"a": True, "unknown": False}
    assert facts.dependencies.obstacles("nobody") == {}


def test_its_own_parts_are_no_reason_to_wait() -> None:
    facts = Facts(qa="qa/retriever:restart db")
    facts.start("db")
    assert not facts.dependencies.is_held("qa")
    assert facts.dependencies.obstacles("qa") == {}
    facts.starting("qa")
    assert facts.start("qa/retriever") == ["qa: qa/retriever is up"]
    assert facts.up("qa") == []  # it was started while its owner was: nothing is stale
    facts.down("qa/retriever")
    assert facts.start("qa/retriever") == ["qa: qa/retriever is up", "restart qa 1 for qa/retriever"]


# stopping


def test_who_is_to_be_stopped_is_stopped_up_or_starting() -> None:
    facts = Facts(x="y:stop", w="y:stop", v="y:stop")
    facts.start("y", "x")
    facts.starting("w")
    assert [text for text in facts.down("y") if "stop" in text.split()[:1]] == ["stop x 1 for y", "stop w 1 for y"]
    assert facts.tell(WentDown("y", "killed", coming=False)) == []


def test_who_died_with_its_dependency_is_not_stopped_for_it() -> None:
    for batch in (("x", "y"), ("y", "x")):
        facts = Facts(x="y:stop")
        facts.start("y", "x")
        assert facts.down(*batch) == ["hold x"]


def test_a_stop_goes_on_to_who_depends_on_the_stopped() -> None:
    facts = Facts(x="y:stop", w="x:stop")
    facts.start("y", "x", "w")
    assert "stop x 1 for y" in facts.down("y")
    assert "stop w 1 for x" in facts.tell(WentDown("x", "shutdown", coming=False))


def test_one_that_started_while_its_dependency_was_down_is_not_stopped() -> None:
    facts = Facts(x="y:stop")
    facts.start("x")
    assert facts.tell(WentDown("y", "killed", coming=True)) == ["x: y is down (stop, killed)"]


def test_who_depends_on_two_that_fall_is_stopped_once() -> None:
    facts = Facts(x="y:stop z:stop")
    facts.start("y", "z", "x")
    assert [text for text in facts.down("y", "z") if text.startswith("stop")] == ["stop x 1 for y"]


# restarting


def test_who_is_to_be_restarted_is_restarted_once_when_its_dependency_is_back() -> None:
    facts = Facts(x="y:restart")
    facts.start("y", "x")
    facts.down("y")
    assert facts.starting("y") == []
    assert facts.up("y") == ["x: y is up", "release x", "restart x 1 for y"]
    assert facts.down("x") == []
    assert facts.start("x") == []


def test_who_began_before_its_dependency_was_up_is_restarted_when_it_is_up_itself() -> None:
    facts = Facts(x="y:restart")
    facts.starting("x")
    assert facts.start("y") == ["x: y is up", "release x"]
    assert facts.up("x") == ["restart x 1 for y"]


def test_who_died_itself_meanwhile_began_with_the_new_one() -> None:
    facts = Facts(x="y:restart")
    facts.start("y", "x")
    facts.down("y", "x")
    assert facts.start("y", "x") == ["release x"]


def test_a_cascade_goes_in_the_order_of_dependencies_and_comes_to_each_once() -> None:
    facts = Facts(z="x:restart y:restart w:restart", x="y:restart w:restart")
    facts.start("w", "y", "x", "z")
    facts.down("w", "y")
    assert not [text for text in facts.start("w") if text.startswith("restart")]
    assert [text for text in facts.start("y") if text.startswith("restart")] == ["restart x 1 for y,w"]
    facts.down("x")
    assert [text for text in facts.start("x") if text.startswith("restart")] == ["restart z 1 for x,y,w"]
    facts.down("z")
    assert not facts.start("z")


def test_a_cascade_waits_for_one_above_that_will_be_restarted_for_another_failure() -> None:
    """The failures are of the same time: y is back first, but x will be restarted too, with q."""
    facts = Facts(z="x:restart y:restart", x="q:restart")
    facts.start("q", "y", "x", "z")
    facts.down("q", "y")
    assert not [text for text in facts.start("y") if text.startswith("restart")]
    assert [text for text in facts.start("q") if text.startswith("restart")] == ["restart x 1 for q"]
    facts.down("x")
    assert [text for text in facts.start("x") if text.startswith("restart")] == ["restart z 1 for x,y"]


def test_a_cascade_does_not_wait_for_what_will_not_come_by_itself() -> None:
    facts = Facts(z="x:restart y:restart", x="q:restart")
    facts.start("q", "y", "x", "z")
    facts.down("q", "y")
    facts.start("y")
    assert facts.tell(WentDown("q", "killed", coming=False)) == ["restart z 1 for y"]


def test_who_has_to_wait_for_another_dependency_is_not_restarted_into_waiting() -> None:
    facts = Facts(x="y:restart q")
    facts.start("y", "q", "x")
    facts.down("y")
    facts.down("q", coming=False)
    assert facts.start("y") == ["x: y is up"]
    assert facts.start("q") == ["x: q is up", "release x", "restart x 1 for y"]


def test_a_restart_that_was_asked_for_is_asked_for_again_when_it_had_to_wait_in_between() -> None:
    facts = Facts(x="y:restart")
    facts.start("y", "x")
    facts.down("y")
    facts.start("y")
    assert facts.down("y") == ["x: y is down (restart, killed)", "hold x"]
    assert facts.start("y") == ["x: y is up", "release x", "restart x 1 for y"]


def test_who_only_waits_for_one_that_is_restarted_is_restarted_after_it() -> None:
    facts = Facts(z="x y:restart", x="y:restart")
    facts.start("y", "x", "z")
    facts.down("y")
    assert [text for text in facts.start("y") if text.startswith("restart")] == ["restart x 1 for y"]
    assert "hold z" in facts.down("x")
    assert [text for text in facts.start("x") if text.startswith("restart")] == ["restart z 1 for y"]


def test_who_waits_for_one_that_will_be_stopped_is_not_restarted_into_waiting() -> None:
    """q is stopped for y, and z for q: neither has ended yet when w, which is restarted with v, could be."""
    facts = Facts(w="v:restart z", z="q:stop", q="y:stop")
    facts.start("y", "v", "q", "z", "w")
    assert "stop q 1 for y" in facts.down("y", "v")
    assert facts.start("v") == ["w: v is up", "release w"]
    assert "stop z 1 for q" in facts.down("q", coming=False)
    assert facts.down("z", coming=False) == ["w: z is down (wait, killed)", "hold w"]


def test_who_is_stopped_with_one_that_is_restarted_is_not_restarted_before() -> None:
    facts = Facts(w="v:restart x:stop", x="v:restart")
    facts.start("v", "x", "w")
    facts.down("v")
    assert [text for text in facts.start("v") if text.startswith("restart")] == ["restart x 1 for v"]
    assert "stop w 1 for x" in facts.down("x")
    assert facts.start("x") == ["w: x is up", "release w"]


def test_who_waits_for_one_that_is_stopped_with_a_restarted_one_is_not_restarted_into_waiting() -> None:
    facts = Facts(w="v:restart z", z="x:stop", x="v:restart")
    facts.start("v", "x", "z", "w")
    facts.down("v")
    assert [text for text in facts.start("v") if text.startswith("restart")] == ["restart x 1 for v"]
    assert "stop z 1 for x" in facts.down("x")
    assert "w: z is down (wait, killed)" in facts.down("z", coming=False)
    assert not [text for text in facts.start("x") if text.startswith("restart")]


# looks and invariants


def test_who_is_not_known_is_down_and_depends_on_nothing() -> None:
    dependencies = Dependencies()
    assert not dependencies.is_up("x")
    assert not dependencies.is_held("x")
    assert dependencies.down("x") == dependencies.edges("x") == {}
    assert dependencies.needed_by("x") == []


def break_held(node: Any) -> None:
    node.held = True


def break_told(node: Any) -> None:
    node.told = {"y": (Dependency(), "killed")}


def break_up(node: Any) -> None:
    node.incarnation = None


def break_needed(node: Any) -> None:
    node.needed_by["w"] = None


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (break_held, "'x' is held: True"),
        (break_told, "'x' was told that"),
        (break_up, "'x' is up without a process"),
        (break_needed, "'w' does not depend on 'x'"),
    ],
)
def test_a_broken_one_says_what_is_wrong(damage: Any, text: str) -> None:
    facts = Facts(x="y")
    facts.start("y", "x")
    damage(facts.dependencies._nodes["x"])
    with pytest.raises(InvariantError, match=text):
        facts.dependencies.validate()
