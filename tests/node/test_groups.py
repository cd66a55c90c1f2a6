"""What a group is, from what its replicas are."""

from __future__ import annotations

from typing import Any, cast

import pytest

from dspex_runtime.config.replicas import expanded
from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.errors import ConfigError, NoProcessError
from dspex_runtime.node.groups import Group, several, summed, template
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.types import ChildId, Kind, State

CHILD = ChildSpec(ChildId("qa"), Kind.MODULE, launch=LaunchSpec(Kind.MODULE, target="pkg:X"), metadata={"team": "search"})


class Process:
    """Stands for a process that takes calls."""

    serving = True
    pid = 7


@pytest.fixture
def registry() -> Registry:
    return Registry()


def replicas(registry: Registry, *states: State, path: str = "", shares: bool = True) -> Group:
    """Make a group with replicas in these states."""
    for spec, state in zip(expanded(CHILD, len(states), shares, path), states, strict=True):
        record = registry.ensure(f"{path}/{spec.id}" if path else spec.id, spec)
        record.state, record.incarnation = state, 1
        record.process = cast(ModuleProcess, Process()) if state is State.READY else None
    group = registry.group("qa")
    assert group is not None
    return group


READY, DOWN = State.READY, State.STOPPED


@pytest.mark.parametrize(
    ("states", "state"),
    [((READY, READY), READY), ((State.BACKOFF, READY), State.DEGRADED), ((State.FAILED, State.STARTING), State.STARTING)],
)
def test_it_is_what_its_replicas_are(registry: Registry, states: tuple[State, ...], state: State) -> None:
    assert replicas(registry, *states).state is state


def test_a_replica_that_does_without_what_is_down_makes_it_degraded(registry: Registry) -> None:
    group = replicas(registry, READY, State.STARTING)
    group.records[0].down = {"librarian": "killed"}
    assert group.state is State.DEGRADED
    group.records[1].state = READY
    assert group.state is State.DEGRADED
    group.records[0].down = {}
    assert group.state is READY


def test_it_is_gone_when_nothing_runs_and_nothing_is_coming(registry: Registry) -> None:
    group = replicas(registry, DOWN, State.EXITED)
    assert group.gone
    group.records[0].state = State.BACKOFF
    assert not group.gone


def test_it_is_named_by_a_tail_that_only_it_has(registry: Registry) -> None:
    replicas(registry, READY, path="sup")
    assert registry.group("sup/qa") is registry.group("qa")
    assert registry.group("q") is None
    with pytest.raises(NoProcessError) as missing:
        registry.resolve("qx")
    assert "qa" in str(missing.value.hint)


def test_no_single_child_is_meant_by_its_id(registry: Registry) -> None:
    replicas(registry, READY, READY)
    with pytest.raises(ConfigError) as refused:
        registry.resolve("qa")
    assert "qa#0, qa#1" in str(refused.value.hint)
    assert registry.resolve("qa#1").id == "qa#1"


def test_it_goes_with_its_last_replica(registry: Registry) -> None:
    group = replicas(registry, READY, READY)
    registry.remove("qa#0")
    assert registry.group("qa") is group
    registry.remove("qa#1")
    assert registry.group("qa") is None
    with pytest.raises(NoProcessError):
        registry.resolve("qa")


def test_one_that_is_kept_is_there_with_none(registry: Registry) -> None:
    group = replicas(registry, READY)
    group.kept = True
    registry.remove("qa#0")
    assert registry.group("qa") is group
    assert group.gone
    assert group.state is State.STOPPED
    registry.forget_group("qa")
    assert registry.group("qa") is None


def test_one_that_has_replicas_is_not_forgotten(registry: Registry) -> None:
    group = replicas(registry, READY)
    registry.forget_group("qa")
    assert registry.group("qa") is group


def test_numbers_go_on_after_the_highest(registry: Registry) -> None:
    group = replicas(registry, READY, READY, READY)
    registry.remove("qa#1")
    assert group.ids == ["qa#0", "qa#2"]
    assert group.next_number == 3


def test_only_those_that_joined_in_this_incarnation_are_called(registry: Registry) -> None:
    group = replicas(registry, READY, READY, DOWN)
    assert [record.id for record in group.serving] == ["qa#0", "qa#1"]
    assert group.routable == []
    group.joined["qa#1"] = 1
    assert [record.id for record in group.routable] == ["qa#1"]
    group.records[1].incarnation = 2
    assert group.routable == []


def test_one_that_is_taken_away_is_not_called(registry: Registry) -> None:
    group = replicas(registry, READY, READY)
    group.leaving.add("qa#1")
    assert [record.id for record in group.serving] == ["qa#0"]


def test_the_lowest_that_is_called_speaks_for_all(registry: Registry) -> None:
    group = replicas(registry, DOWN, READY, READY)
    assert cast(Record, group.lowest()).id == "qa#1"
    group.joined["qa#2"] = 1
    assert cast(Record, group.lowest()).id == "qa#2"
    for record in group.records:
        record.state = DOWN
    assert cast(Record, group.lowest()).id == "qa#0"


def test_it_takes_the_place_of_a_child_when_it_is_opened(registry: Registry) -> None:
    registry.ensure("qa", CHILD)
    group = registry.groups.begin("qa", CHILD, shares=True)
    for spec in expanded(CHILD, 1, True, ""):
        registry.ensure(spec.id, spec)
    assert registry.group("qa") is None
    assert registry.resolve("qa").spec is CHILD
    registry.open_group(group)
    registry.remove("qa")
    assert registry.group("qa") is group


def test_what_a_replica_was_made_of_has_the_id_of_the_group() -> None:
    (first,) = expanded(CHILD, 1, True, "")
    assert template(first) == CHILD
    assert template(CHILD) is CHILD


def test_its_info_is_of_all(registry: Registry) -> None:
    group = replicas(registry, READY, READY)
    infos: list[Any] = [each.info({"calls": 3, "last_ms": n * 1.0}).as_dict() for n, each in enumerate(group.records)]
    infos[0]["restarts"], infos[1]["restarts"] = 1, 2
    info = group.info(infos)
    assert (info["id"], info["kind"], info["state"], info["restarts"]) == ("qa", "module", "READY", 3)
    assert info["replicas"] == ["qa#0", "qa#1"]
    assert (info["params"], info["metadata"]) == ("shared", {"team": "search"})
    assert info["metrics"] == {"calls": 6, "last_ms": 1.0}


def test_counts_are_added_and_times_are_the_longest() -> None:
    assert summed([{"calls": 1, "boot_ms": 5.0, "busy_s": 1.0}, {"calls": 2, "boot_ms": 3.0, "busy_s": 2.0, "name": "x"}]) == {
        "calls": 3, "boot_ms": 5.0, "busy_s": 3.0,
    }  # fmt: skip
    assert summed([]) == {}


def test_a_refusal_names_whom_to_ask(registry: Registry) -> None:
    group = replicas(registry, READY)
    assert several(group, "x").hint == "name one of them: qa#0"
    group.kept = True
    registry.remove("qa#0")
    assert "scale" in str(several(group, "x").hint)
