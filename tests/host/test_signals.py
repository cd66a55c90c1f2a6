"""What the functions for code inside a module ask of the parent, and what flushing removes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.client.ref import ServerRef
from dspex_runtime.errors import ConfigError
from dspex_runtime.host import parent, signals
from dspex_runtime.host.context import Process
from dspex_runtime.types import Down, Exit


class Parent:
    """Plays the runtime and both places where a message may wait."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[Any] = []
        self.early: list[Any] = []
        self.mailbox: list[Any] = []

    def ask(self, op: str, args: dict[str, Any], deadline: float | None) -> Any:
        self.asked.append((op, args))
        return self.answers.pop(0) if self.answers else None

    def drop_messages(self, unwanted: Callable[[Any], bool]) -> int:
        self.early = [message for message in self.early if not unwanted(message)]
        return 0


class Loop:
    def __init__(self, world: Parent) -> None:
        self.world = world

    def drop_messages(self, unwanted: Callable[[Any], bool]) -> int:
        self.world.mailbox = [message for message in self.world.mailbox if not unwanted(message)]
        return 0


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Parent:
    world = Parent()
    monkeypatch.setattr(Process, "parent", world)
    monkeypatch.setattr(Process, "loop", Loop(world))
    return world


def test_monitor_returns_its_number(world: Parent) -> None:
    world.answers = [{"ref": 5, "id": "g/a", "incarnation": 1}]
    assert signals.monitor("a") == 5
    assert world.asked == [("monitor", {"id": "a"})]


def test_link_and_exit_say_nothing(world: Parent) -> None:
    signals.link("a")
    signals.exit("a")
    signals.exit("a", ("shutdown", 1))
    assert world.asked == [
        ("link", {"id": "a"}), ("exit", {"id": "a", "reason": "normal"}), ("exit", {"id": "a", "reason": ("shutdown", 1)}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("kill", "kill"),
        (["shutdown", 1], ("shutdown", 1)),
        ("custom", ("error", "Exit", "custom", "")),
        ("killed", ("error", "Exit", "killed", "")),
        (5, ("error", "Exit", "5", "")),
    ],
)
def test_exit_with_any_other_term_is_an_error_as_with_stop(world: Parent, given: Any, sent: Any) -> None:
    signals.exit("a", given)
    assert world.asked == [("exit", {"id": "a", "reason": sent})]


@pytest.mark.parametrize("flush", [True, False])
def test_demonitor_with_flush_removes_its_own_notice_wherever_it_waits(world: Parent, flush: bool) -> None:
    own, other = Down("a", 1, "killed", 5), Down("a", 1, "killed", 6)
    world.answers = [False]
    world.early, world.mailbox = [own, other], ["x", own, other, Exit("a", 1, "killed")]
    assert signals.demonitor(5, flush=flush) is False
    assert own not in world.early + world.mailbox if flush else world.early.count(own) == world.mailbox.count(own) == 1
    assert other in world.early
    assert [message for message in world.mailbox if message != own] == ["x", other, Exit("a", 1, "killed")]


@pytest.mark.parametrize("flush", [True, False])
def test_unlink_with_flush_removes_the_signals_of_that_child(world: Parent, flush: bool) -> None:
    world.answers = [{"id": "g/a", "linked": True}]
    world.mailbox = [Exit("g/a", 1, "killed"), Exit("b", 1, "killed"), Down("g/a", 1, "killed", 5)]
    assert signals.unlink("a", flush=flush) is True
    assert (Exit("g/a", 1, "killed") in world.mailbox) is not flush
    assert world.mailbox[-2:] == [Exit("b", 1, "killed"), Down("g/a", 1, "killed", 5)]


def test_in_init_there_is_no_mailbox_yet(world: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "loop", None)
    world.early = [Down("a", 1, "noproc", 5)]
    world.answers = [True]
    assert signals.demonitor(5, flush=True) is True
    assert world.early == []


@pytest.mark.parametrize("function", [signals.monitor, signals.link, signals.unlink, signals.exit])
def test_outside_a_module_they_have_no_meaning(function: Callable[[str], Any]) -> None:
    with pytest.raises(RuntimeError, match="inside a module process"):
        function("a")


def test_the_uplink_is_that_of_this_process(world: Parent) -> None:
    assert parent.uplink() is world  # type: ignore[comparison-overlap]


def test_a_reference_stands_for_an_id(world: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "assignment", SimpleNamespace(socket="/run/x"))
    ref = ServerRef(None, "g/a", "/run/x")
    world.answers = [{"ref": 5}, None, {"linked": True, "id": "g/a"}, None]
    for function in (signals.monitor, signals.link, signals.unlink, signals.exit):
        function(ref)
    assert [args["id"] for _, args in world.asked] == ["g/a"] * 4
    with pytest.raises(ConfigError, match="another runtime"):
        signals.monitor(ServerRef(None, "a", "/run/y"))
    with pytest.raises(ConfigError, match="expected the id of a child"):
        signals.link(5)  # type: ignore[arg-type]
