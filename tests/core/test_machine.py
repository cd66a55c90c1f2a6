"""The frame of `handle`, whichever kind of supervisor it is."""

from __future__ import annotations

import pytest
from core.world import World, children, dynamic

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_table import Life
from dspex_runtime.core.invariants import InvariantError
from dspex_runtime.types import ChildId

KINDS = ["static", "dynamic"]


def running(kind: str, ids: str) -> World:
    """Return a supervisor of this kind with these children up."""
    return dynamic(children(ids)) if kind == "dynamic" else World(children(ids)).boot()


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_boot_changes_nothing(kind: str) -> None:
    world = running(kind, "ab")
    assert world.machine.handle(ev.Boot(), 1.0) == []


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_told_to_shut_down_before_its_boot_never_boots(kind: str) -> None:
    world = World([], dynamic=kind == "dynamic")
    world.shutdown()
    assert world.ending is not None
    world.boot()
    assert not world.booted
    assert world.phase() == "done"


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_shutdown_changes_nothing(kind: str) -> None:
    world = running(kind, "ab")
    world.stubborn = {"a", "b"}
    world.shutdown()
    assert world.machine.handle(ev.ShutdownRequested("normal"), world.now) == []
    assert world.phase() == "stopping"


@pytest.mark.parametrize("kind", KINDS)
def test_children_are_seen_in_start_order_and_one_by_one(kind: str) -> None:
    machine = running(kind, "ba").machine
    assert [view.id for view in machine.children] == ["b", "a"]
    assert machine.child(ChildId("a")) == machine.children[1]
    assert machine.child(ChildId("x")) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_that_contradicts_itself_tells_its_story(kind: str) -> None:
    machine = running(kind, "a").machine
    machine.validate()
    (record,) = machine._supervision.table
    record.life = Life.DEAD
    with pytest.raises(InvariantError, match=r"(?s)story:.*Boot"):
        machine.validate()
