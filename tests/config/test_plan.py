"""What brings what runs to what a file says: which step for which field, in which order, with nothing said that is a secret."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.config import differences, parse
from dspex_runtime.config.plan import ANEW, Running, next_step, plan
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.config.steps import Action, Change, Plan, Step
from dspex_runtime.core.child_spec import (
    Backoff,
    ChildSpec,
    Dependency,
    LaunchSpec,
    Limits,
    PartsSpec,
    Replica,
    Shutdown,
    SupervisorSpec,
)
from dspex_runtime.types import Kind, State

STATELESS = {"version": 1, "name": "t"}


def server(id: str, **keys: Any) -> dict[str, Any]:
    return {"id": id, "server": "pkg.mod:Name", **keys}


def module(id: str, **keys: Any) -> dict[str, Any]:
    return {"id": id, "module": "pkg.mod:Name", **keys}


def group(id: str, *children: dict[str, Any], restart: str = "permanent", **keys: Any) -> dict[str, Any]:
    return {"id": id, "restart": restart, "supervisor": {**keys, "children": list(children)}}


def spec(*children: dict[str, Any], tree: Mapping[str, Any] | None = None, **top: Any) -> RuntimeSpec:
    return parse({**STATELESS, **top, "tree": {**(tree or {}), "children": list(children)}})


def planned(old: RuntimeSpec, new: RuntimeSpec, running: Mapping[str, Running] | None = None) -> list[str]:
    """Return "action id" of each step."""
    return [f"{step.action} {step.id}" for step in plan(old, new, running or {}).steps]


def only(old: dict[str, Any], new: dict[str, Any], **running: Running) -> Step:
    """Return the one step for one child."""
    (step,) = plan(spec(old), spec(new), running).steps
    return step


# one field of one child

FIELDS: list[tuple[dict[str, Any], dict[str, Any], str, str, Any, Any]] = [
    # keys before, keys after, action, field, old, new
    ({}, {"restart": "transient"}, "live", "restart", "permanent", "transient"),
    ({}, {"backoff": {"initial": "1s"}}, "live", "backoff.initial", "100ms", "1s"),
    ({}, {"backoff": "none"}, "live", "backoff", None, "none"),
    ({}, {"shutdown": {"timeout": "9s"}}, "live", "shutdown.timeout", "5s", "9s"),
    ({}, {"shutdown": "brutal_kill"}, "live", "shutdown", None, "brutal_kill"),
    ({}, {"shutdown": "infinity"}, "live", "shutdown.timeout", "5s", "infinity"),
    ({}, {"start_timeout": "infinity"}, "live", "start_timeout", "30s", "infinity"),
    ({}, {"metadata": {"team": "a"}}, "live", "metadata.team", None, "a"),
    ({"metadata": {"n": {"x": 1}}}, {"metadata": {"n": {"x": 2}}}, "live", "metadata.n.x", 1, 2),
    ({"metadata": {"n": 1}}, {"metadata": {"n": True}}, "live", "metadata.n", 1, True),
    ({}, {"limits": {"memory": "1GiB"}}, "live", "limits.memory", None, "1GiB"),
    ({}, {"limits": {"mailbox": 5}}, "live", "limits.mailbox", 1000, 5),
    ({}, {"limits": {"call_timeout": "5s"}}, "live", "limits.call_timeout", "60s", "5s"),
    ({}, {"limits": {"max_calls": 5}}, "live", "limits.max_calls", None, 5),
    ({}, {"limits": {"nice": 5}}, "live", "limits.nice", 0, 5),
    ({"limits": {"nice": 5}}, {}, "swap", "limits.nice", 5, 0),
    ({}, {"liveness": None}, "live", "liveness.grace", "10s", None),
    ({}, {"checkpoint": {"every": "5s"}}, "live", "checkpoint.every", None, "5s"),
    ({}, {"params": {"k": 1}}, "live", "params.k", None, 1),
    ({"params": {"k": 1}}, {}, "live", "params.k", 1, None),
    ({"params": {"k": 1}}, {"params": {"k": 1.0}}, "live", "params.k", 1, 1.0),
    ({}, {"args": {"k": 1}}, "swap", "args.k", None, 1),
    ({"args": [1]}, {"args": [2]}, "swap", "args", "[1]", "[2]"),
    ({}, {"version": "2"}, "swap", "version", None, "2"),
    ({}, {"trap_exit": False}, "swap", "trap_exit", True, False),
    ({}, {"template": True}, "live", "template", False, True),
    ({}, {"durability": "memory"}, "restart", "durability", "journal", "memory"),
    ({}, {"register": "name"}, "restart", "register", None, "name"),
    ({"register": 1}, {"register": True}, "restart", "register", 1, True),
    ({}, {"server": "pkg.mod:Other"}, "swap", "server", "pkg.mod:Name", "pkg.mod:Other"),
]


@pytest.mark.parametrize(("before", "after", "action", "field", "old", "new"), FIELDS, ids=[f"{row[3]}-{row[5]}" for row in FIELDS])
def test_a_field_takes_the_least_that_changes_it(
    before: dict[str, Any], after: dict[str, Any], action: str, field: str, old: Any, new: Any
) -> None:
    step = only(server("a", **before), server("a", **after))
    assert step.action == action
    found = {change.field: change for change in step.changes}
    assert (found[field].action, found[field].old, found[field].new) == (action, old, new)


MODULE_FIELDS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"concurrency": 4}, "swap", "concurrency"),
    ({}, {"parts": {"strategy": "one_for_all"}}, "swap", "parts.strategy"),
    ({"parts": {"x": {"restart": "transient"}}}, {"parts": {}}, "swap", "parts.x.restart"),
    ({"parts": {"x": {"args": {"k": 1}}}}, {"parts": {"x": {"args": {"k": True}}}}, "swap", "parts.x.args.k"),
    ({}, {"readiness": {"call": "check"}}, "live", "readiness.call"),
    ({"readiness": {"call": "check"}}, {"readiness": {"command": "true"}}, "live", "readiness.command"),
    ({"lm": {"model": "a/b"}}, {"lm": {"model": "a/c"}}, "swap", "lm.model"),
    ({}, {"dspy": {"track_usage": True}}, "swap", "dspy.track_usage"),
]


@pytest.mark.parametrize(("before", "after", "action", "field"), MODULE_FIELDS, ids=[row[3] for row in MODULE_FIELDS])
def test_so_does_one_of_a_module(before: dict[str, Any], after: dict[str, Any], action: str, field: str) -> None:
    step = only(module("a", **before), module("a", **after))
    assert step.action == action
    assert field in [change.field for change in step.changes]


def test_a_step_is_as_much_as_its_greatest_change() -> None:
    step = only(server("a"), server("a", metadata={"a": 1}, args=[2]))
    assert (step.action, [change.action for change in step.changes]) == ("swap", ["swap", "live"])
    assert [line for *_, line in step.lines()] == ["args  [] -> [2]", "metadata.a  1  (live)"]
    assert only(server("a"), server("a", args=[2], durability="memory")).action == "restart"


def test_a_module_cannot_be_swapped_for_a_server() -> None:
    step = only(server("a"), module("a"))
    assert (step.action, step.changes[0]) == ("restart", Change("kind", Action.RESTART, "server", "module"))


def test_what_is_on_the_disk_now_is_swapped_in() -> None:
    step = only(server("a"), server("a"), a=Running(sources=("/x/y/helper.py", "/x/z.py")))
    assert step == Step("a", Action.SWAP, (Change("source", Action.SWAP, None, "helper.py, z.py changed"),))


def test_what_was_rolled_back_is_swapped_to_the_disks() -> None:
    new = spec(server("a"))
    (child,) = new.tree.children
    assert child.launch is not None
    pinned = replace(child, launch=replace(child.launch, sources={"/x.py": b"old"}))
    (step,) = plan(replace(new, tree=replace(new.tree, children=(pinned,))), new, {}).steps
    assert [change.field for change in step.changes] == ["source"]


def test_every_field_of_a_spec_is_compared() -> None:
    """One that is added has to be thought of here, or a reload would never see it."""
    a = ChildSpec(id="a", kind=Kind.SERVER, launch=LaunchSpec(Kind.SERVER))  # type: ignore[arg-type]
    other: dict[str, Any] = {
        "target": "p:X", "pickled": b"1", "args": (1,), "kwargs": {"k": 1}, "pickled_args": b"1", "sys_path": ("/x",),
        "env": {"A": "1"}, "lm": {"model": "m"}, "dspy": {"x": 1}, "concurrency": 2, "trap_exit": False,
        "limits": Limits(mailbox=1), "liveness": None, "readiness": parse_readiness(), "load": "/x.json", "params": {"k": 1},
        "durability": "memory",
        "checkpoint": parse_checkpoint(), "sources": {"/x": b"1"},
    }  # fmt: skip
    unseen = [field.name for field in fields(LaunchSpec) if field.name not in (*other, *differences.OF_THE_RUNTIME)]
    assert unseen == []
    for name, value in other.items():
        assert a.launch is not None
        b = replace(a, launch=replace(a.launch, **{name: value}))
        assert differences.child_changes(a, b), name
    policy = {
        "restart": "transient", "shutdown": Shutdown(1.0), "significant": True, "start_timeout_s": 1.0, "backoff": Backoff(1.0),
        "version": "1", "metadata": {"k": 1}, "register": "k", "kind": Kind.MODULE,
        "depends_on": {"b": Dependency()}, "after": frozenset({"b"}), "replica": Replica("a", 0),
        "parts": PartsSpec(max_restarts=1), "template": True,
    }  # fmt: skip
    assert {field.name for field in fields(ChildSpec)} - policy.keys() == {"id", "launch", "supervisor"}
    for name, value in policy.items():
        value = type(getattr(a, name))(value) if name == "restart" else value
        assert differences.child_changes(a, replace(a, **{name: value})), name


def parse_readiness() -> Any:
    (child,) = spec(module("a", readiness={"call": "x"})).tree.children
    assert child.launch is not None
    return child.launch.readiness


def parse_checkpoint() -> Any:
    (child,) = spec(module("a", checkpoint={"keep": 1})).tree.children
    assert child.launch is not None
    return child.launch.checkpoint


# dependencies and replicas


def test_dependencies_are_live() -> None:
    old, new = (
        spec(server("b"), server("c"), server("a", depends_on=["b"])),
        spec(server("b"), server("c"), server("a", depends_on={"b": "fail", "c": {"on_down": "degrade", "fallback": "b"}})),
    )
    (step,) = plan(old, new, {}).steps
    assert (step.id, step.action) == ("a", "live")
    assert [change.text() for change in step.changes] == ["depends_on.b  wait -> fail", "depends_on.c  degrade, fallback b"]
    (back,) = plan(new, old, {}).steps
    assert [change.text() for change in back.changes] == ["depends_on.b  fail -> wait", "depends_on.c  degrade, fallback b -> none"]


def test_an_id_that_looks_like_a_secrets_is_told() -> None:
    (step,) = plan(spec(server("auth"), server("a")), spec(server("auth"), server("a", depends_on={"auth": "stop"})), {}).steps
    assert step.changes[0].text() == "depends_on.auth  stop"


def test_a_supervisor_is_after_what_one_below_it_depends_on() -> None:
    old, new = spec(server("a"), group("g", server("b"))), spec(server("a"), group("g", server("b", depends_on=["a"])))
    found = {step.id: [change.text() for change in step.changes] for step in plan(old, new, {}).steps}
    assert found == {"g": ["after  a"], "g/b": ["depends_on.a  wait"]}


def test_the_order_of_starts_follows() -> None:
    steps = plan(spec(server("a"), server("b")), spec(server("a", depends_on=["b"]), server("b")), {}).steps
    assert {step.id: step.changes[0].text() for step in steps} == {"root": "children  a, b -> b, a", "a": "depends_on.b  wait"}


def test_what_somebody_has_depended_on_goes_when_he_does_no_more() -> None:
    old = spec(
        server("z"), server("y", depends_on=["z"]), group("g", server("x")), server("a", depends_on=["y", "g/x"]), server("o")
    )
    assert planned(old, spec(server("a"))) == ["remove o", "live a", "remove g", "remove y", "remove z"]


def test_a_group_that_is_depended_on_no_more_goes_last() -> None:
    old = spec(server("q", replicas=2), server("a", depends_on=["q"]), server("b", depends_on=["a"]))
    assert planned(old, spec(server("a"))) == ["remove b", "live a", "remove q#1", "remove q#0"]


IDS = "abcdef"


@st.composite
def trees(draw: st.DrawFn) -> RuntimeSpec:
    """Servers in any order that depend on each other in any way that is no circle."""
    present = draw(st.permutations(draw(st.lists(st.sampled_from(IDS), unique=True))))
    rank = {id: place for place, id in enumerate(draw(st.permutations(IDS)))}
    below = {id: [other for other in present if rank[other] < rank[id]] for id in present}
    needs = {id: draw(st.lists(st.sampled_from(below[id]), unique=True)) if below[id] else [] for id in present}
    return spec(*(server(id, depends_on=needs[id]) for id in present))


@given(trees(), trees())
def test_nothing_is_there_later_or_gone_earlier_than_somebody_depends_on_it(old: RuntimeSpec, new: RuntimeSpec) -> None:
    steps = [(step.action, step.id) for step in plan(old, new, {}).steps]
    before, after = ({str(child.id): set(child.depends_on) for child in each.tree.children} for each in (old, new))
    place = {step: number for number, step in enumerate(steps)}
    for id in before.keys() & after.keys():
        for gone in before[id] - after.keys():
            assert place[Action.LIVE, id] < place[Action.REMOVE, gone]
    for id in after:
        told = place.get((Action.LIVE if id in before else Action.ADD, id))
        for needed in after[id] - before.keys():
            assert told is not None
            assert place[Action.ADD, needed] < told
    for id in before.keys() - after.keys():
        for needed in before[id] - after.keys():
            assert place[Action.REMOVE, id] < place[Action.REMOVE, needed]


def test_what_becomes_something_else_goes_first_whoever_depends_on_it() -> None:
    old, new = spec(server("x"), server("a", depends_on=["x"])), spec(group("x", server("y")), server("a"))
    assert planned(old, new) == ["remove x", "add x", "live a"]


def test_replicas_are_added_and_taken_away_from_above() -> None:
    three, two = spec(server("q", replicas=3), server("a")), spec(server("q", replicas=2), server("a"))
    assert planned(two, three) == ["add q#2"]
    assert planned(three, two) == ["remove q#2"]
    assert planned(two, spec(server("q", replicas=2, args=[1]), server("a"))) == ["swap q#0", "swap q#1"]


def test_whose_parameters_replicas_have_is_live() -> None:
    steps = plan(spec(server("q", replicas=1)), spec(server("q", replicas={"count": 1, "params": "own"})), {}).steps
    assert [step.changes[0].text() for step in steps] == ["replicas.params  shared -> own"]


def test_a_child_that_becomes_a_group_says_how_to_keep_what_it_has_learnt() -> None:
    found = plan(spec(server("q")), spec(server("q", replicas=2)), {})
    assert [f"{step.action} {step.id}" for step in found.steps] == ["remove q", "add q#0", "add q#1"]
    assert found.steps[0].note == "it becomes q#0 ...: `dspex scale q=2` first, and these have what it has learnt"
    assert plan(spec(server("q", replicas=2)), spec(server("q")), {}).steps[0].note is None


# secrets

SECRET = "sk-1234567890"


@pytest.mark.parametrize(
    "keys",
    [
        {"env": {"PLAIN": SECRET}},
        {"lm": {"model": "a/b", "api_key": SECRET}},
        {"lm": {"model": "a/b", "extra_headers": {"x": SECRET}}},
        {"lm": {"class": "pkg.mod:LM", "args": {"whatever": SECRET}}},
        {"dspy": {"callbacks": [{"class": "pkg.mod:C", "args": {"x": SECRET}}]}},
        {"args": {"api_key": SECRET}},
        {"params": {"password": SECRET}},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_no_secret_is_told(keys: dict[str, Any]) -> None:
    found = plan(spec(module("a")), spec(module("a", **keys)), {})
    told = repr(found.as_map()) + "".join(str(line) for step in found.steps for line in step.lines())
    assert SECRET not in told
    assert "changed" in told


def test_of_a_language_model_it_is_told_which() -> None:
    (step,) = plan(spec(module("a", lm={"model": "a/b"})), spec(module("a", lm={"model": "a/c", "temperature": 0.5})), {}).steps
    assert [change.text() for change in step.changes] == ["lm.model  a/b -> a/c", "lm.temperature  0.5"]


def test_secrets_of_the_runtime_are_no_more_told() -> None:
    old, new = (
        spec(lm={"model": "a/b", "api_key": key}, runtime={"env": {"T": key}}, defaults={"env": {"U": key}}) for key in "xy"
    )
    found = plan(old, new, {})
    assert [change.hidden for step in (*found.steps, *found.refused) for change in step.changes] == [True, True, True]


# the tree


def test_the_same_is_nothing_to_do() -> None:
    whole = spec(server("a"), group("g", module("b")), lm={"model": "a/b"}, shared={"k": 1})
    found = plan(whole, copy.deepcopy(whole), {})
    assert found.is_empty


def test_removals_come_first_and_backwards_then_all_in_start_order() -> None:
    old = spec(server("a"), server("r1"), group("g", server("b"), server("r2"), server("c")), server("r3"), server("d"))
    new = spec(
        server("n1"),
        server("a", args=[1]),
        group("g", server("b", args=[1]), server("n2"), server("c"), max_restarts=9),
        server("d"),
    )
    assert planned(old, new) == [
        *("remove r3", "remove g/r2", "remove r1"),
        *("add n1", "swap a", "live g", "swap g/b", "add g/n2"),
    ]


def test_what_is_added_says_what_it_is() -> None:
    found = plan(spec(), spec(server("a"), group("g", server("b"), strategy="one_for_all")), {})
    assert [change.text() for step in found.steps for change in step.changes] == [
        "server  pkg.mod:Name",
        "supervisor  one_for_all, 1 child",
    ]


def test_a_supervisor_changes_live() -> None:
    (step,) = plan(spec(group("g", server("a"))), spec(group("g", server("a"), strategy="rest_for_one", max_seconds=9)), {}).steps
    assert (step.id, step.action) == ("g", "live")
    assert [change.text() for change in step.changes] == ["strategy  one_for_one -> rest_for_one", "max_seconds  5s -> 9s"]


def test_the_order_of_children_is_changed_live_at_the_root_too() -> None:
    (step,) = plan(spec(server("a"), server("b")), spec(server("b"), server("a")), {}).steps
    assert (step.id, step.action, step.changes[0].text()) == ("root", "live", "children  a, b -> b, a")


def test_a_new_child_alone_changes_no_order() -> None:
    assert planned(spec(server("a"), server("b")), spec(server("a"), server("n"), server("b"))) == ["add n"]


def test_a_supervisor_that_becomes_dynamic_starts_anew_with_all_below_it() -> None:
    old, new = spec(group("g", server("a"))), spec({"id": "g", "supervisor": {"dynamic": True}})
    assert planned(old, new) == ["restart g"]
    assert planned(new, old) == ["restart g"]


def test_a_process_that_becomes_a_supervisor_goes_first() -> None:
    old, new = spec(server("a"), server("x")), spec(group("x", server("y")), server("a"))
    found = plan(old, new, {})
    assert [f"{step.action} {step.id}" for step in found.steps] == ["remove x", "live root", "add x"]
    assert found.steps[0].note == "a server cannot become a supervisor"


def test_children_of_a_dynamic_supervisor_are_not_the_files() -> None:
    old = spec({"id": "g", "supervisor": {"dynamic": True, "max_children": 3}})
    new = spec({"id": "g", "supervisor": {"dynamic": True, "max_children": 4, "extra_arguments": [1]}})
    (step,) = plan(old, new, {}).steps
    assert [change.field for change in step.changes] == ["max_children", "extra_arguments"]


# how children are


@pytest.mark.parametrize("state", [State.STOPPED, State.EXITED])
def test_what_is_down_stays_down_and_has_its_new_spec_at_its_next_start(state: State) -> None:
    step = only(server("a"), server("a", args=[1], env={"A": "1"}), a=Running(state, sources=("/x.py",)))
    assert (step.action, {change.action for change in step.changes}) == ("live", {Action.LIVE})
    assert step.note == f"it is {state} and stays so: from its next start"
    assert "source" not in [change.field for change in step.changes]
    assert planned(spec(server("a")), spec(server("a")), {"a": Running(state)}) == []


def test_what_has_failed_is_started_again_with_or_without_a_change() -> None:
    for keys in ({}, {"args": [1]}, {"metadata": {"k": 1}}):
        step = only(server("a"), server("a", **keys), a=Running(State.FAILED))
        assert step.action == "restart"
        assert step.changes[-1].text() == "state  FAILED -> started again"


@pytest.mark.parametrize("state", [State.BACKOFF, State.STARTING, State.PENDING])
def test_what_does_not_serve_cannot_hand_over_and_is_restarted(state: State) -> None:
    step = only(server("a"), server("a", args=[1]), a=Running(state))
    assert (step.action, step.note) == ("restart", f"it is {state}: there is nothing to be taken over")
    assert only(server("a"), server("a", metadata={"k": 1}), a=Running(state)).action == "live"


def test_below_a_supervisor_that_is_stopped_all_waits_for_it() -> None:
    old, new = spec(group("g", server("a"), server("b"))), spec(group("g", server("a", args=[1]), server("n")))
    running = {"g": Running(State.STOPPED), **{f"g/{id}": Running(State.STOPPED, waits=True) for id in "abn"}}
    steps = plan(old, new, running).steps
    assert [f"{step.action} {step.id}" for step in steps] == ["remove g/b", "live g/a", "add g/n"]
    assert {step.note for step in steps[1:]} == {"its supervisor does not run: with that one's next start"}


def test_a_supervisor_that_has_failed_is_started_after_what_is_below_it_was_changed() -> None:
    old, new = spec(group("g", server("a"), max_restarts=1)), spec(group("g", server("a", args=[1]), max_restarts=2), server("z"))
    running = {"g": Running(State.FAILED), "g/a": Running(State.FAILED, waits=True)}
    steps = plan(old, new, running).steps
    assert [f"{step.action} {step.id}" for step in steps] == ["live g/a", "restart g", "add z"]
    assert [change.field for change in steps[1].changes] == ["max_restarts", "state"]


def test_a_root_that_has_failed_comes_last() -> None:
    old, new = spec(server("a"), tree={"max_restarts": 1}), spec(server("a", args=[1]), tree={"max_restarts": 2})
    running = {"root": Running(State.FAILED), "a": Running(State.FAILED, waits=True)}
    assert planned(old, new, running) == ["live a", "restart root"]
    assert planned(old, old, running) == ["restart root"]
    assert planned(old, old, {"root": Running(State.EXITED), "a": Running(State.STOPPED, waits=True)}) == []


def test_one_child_again() -> None:
    (a,), (b,) = spec(server("a")).tree.children, spec(server("a", args=[1])).tree.children
    assert next_step("g/a", a, a, {}) is None
    assert next_step("g/a", None, None, {}) is None
    assert next_step("g/a", a, None, {}) == Step("g/a", Action.REMOVE)
    assert (step := next_step("g/a", None, b, {})) is not None
    assert step.action is Action.ADD
    assert (step := next_step("g/a", a, b, {"g/a": Running(State.BACKOFF)})) is not None
    assert step.action is Action.RESTART


# the runtime


def test_what_children_inherit_is_changed_for_those_that_come() -> None:
    old, new = spec(module("a")), spec(module("a"), lm={"model": "a/b"}, defaults={"restart": "transient"})
    assert planned(old, new) == ["live runtime", "swap a"]
    found = plan(spec(), spec(runtime={"spares": 9}), {})
    assert [step.changes for step in found.steps] == [(Change("runtime.spares", Action.LIVE, 4, 9),)]


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str | None]] = [
    ({}, {"name": "other"}, "name"),
    ({"name": "mine", "given": ["name"]}, {"name": "other"}, None),
    ({}, {"name": "made-up-7", "given": ["name"]}, None),
    ({"runtime": {"state_dir": "/a"}}, {"runtime": {"state_dir": "/b"}}, "runtime.state_dir"),
    ({"runtime": {"state_dir": "/a"}, "given": ["state_dir"]}, {"runtime": {"state_dir": "/b"}}, None),
    ({}, {"base_dir": "/x", "runtime": {"state_dir": "/x/.dspex/t"}}, None),
    ({"runtime": {"preload": []}}, {"runtime": {"preload": ["json"]}}, "runtime.preload"),
    ({"runtime": {"preload": ["json"]}}, {}, None),
    ({}, {"runtime": {"env": {"A": "1"}}}, "runtime.env.A"),
    ({"shared": {"k": 1}}, {"shared": {"k": 2}}, "shared.k"),
    ({}, {"tree": {"dynamic": True}}, "tree.dynamic"),
]


@pytest.mark.parametrize(("before", "after", "field"), REFUSED, ids=[str(row[2]) + str(index) for index, row in enumerate(REFUSED)])
def test_what_only_a_start_can_do_is_refused(before: dict[str, Any], after: dict[str, Any], field: str | None) -> None:
    found = plan(*(parse({**STATELESS, **keys}) for keys in (before, after)), {})
    told = [change.field for step in found.refused for change in step.changes]
    assert told == ([] if field is None else [field]) or (field is not None and told[0].startswith(field))
    assert {step.note for step in found.refused} <= {ANEW}


def test_what_is_preloaded_by_itself_follows_the_tree_and_asks_for_nothing() -> None:
    assert plan(spec(server("a")), spec(module("a")), {}).refused == ()
    assert plan(replace(spec(server("a")), preload=("dspy",)), spec(server("a")), {}).refused == ()


def test_an_id_that_was_started_alone_is_in_the_way() -> None:
    found = plan(spec(), spec(server("a")), {"a": Running(alone=True)})
    assert [(step.id, step.action) for step in found.refused] == [("a", Action.REFUSED)]
    assert not found.is_empty


def test_a_plan_travels_as_plain_data() -> None:
    found = plan(
        spec(server("a"), server("b")), spec(server("a", args=[1], env={"K": "1"}), runtime={"env": {"X": "1"}}), {}, ["z"]
    )
    assert Plan.from_map(found.as_map()) == found
    assert found.left == ("z",)


def test_the_default_state_directory_is_none_of_the_files_wishes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    files = [tmp_path / "t.yaml", tmp_path / "b" / "t.yaml"]
    for file in files:
        file.write_text("version: 1\ntree: {children: []}\n")
    from dspex_runtime.config import normalize

    old, new = (parse(normalize(file)) for file in files)
    assert old.state_dir != new.state_dir
    assert plan(old, new, {}).is_empty


def test_supervisors_are_compared_but_for_their_children() -> None:
    other: dict[str, Any] = {
        "strategy": "one_for_all", "max_restarts": 9, "max_seconds": 9.0, "auto_shutdown": "any_significant", "dynamic": True,
        "max_children": 9, "extra_arguments": (1,),
    }  # fmt: skip
    assert {field.name for field in fields(SupervisorSpec)} - other.keys() == {"children"}
    a = SupervisorSpec()
    for name, value in other.items():
        b = replace(a, **{name: type(getattr(a, name))(value) if name in ("strategy", "auto_shutdown") else value})
        assert differences.supervisor_changes(a, b), name
