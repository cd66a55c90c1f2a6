"""The machine as a whole: what it shows, how it compares with OTP's supervisor, and its invariants under anything."""

from __future__ import annotations

from typing import Any

import pytest
from core.otp_reference import RESTARTING, OtpSupervisor
from core.world import ERROR, World, child, children, scripted
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import BRUTAL_KILL, INFINITY, Backoff, Shutdown, SupervisorSpec
from dspex_runtime.core.instructions import ChildState, Started
from dspex_runtime.core.supervisor_machine import Phase, SupervisorMachine
from dspex_runtime.types import ChildId, Incarnation, State

RESTARTS = ["permanent", "transient", "temporary"]
STRATEGIES = ["one_for_one", "rest_for_one", "one_for_all"]


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


def test_a_second_boot_changes_nothing() -> None:
    world = World(children("ab")).boot()
    assert world.machine.handle(ev.Boot(), 1.0) == []


@pytest.mark.parametrize(("specs", "start_window"), [(children("aa"), 1), (children("a"), 0)])
def test_an_impossible_supervisor_is_refused(specs: list[Any], start_window: int) -> None:
    with pytest.raises(ValueError, match=r"duplicate child id|start_window"):
        World(specs, start_window=start_window)


def test_ten_thousand_children_go_up_and_down_without_recursion() -> None:
    specs = tuple(child(f"c{n}") for n in range(10_000))
    machine = SupervisorMachine(
        SupervisorSpec(children=specs), next_incarnation=lambda _: Incarnation(1), random=lambda: 0.5, start_window=10_000
    )
    instructions = machine.handle(ev.Boot(), 0.0)
    assert sum(isinstance(i, ChildState) and i.state is State.STARTING for i in instructions) == 10_000
    for spec in specs:
        machine.handle(ev.ChildReady(spec.id, Incarnation(1), 1), 0.0)
    for spec in specs:
        machine.handle(ev.ChildExited(spec.id, Incarnation(1), "killed"), 0.0)
        if machine.phase is Phase.STOPPING:
            break
    for spec in specs:  # all dead by themselves, in an order that is not the sweep's
        machine.handle(ev.ChildExited(spec.id, Incarnation(1), "killed"), 0.0)
        machine.handle(ev.StartFailed(spec.id, Incarnation(1), "killed"), 0.0)
    assert machine.phase is Phase.DONE


# beside OTP

OUTCOMES = st.lists(st.sampled_from(["ready", "ready", "fail", "ignore"]), max_size=6)
IDS = "abcd"
STEP = st.one_of(
    st.tuples(
        st.just("crash"), st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True), st.sampled_from(["killed", "normal"])
    ),
    st.tuples(st.sampled_from(["terminate", "restart", "delete"]), st.sampled_from(IDS)),
    st.tuples(st.just("start"), st.sampled_from(IDS), st.sampled_from(RESTARTS)),
)
REQUESTS = {"terminate": ev.TerminateChildAsked, "restart": ev.RestartChildAsked, "delete": ev.DeleteChildAsked}


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(
    strategy=st.sampled_from(STRATEGIES),
    restarts=st.tuples(*[st.sampled_from(RESTARTS)] * len(IDS)),
    intensity=st.integers(0, 5),
    scripts=st.dictionaries(st.sampled_from(IDS), OUTCOMES),
    steps=st.lists(STEP, max_size=8),
)
def test_it_does_what_otps_supervisor_does(
    strategy: str, restarts: tuple[str, ...], intensity: int, scripts: dict[str, list[str]], steps: list[Any]
) -> None:
    specs = list(zip(IDS, restarts, strict=True))
    otp = OtpSupervisor(specs, strategy, intensity)
    ours = World([child(id, restart) for id, restart in specs], strategy, max_restarts=intensity)
    otp.boot()
    ours.boot()
    for id, script in scripts.items():
        scripted(ours, **{id: " ".join(script)})
        otp.scripts[id] = ours.script[id].copy()
    for step in steps:
        if otp.ended:
            break
        match step:
            case ("crash", ids, reason):
                running = [id for id in ids if otp.pids.get(id) in otp.alive]
                for id in running:
                    otp.kill(id, reason)
                otp.run()
                ours.crash(*running, reason=reason)
            case ("start", id, restart):
                otp.mailbox.append(step)
                otp.run()
                assert _atom(ours.answer(ev.StartChildAsked, child(id, restart))) == otp.answers[-1]
            case (verb, id):
                otp.mailbox.append(step)
                otp.run()
                assert _atom(ours.answer(REQUESTS[verb], id)) == otp.answers[-1]
        assert ours.log == otp.log
        assert (ours.ending is not None) == otp.ended
        if not otp.ended:
            assert _pids(ours) == {id: "running" if isinstance(pid, int) else pid for id, pid in otp.pids.items()}


def _atom(value: Any) -> Any:
    return "started" if isinstance(value, Started) else value


def _pids(world: World) -> dict[str, Any]:
    found = {id: pid for id, pid, _ in reversed(world.answer(ev.WhichChildrenAsked))}
    return {id: {"undefined": None, "restarting": RESTARTING}.get(pid, "running") for id, pid in found.items()}


# under anything


class AnyCourse(RuleBasedStateMachine):
    """Children come up, fail, hang, die and disobey at any time; requests come at any time; the world validates each step."""

    @initialize(
        strategy=st.sampled_from(STRATEGIES),
        start_window=st.sampled_from([1, 3]),
        max_restarts=st.integers(0, 6),
        restarts=st.lists(st.sampled_from(RESTARTS), min_size=1, max_size=5),
        shutdown=st.sampled_from([BRUTAL_KILL, INFINITY, Shutdown(timeout_s=0.0), Shutdown(timeout_s=2.0)]),
        backoff=st.sampled_from([None, Backoff(stable_after_s=2.0)]),
        start_timeout_s=st.sampled_from([None, 3.0]),
    )
    def begin(
        self,
        strategy: str,
        start_window: int,
        max_restarts: int,
        restarts: list[str],
        shutdown: Shutdown,
        backoff: Backoff | None,
        start_timeout_s: float | None,
    ) -> None:
        self.fields: dict[str, Any] = {"shutdown": shutdown, "backoff": backoff, "start_timeout_s": start_timeout_s}
        specs = [child(id, restart, **self.fields) for id, restart in zip("abcde", restarts, strict=False)]
        self.world = World(specs, strategy, start_window=start_window, max_restarts=max_restarts)
        # Nothing happens by itself: the rules decide what becomes of each start and stop.
        self.world.stubborn = self.world.undying = set("abcdefg")
        for id in "abcdefg":
            scripted(self.world, **{id: " ".join(["hang"] * 50)})
        self.requests: list[int] = []
        self.world.boot()

    def pick(self, data: st.DataObject, ids: Any) -> str:
        return str(data.draw(st.sampled_from(sorted(ids))))

    @precondition(lambda self: self.world.pending)
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        self.world.ready(self.pick(data, self.world.pending))

    @precondition(lambda self: self.world.pending)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.world.fail(self.pick(data, self.world.pending))

    @precondition(lambda self: self.world.pending)
    @rule(data=st.data())
    def ignore(self, data: st.DataObject) -> None:
        id = ChildId(self.pick(data, self.world.pending))
        self.world.pending.remove(id)
        self.world.deliver(ev.ChildIgnored(id, self.world.alive.pop(id)))

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), reason=st.sampled_from(["killed", "normal", "shutdown", ERROR]))
    def die(self, data: st.DataObject, reason: Any) -> None:
        self.world.die(self.pick(data, self.world.alive), reason)

    @rule(seconds=st.sampled_from([0.05, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(kind=st.sampled_from([*REQUESTS.values(), ev.CycleChildAsked, ev.GetChildSpecAsked]), id=st.sampled_from("abcdefg"))
    def ask(self, kind: type[Any], id: str) -> None:
        self.requests.append(self.world.ask(kind, ChildId(id)))

    @rule(id=st.sampled_from("afg"), restart=st.sampled_from(RESTARTS))
    def start(self, id: str, restart: str) -> None:
        self.requests.append(self.world.ask(ev.StartChildAsked, child(id, restart, **self.fields)))

    @rule(kind=st.sampled_from([ev.WhichChildrenAsked, ev.CountChildrenAsked]))
    def query(self, kind: type[Any]) -> None:
        self.requests.append(self.world.ask(kind))

    @precondition(lambda self: len(self.requests) > 10)
    @rule()
    def shutdown(self) -> None:
        self.world.shutdown()

    @invariant()
    def a_supervisor_that_is_running_has_answered_everything(self) -> None:
        if hasattr(self, "world") and self.world.machine.phase in (Phase.RUNNING, Phase.DONE):
            assert set(self.requests) == set(self.world.replies)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.shutdown()
        while self.world.alive:
            self.world.die(min(self.world.alive))
        assert self.world.ending is not None
        assert set(self.requests) == set(self.world.replies)


def test_invariants_hold_under_anything() -> None:
    run_state_machine_as_test(
        AnyCourse, settings=settings(max_examples=120, stateful_step_count=40, derandomize=True, deadline=None, database=None)
    )
