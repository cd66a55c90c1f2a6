"""The machine as a whole: what it shows, how it compares with OTP's supervisor, and its invariants under anything."""

from __future__ import annotations

from typing import Any

import pytest
from core.otp_reference import RESTARTING, OtpSupervisor
from core.world import ERROR, World, child, children, scripted
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.instructions import Exited, Started
from dspex_runtime.core.operation import Phase
from dspex_runtime.core.supervisor_machine import SupervisorMachine
from dspex_runtime.types import ChildId, Incarnation, State

RESTARTS = ["permanent", "transient", "temporary"]
STRATEGIES = ["one_for_one", "rest_for_one", "one_for_all"]
AUTO_SHUTDOWNS = ["never", "any_significant", "all_significant"]


def test_views_follow_a_child_through_its_life() -> None:
    world = World(children("ab"))
    assert world.phase() == "new"
    assert world.shown() == "a:PENDING b:PENDING"
    world.boot()
    assert world.phase() == "running"
    world.crash("a", reason=ERROR)
    view = world.machine.child(ChildId("a"))
    assert view is not None
    assert (view.incarnation, view.restarts, view.last_exit, view.pid, view.state) == (2, 1, ERROR, 100, State.READY)
    assert world.machine.child(ChildId("x")) is None


def test_every_state_that_a_view_shows_was_told() -> None:
    world = World(children("abc"), "one_for_all").boot()
    world.crash("b")
    world.shutdown()
    assert world.states["a"] == [
        State.STARTING,
        State.READY,
        State.STOPPING,
        State.PENDING,
        State.STARTING,
        State.READY,
        State.STOPPING,
        State.STOPPED,
    ]
    assert world.states["b"][2:4] == [State.BACKOFF, State.STARTING]


def test_an_immediate_restart_goes_from_ready_to_starting() -> None:
    world = World(children("ab")).boot()
    world.crash("a")
    assert world.states["a"] == [State.STARTING, State.READY, State.STARTING, State.READY]


def test_a_supervisor_with_two_children_of_the_same_id_is_refused() -> None:
    with pytest.raises(ValueError, match="duplicate child id"):
        World(children("aa"))


def test_ten_thousand_children_go_up_and_down_without_recursion() -> None:
    specs = tuple(child(f"c{n}") for n in range(10_000))
    machine = SupervisorMachine(SupervisorSpec(children=specs), next_incarnation=lambda _: Incarnation(1), random=lambda: 0.5)
    machine.handle(ev.Boot(), 0.0)
    for spec in specs:
        machine.handle(ev.ChildReady(spec.id, Incarnation(1), 1), 0.0)
    assert machine.phase is Phase.RUNNING
    for spec in specs:  # all dead by themselves, in an order that is not the sweep's; the fourth is one too many
        machine.handle(ev.ChildExited(spec.id, Incarnation(1), "killed"), 0.0)
    for spec in specs[:4]:
        machine.handle(ev.ChildReady(spec.id, Incarnation(1), 1), 0.0)
    assert machine.phase is Phase.STOPPING
    for spec in specs[2::-1]:
        machine.handle(ev.ChildExited(spec.id, Incarnation(1), "shutdown"), 0.0)
    assert machine.phase is Phase.DONE


# beside OTP

OUTCOMES = st.lists(st.sampled_from(["ready", "ready", "fail", "ignore"]), max_size=6)
IDS = "abcd"
MESSAGE = st.one_of(
    st.tuples(st.just("crash"), st.sampled_from(IDS), st.sampled_from(["killed", "normal"])),
    st.tuples(st.sampled_from(["terminate", "restart", "delete"]), st.sampled_from(IDS)),
    st.tuples(st.just("start"), st.sampled_from(IDS), st.sampled_from(RESTARTS)),
    st.tuples(st.sampled_from(["which", "count"])),
)
BURST = st.lists(MESSAGE, min_size=1, max_size=4)  # all of it is in the mailbox before the supervisor looks
REQUESTS = {"terminate": ev.TerminateChildAsked, "restart": ev.RestartChildAsked, "delete": ev.DeleteChildAsked}


@settings(max_examples=500, derandomize=True, deadline=None, database=None)
@given(
    strategy=st.sampled_from(STRATEGIES),
    restarts=st.tuples(*[st.sampled_from(RESTARTS)] * len(IDS)),
    intensity=st.integers(0, 5),
    auto_shutdown=st.sampled_from(AUTO_SHUTDOWNS),
    significant=st.frozensets(st.sampled_from(IDS)),
    scripts=st.dictionaries(st.sampled_from(IDS), OUTCOMES),
    bursts=st.lists(BURST, max_size=6),
)
def test_it_does_what_otps_supervisor_does(
    strategy: str,
    restarts: tuple[str, ...],
    intensity: int,
    auto_shutdown: str,
    significant: frozenset[str],
    scripts: dict[str, list[str]],
    bursts: list[list[Any]],
) -> None:
    def spec(id: str, restart: str) -> ChildSpec:
        return child(id, restart, significant=id in significant and restart != "permanent")

    specs = list(zip(IDS, restarts, strict=True))
    otp = OtpSupervisor(specs, strategy, intensity, auto_shutdown, significant)
    ours = World([spec(*names) for names in specs], strategy, max_restarts=intensity, auto_shutdown=auto_shutdown)
    otp.boot()
    ours.boot()
    for id, script in scripts.items():
        scripted(ours, **{id: " ".join(script)})
        otp.scripts[id] = ours.script[id].copy()
    for burst in bursts:
        if otp.ended is not None:
            break
        events: list[ev.Event] = []
        asked: list[int] = []
        for message in burst:
            match message:
                case ("crash", id, reason):
                    if otp.pids.get(id) in otp.alive:
                        otp.kill(id, reason)
                        events.append(ev.ChildExited(id, ours.alive.pop(id), reason))
                    continue
                case ("start", id, restart):
                    request: Any = ev.StartChildAsked(ours.number(), spec(id, restart))
                case ("which",):
                    request = ev.WhichChildrenAsked(ours.number())
                case ("count",):
                    request = ev.CountChildrenAsked(ours.number())
                case (verb, id):
                    request = REQUESTS[verb](ours.number(), id)
            otp.mailbox.append(message)
            events.append(request)
            asked.append(request.request)
        otp.answers.clear()
        otp.run()
        ours.deliver(*events)
        assert ours.log == otp.log
        assert _ending(ours) == otp.ended
        assert [_plain(ours.outcome(number)) for number in asked[: len(otp.answers)]] == otp.answers
        assert {ours.outcome(number) for number in asked[len(otp.answers) :]} <= {"shutdown", "noproc"}


def _ending(world: World) -> str | None:
    match world.ending:
        case None:
            return None
        case Exited("shutdown", gave_up=True, auto_shutdown=False):
            return "gave_up"
        case Exited("shutdown", gave_up=False, auto_shutdown=True):
            return "auto_shutdown"
        case other:
            raise AssertionError(f"it ended with {other}")


def _plain(value: Any) -> Any:
    match value:
        case Started():
            return "started"
        case list():
            return [(id, {"undefined": None, "restarting": RESTARTING}.get(pid, "running")) for id, pid, _ in value]
        case dict():
            return value["specs"]
        case _:
            return value
