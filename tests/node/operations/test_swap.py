"""What clients ask of swaps, and what of it is refused before anything begins."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import ConfigError, NoProcessError, SwapError
from dspex_runtime.wire.faults import from_fault
from helpers.fake_node import FakeNode, server
from helpers.swap_play import Play


@pytest.fixture
def play(runtime: FakeNode) -> Play:
    return Play(runtime)


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ({}, "a member is a map with an id"),
        (5, "a member is a map with an id"),
        ({"id": "a", "spec": 5}, "'spec' of a member; got 5"),
        ({"id": "a", "migrate": "text"}, "'migrate' of a member"),
        ({"id": "a", "odd": 1}, "'odd' of a member"),
        ({"id": "a", "verify": {}}, "'verify' is one of pickled, call, command"),
        ({"id": "a", "verify": {"call": 5}}, "'verify' is one of"),
        ({"id": "a", "verify": {"other": 5}}, "'verify' is one of"),
        ({"id": "a", "spec": {"odd": 1}}, "odd"),
    ],
)
def test_a_member_that_is_none(runtime: FakeNode, member: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        runtime.boot(server("a")).owner.ask("swap", members=[member], timeout=1.0)
    assert not runtime.node.swaps._swaps


@pytest.mark.parametrize("limits", [{"drain": -1}, {"timeout": 0}, {"timeout": -5.0}])
def test_times_that_are_none(runtime: FakeNode, limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="drain is 0 s or more and timeout more than 0 s"):
        runtime.boot(server("a")).owner.ask("swap", members=[{"id": "a"}], **limits)


def test_nobody_of_that_name(runtime: FakeNode) -> None:
    with pytest.raises(NoProcessError):
        runtime.boot(server("a")).owner.ask("swap", members=[{"id": "other"}], timeout=1.0)


def test_a_module_asks_as_a_client(runtime: FakeNode) -> None:
    process = runtime.boot(server("a")).process("a")
    for op, args in (("swap", {"members": [{"id": "a"}]}), ("rollback", {"id": "a"}), ("abort_swap", {"id": "a"})):
        ((_, _, fault),) = process.ask(op, **args)
        error = from_fault(fault)
        assert isinstance(error, SwapError)
        assert error.code == "refused"


def test_a_rollback_is_a_swap_to_what_was(play: Play) -> None:
    play.boot(server("a", version="1"))
    play.swap(member={"spec": {"server": "pkg.mod:New"}, "version": "2"})
    client = play.runtime.owner
    play.rollback("a")
    assert play.snapshot() == {"kind": "before_swap", "down": "1", "has_down": True, "extra": None}
    assert play.new().launch.target == "pkg.mod:Name"
    for step in (play.rehearsed, play.held, play.packed, play.prepared, play.served):
        step()
    facts = play.answer()["members"][0]
    assert (facts["number"], facts["version"], facts["old_version"]) == (3, "1", "2")
    shown = client.ask("versions", id="a")
    assert [(each["number"], each["why"], each["current"]) for each in shown] == [
        (3, "rollback to 1", True),
        (2, "swap", False),
        (1, "start", False),
    ]
    assert set(shown[0]) == {"number", "version", "target", "args", "source_hash", "when", "why", "current"}


def test_a_rollback_of_a_rollback_goes_up_again(play: Play) -> None:
    play.boot(server("a", version="1"))
    play.swap(member={"version": "2"})
    for has_down in (True, False):
        play.rollback("a")
        assert play.snapshot()["has_down"] is has_down
        for step in (play.rehearsed, play.held, play.packed, play.prepared, play.served):
            step()


def test_a_rollback_to_nothing(runtime: FakeNode) -> None:
    with pytest.raises(SwapError, match="no version before this one"):
        runtime.boot(server("a")).owner.ask("rollback", id="a", timeout=1.0)


def test_no_swap_is_there_to_be_aborted(runtime: FakeNode) -> None:
    assert runtime.boot(server("a")).owner.ask("abort_swap", id="a") is False
