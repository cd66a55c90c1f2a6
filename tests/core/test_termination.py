import pytest
from core.world import ERROR, World, child, children, scripted

from dspex_runtime.core.child_spec import BRUTAL_KILL, INFINITY, Shutdown
from dspex_runtime.core.events import TerminateChildAsked
from dspex_runtime.exit_reason import ExitReason


def test_a_child_is_asked_given_its_time_then_killed_and_then_waited_for_without_limit() -> None:
    world = World([child("a", shutdown=Shutdown(timeout_s=3.0))]).boot()
    world.stubborn = world.undying = {"a"}
    request = world.ask(TerminateChildAsked, "a")
    world.advance(2.9)
    assert world.did() == ["start a", "stop a"]
    world.advance(0.1)
    assert world.did() == ["kill a"]
    world.advance(1000)
    assert world.outcome(request) == "waiting"
    world.die("a")
    assert world.outcome(request) is None
    assert world.reports[-1] == ("shutdown_error", "a", "killed")


def test_a_child_that_ends_in_time_is_not_killed() -> None:
    world = World([child("a", shutdown=Shutdown(timeout_s=3.0))]).boot()
    assert world.answer(TerminateChildAsked, "a") is None
    world.advance(10)
    assert world.did() == ["start a", "stop a"]


@pytest.mark.parametrize(
    ("shutdown", "expected"),
    [
        (BRUTAL_KILL, ["kill a"]),
        (Shutdown(timeout_s=0.0), ["stop a", "kill a"]),
        (INFINITY, ["stop a"]),
    ],
    ids=["brutal_kill", "zero", "infinity"],
)
def test_shutdown_kinds(shutdown: Shutdown, expected: list[str]) -> None:
    world = World([child("a", shutdown=shutdown)]).boot()
    world.stubborn = {"a"}
    world.did()
    world.ask(TerminateChildAsked, "a")
    world.advance(1_000_000)
    assert world.did() == expected


@pytest.mark.parametrize(
    ("restart", "reason", "reported"),
    [
        ("permanent", "shutdown", False),
        ("permanent", "normal", True),
        ("transient", "normal", False),
        ("transient", ERROR, True),
        ("temporary", ("shutdown", "x"), False),
    ],
    ids=str,
)
def test_an_unclean_end_is_reported_and_the_stop_succeeds_all_the_same(restart: str, reason: ExitReason, reported: bool) -> None:
    world = World(children("ab", restart)).boot()
    world.exits["a"] = reason
    assert world.answer(TerminateChildAsked, "a") is None
    assert (("shutdown_error", "a", reason) in world.reports) is reported
    assert world.running() == "b"


def test_each_child_of_a_sweep_has_its_own_time() -> None:
    world = World([child(id, shutdown=Shutdown(timeout_s=float(seconds))) for id, seconds in zip("abc", [1, 2, 3], strict=True)])
    world.boot()
    world.stubborn = {"a", "b", "c"}
    world.did()
    world.shutdown()
    for seconds, expected in [(3, ["stop c", "kill c", "stop b"]), (2, ["kill b", "stop a"]), (1, ["kill a"])]:
        world.advance(seconds)
        assert world.did() == expected
    assert world.ending is not None


def test_a_child_that_is_stopped_while_it_hangs_in_its_start_cannot_outlast_its_start_time_out() -> None:
    world = scripted(World([child("a", shutdown=INFINITY, start_timeout_s=30.0)]), a="hang").boot()
    world.stubborn = {"a"}
    world.shutdown()
    world.advance(30)
    assert world.did() == ["start a", "stop a", "kill a"]
    assert world.ending is not None


def test_a_child_that_becomes_ready_while_it_is_stopped_is_stopped_all_the_same() -> None:
    world = scripted(World([child("a", shutdown=INFINITY, start_timeout_s=30.0)]), a="hang").boot()
    world.stubborn = {"a"}
    world.shutdown()
    world.ready("a")
    assert world.state("a") == "STOPPING"
    world.advance(100)
    assert world.kills == []
    world.die("a", "shutdown")
    assert world.ending is not None


def test_a_child_that_is_stopped_while_it_starts_cannot_end_uncleanly() -> None:
    world = scripted(World(children("a")), a="hang").boot()
    world.stubborn = {"a"}
    world.shutdown()
    world.die("a", ERROR)
    assert world.reports == []
