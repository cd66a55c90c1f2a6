"""Both machines under anything: children come up, fail, hang, die and disobey at any time, requests come at any time.

The world validates the machine after every event, and refuses a second answer, a start of what runs, and an end with
processes or timers left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.world import ERROR, World, child, scripted
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import BRUTAL_KILL, INFINITY, Backoff, ChildSpec, Shutdown
from dspex_runtime.core.operation import Phase
from dspex_runtime.types import AutoShutdown, ChildId, Incarnation, State, Strategy

STRATEGIES = ["one_for_one", "rest_for_one", "one_for_all"]
RESTARTS = ["permanent", "transient", "temporary"]
IDS = "abcdefg"
ABOUT_ONE = [
    ev.TerminateChildAsked,
    ev.RestartChildAsked,
    ev.DeleteChildAsked,
    ev.CycleChildAsked,
    ev.GetChildSpecAsked,
    ev.WhichChildAsked,
]
FIELDS = st.fixed_dictionaries(
    {
        "shutdown": st.sampled_from([BRUTAL_KILL, INFINITY, Shutdown(timeout_s=0.0), Shutdown(timeout_s=2.0)]),
        "backoff": st.sampled_from([None, Backoff(stable_after_s=2.0)]),
        "start_timeout_s": st.sampled_from([None, 3.0]),
    }
)


class AnyCourse(RuleBasedStateMachine):
    """The rules that are the same for both kinds of supervisors."""

    world: World | None = None
    fields: dict[str, Any]

    def begin(self, world: World) -> None:
        self.world = world
        self.requests: list[int] = []
        # Nothing happens by itself: the rules decide what becomes of each start and stop.
        world.stubborn = world.undying = set(IDS)
        for id in IDS:
            scripted(world, **{id: " ".join(["hang"] * 50)})

    def spec(self, id: str, restart: str, **fields: Any) -> ChildSpec:
        return child(id, restart, **self.fields, **fields)

    @property
    def w(self) -> World:
        assert self.world is not None
        return self.world

    def pick(self, data: st.DataObject, ids: Any) -> str:
        return str(data.draw(st.sampled_from(sorted(ids))))

    @precondition(lambda self: self.world and self.world.pending)
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        self.w.ready(self.pick(data, self.w.pending))

    @precondition(lambda self: self.world and self.world.pending)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.w.fail(self.pick(data, self.w.pending))

    @precondition(lambda self: self.world and self.world.pending)
    @rule(data=st.data())
    def ignore(self, data: st.DataObject) -> None:
        id = ChildId(self.pick(data, self.w.pending))
        self.w.pending.remove(id)
        self.w.deliver(ev.ChildIgnored(id, self.w.alive.pop(id)))

    @precondition(lambda self: self.world and self.world.alive)
    @rule(data=st.data(), reason=st.sampled_from(["killed", "normal", "shutdown", ("shutdown", 1), ERROR]))
    def die(self, data: st.DataObject, reason: Any) -> None:
        self.w.die(self.pick(data, self.w.alive), reason)

    @precondition(lambda self: self.world and self.world.alive)
    @rule(data=st.data(), restart=st.sampled_from(RESTARTS), late=st.booleans())
    def swap(self, data: st.DataObject, restart: str, late: bool) -> None:
        """Whatever state the child is in; `late`: what is told belongs to an incarnation that is gone."""
        id = ChildId(self.pick(data, self.w.alive))
        before = self.w.machine.child(id)
        assert before is not None
        spec = self.spec(id, restart, version=f"{before.spec.version}+")
        self.w.deliver(ev.ChildSwapped(id, Incarnation(self.w.alive[id] - late), spec, 200))
        after = self.w.machine.child(id)
        assert after == (replace(before, spec=spec, pid=200) if before.state is State.READY and not late else before)

    @rule(seconds=st.sampled_from([0.05, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.w.advance(seconds)

    @rule(kind=st.sampled_from(ABOUT_ONE), id=st.sampled_from(IDS))
    def ask(self, kind: type[Any], id: str) -> None:
        self.requests.append(self.w.ask(kind, ChildId(id)))

    @rule(id=st.sampled_from(IDS), held=st.booleans())
    def hold(self, id: str, held: bool) -> None:
        """Whether the supervisor has the child or not."""
        self.w.deliver(ev.ChildHeld(ChildId(id), held))

    @precondition(lambda self: self.world and self.world.machine.children)
    @rule(data=st.data(), kind=st.sampled_from([ev.RestartAsked, ev.StopAsked]), late=st.booleans())
    def cascade(self, data: st.DataObject, kind: type[Any], late: bool) -> None:
        """Whatever state the child is in; `late`: it belongs to an incarnation that is gone."""
        view = data.draw(st.sampled_from(self.w.machine.children))
        self.w.deliver(kind(view.id, Incarnation(view.incarnation - late)))

    @rule(id=st.sampled_from(IDS), restart=st.sampled_from(RESTARTS))
    def respecify(self, id: str, restart: str) -> None:
        self.requests.append(self.w.ask(ev.ChangeSpecAsked, self.spec(id, restart, version="another")))

    @rule(max_restarts=st.integers(0, 6))
    def rebudget(self, max_restarts: int) -> None:
        self.requests.append(self.w.ask(ev.ChangeSupervisorAsked, replace(self.w.machine.spec, max_restarts=max_restarts)))

    @rule(kind=st.sampled_from([ev.WhichChildrenAsked, ev.CountChildrenAsked]))
    def query(self, kind: type[Any]) -> None:
        self.requests.append(self.w.ask(kind))

    @precondition(lambda self: self.world and len(self.requests) > 10)
    @rule()
    def shutdown(self) -> None:
        self.w.shutdown()

    @invariant()
    def what_the_machine_shows_as_running_is_what_runs(self) -> None:
        # A supervisor that ends takes in a death when its sweep gets there.
        if self.world is not None and self.w.machine.phase is not Phase.STOPPING:
            up = (State.STARTING, State.READY, State.STOPPING)
            assert {view.id for view in self.w.machine.children if view.state in up} == set(self.w.alive)

    def teardown(self) -> None:
        """A supervisor that is told to stop ends, with everything answered, whatever state it is in."""
        if self.world is None:
            return
        self.w.shutdown()
        while self.w.alive:
            self.w.die(min(self.w.alive))
        assert self.w.ending is not None
        assert self.w.machine.phase is Phase.DONE
        assert set(self.requests) == set(self.w.replies)
        assert self.w.outcome(self.w.ask(ev.CountChildrenAsked)) == "noproc"


class StaticCourse(AnyCourse):
    """A supervisor: one operation at a time, and what waits is answered when it is through."""

    @initialize(
        strategy=st.sampled_from(STRATEGIES),
        max_restarts=st.integers(0, 6),
        auto_shutdown=st.sampled_from(["never", "any_significant", "all_significant"]),
        restarts=st.lists(st.sampled_from(RESTARTS), min_size=1, max_size=5),
        significant=st.sets(st.sampled_from(IDS)),
        fields=FIELDS,
        boot=st.booleans(),
        after=st.sets(st.tuples(st.sampled_from(IDS), st.sampled_from(IDS)), max_size=8),
    )
    def create(
        self,
        strategy: str,
        max_restarts: int,
        auto_shutdown: str,
        restarts: list[str],
        significant: set[str],
        fields: dict[str, Any],
        boot: bool,
        after: set[tuple[str, str]],
    ) -> None:
        self.fields = fields
        self.significant = significant
        self.after = {id: frozenset(ChildId(other) for one, other in after if one == id and other < one) for id in IDS}
        specs = [self.spec(id, restart) for id, restart in zip(IDS, restarts, strict=False)]
        self.begin(World(specs, strategy, max_restarts=max_restarts, auto_shutdown=auto_shutdown))
        if boot:
            self.w.boot()

    def spec(self, id: str, restart: str, **fields: Any) -> ChildSpec:
        fields |= {"significant": id in self.significant and restart != "permanent", "after": self.after[id]}
        return super().spec(id, restart, **fields)

    @rule()
    def boot(self) -> None:
        self.w.boot()

    @rule(id=st.sampled_from("afg"), restart=st.sampled_from(RESTARTS))
    def start(self, id: str, restart: str) -> None:
        self.requests.append(self.w.ask(ev.StartChildAsked, self.spec(id, restart)))

    @rule(strategy=st.sampled_from(list(Strategy)), mode=st.sampled_from(list(AutoShutdown)), order=st.permutations(IDS))
    def resupervise(self, strategy: Strategy, mode: AutoShutdown, order: list[str]) -> None:
        """Another strategy and auto_shutdown, with the children in another order."""
        children = tuple(child(id) for id in order)
        spec = replace(self.w.machine.spec, strategy=strategy, auto_shutdown=mode, children=children)
        self.requests.append(self.w.ask(ev.ChangeSupervisorAsked, spec))

    @invariant()
    def never_two_operations_at_once(self) -> None:
        if self.world is not None and self.w.machine.phase is not Phase.STOPPING:
            busy = {view.id: view for view in self.w.machine.children if view.state in (State.STARTING, State.STOPPING)}
            is_abreast = all(view.state is State.STARTING and view.spec.after.isdisjoint(busy) for view in busy.values())
            assert len(busy) <= 1 or (is_abreast and any(self.after.values())), busy

    @invariant()
    def a_supervisor_that_is_not_busy_has_answered_everything(self) -> None:
        if self.world is not None and self.w.machine.phase in (Phase.RUNNING, Phase.DONE):
            assert set(self.requests) == set(self.w.replies)


class DynamicCourse(AnyCourse):
    """A dynamic supervisor: serial for each child, bounded, and nobody waits for another child."""

    @initialize(max_restarts=st.integers(0, 6), max_children=st.sampled_from([None, 0, 2, 4]), fields=FIELDS, boot=st.booleans())
    def create(self, max_restarts: int, max_children: int | None, fields: dict[str, Any], boot: bool) -> None:
        self.fields = fields
        self.max_children = max_children
        self.begin(World([], dynamic=True, max_restarts=max_restarts, max_children=max_children))
        if boot:
            self.w.boot()

    @rule()
    def boot(self) -> None:
        self.w.boot()

    @rule(id=st.sampled_from(IDS), restart=st.sampled_from(RESTARTS))
    def start(self, id: str, restart: str) -> None:
        self.requests.append(self.w.ask(ev.StartChildAsked, self.spec(id, restart)))

    @invariant()
    def never_more_than_max_children(self) -> None:
        if self.world is not None and self.max_children is not None:
            assert len(self.w.machine.children) <= self.max_children

    @invariant()
    def a_query_of_a_running_supervisor_is_answered_at_once(self) -> None:
        if self.world is not None and self.w.machine.phase is Phase.RUNNING:
            number = self.w.ask(ev.CountChildrenAsked)
            self.requests.append(number)
            assert self.w.outcome(number)["specs"] == len(self.w.machine.children)

    @invariant()
    def only_requests_about_a_child_that_is_starting_or_stopping_wait(self) -> None:
        if self.world is not None and self.w.machine.phase is Phase.RUNNING:
            busy = any(view.state in (State.STARTING, State.STOPPING) for view in self.w.machine.children)
            assert busy or set(self.requests) == set(self.w.replies)


SETTINGS = settings(max_examples=150, stateful_step_count=40, derandomize=True, deadline=None, database=None)


def test_a_static_supervisor_holds_its_invariants_under_anything() -> None:
    run_state_machine_as_test(StaticCourse, settings=SETTINGS)


def test_a_dynamic_supervisor_holds_its_invariants_under_anything() -> None:
    run_state_machine_as_test(DynamicCourse, settings=SETTINGS)
