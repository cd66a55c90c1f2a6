"""Random trees, random dependencies, random failures: starts in order, the end that the rules give, each restarted once."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from core.dependency_world import GONE, Tree
from core.world import child
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import INFINITY, Backoff, ChildSpec, Dependency, SupervisorSpec
from dspex_runtime.core.dependency_order import arranged, walk
from dspex_runtime.types import Kind, OnDown, RestartType, State, Strategy

HOLDING = (OnDown.WAIT, OnDown.RESTART, OnDown.STOP)
IDS = ["a", "b", "c", "s/d", "s/e", "s/f", "t/g", "t/h", "t/u/i", "t/u/j"]
MODES = st.sampled_from([[OnDown.RESTART], list(OnDown)])  # the longest cascades, and everything
SUPERVISORS = ["s", "t", "t/u"]
Edges = dict[tuple[str, str], OnDown]


@st.composite
def acyclic(draw: st.DrawFn) -> Edges:
    """Return dependencies without a cycle, lifted ones included: by a random order of siblings, at every height."""
    rank = {part: number for number, part in enumerate(draw(st.permutations(sorted({*"/".join(IDS).split("/")}))))}

    def place(id: str) -> list[int]:
        return [rank[part] for part in id.split("/")]

    many = draw(st.sampled_from([2, 8, 16, 24]))  # a list of any length would mostly be short
    pairs = draw(st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(IDS + SUPERVISORS)), min_size=many, max_size=many))
    modes = draw(st.lists(st.sampled_from(draw(MODES)), min_size=many, max_size=many))
    turned = [pair if place(pair[1]) < place(pair[0]) or pair[1] in SUPERVISORS else pair[::-1] for pair in pairs]
    sound = [(source, target) for source, target in turned if not source.startswith(target) and place(target) < place(source)]
    return dict(zip(sound, modes, strict=False))


EDGES = acyclic()
SETTINGS = settings(max_examples=150, derandomize=True, deadline=None, database=None)


def leaf(id: str, edges: Edges, **fields: Any) -> ChildSpec:
    depends_on = {target: Dependency(on_down) for (source, target), on_down in edges.items() if source == id}
    return child(id.rpartition("/")[2], shutdown=INFINITY, start_timeout_s=None, depends_on=depends_on, **fields)


def supervisor(id: str, children: list[ChildSpec], strategy: str, max_restarts: int) -> ChildSpec:
    spec = SupervisorSpec(Strategy(strategy), max_restarts, children=tuple(children))
    return child(id, kind=Kind.SUPERVISOR, supervisor=spec, shutdown=INFINITY, start_timeout_s=None)


def tree(
    order: list[str],
    edges: Edges,
    strategies: dict[str, str] | None = None,
    max_restarts: int = 1000,
    **fields: dict[str, Any],
) -> SupervisorSpec:
    """Return the tree of IDS, its lists in this order."""
    kinds = {"": "one_for_one", "s": "one_for_one", "t": "one_for_one", "t/u": "one_for_one"} | (strategies or {})

    def below(path: str) -> list[ChildSpec]:
        leaves = [leaf(id, edges, **fields.get(id, {})) for id in order if id.rpartition("/")[0] == path]
        nested = {"": ["s", "t"], "t": ["t/u"]}.get(path, [])
        return leaves + [supervisor(each.rpartition("/")[2], below(each), kinds[each], max_restarts) for each in nested]

    return arranged(SupervisorSpec(Strategy(kinds[""]), max_restarts, children=tuple(below(""))))


def needs(edges: Edges, id: str, *modes: OnDown) -> list[str]:
    return [target for (source, target), on_down in edges.items() if source == id and on_down in modes]


def ready(world: Tree) -> list[str]:
    """Return the supervisors that are up."""
    return [path for path, node in world.nodes.items() if node.up]


# boot


@SETTINGS
@given(order=st.permutations(IDS), edges=EDGES, seed=st.randoms(use_true_random=False))
def test_a_boot_starts_each_when_all_it_depends_on_is_up(order: list[str], edges: Edges, seed: random.Random) -> None:
    spec = tree(order, edges)
    world = Tree(spec).boot()
    begun = 0
    while pending := world.pending:
        for id, _ in world.log[begun:]:
            assert set(needs(edges, id, *OnDown)) <= {*world.up, *ready(world)}, f"{id} was started before what it depends on"
        begun = len(world.log)
        world.come_out(seed.choice(pending))
    assert sorted(world.up) == sorted(IDS)
    assert sorted(id for id, _ in world.log) == sorted(IDS)
    assert world.cascades == []
    assert not any(world.told.values())


@SETTINGS
@given(order=st.permutations(IDS), edges=EDGES, failing=st.sampled_from(IDS), seed=st.randoms(use_true_random=False))
def test_a_boot_that_fails_leaves_nothing(order: list[str], edges: Edges, failing: str, seed: random.Random) -> None:
    world = Tree(tree(order, edges), failing={failing}).boot()
    world.run(seed.choice)
    assert world.ended
    assert world.processes == {}
    assert not any(restart == "restart" for restart, _, _ in world.cascades)


# failures


def fates(spec: SupervisorSpec, edges: Edges, died: set[str]) -> dict[str, str]:
    """Return what becomes of each by the rules, when these die at once under one_for_one and come back by themselves.

    "same": it went on; "anew": it is up as another process; "stopped"; "waits": for what was stopped, or waits itself.
    """
    fate = dict.fromkeys(SUPERVISORS, "same")  # they have restarts enough
    left = [id for id, each in walk(spec) if each.supervisor is None]
    while left:
        id = next(id for id in left if not set(needs(edges, id, *OnDown)) & set(left))
        left.remove(id)
        held = [fate[dep] for dep in needs(edges, id, *HOLDING)]
        parted = [(dep, fate[dep]) for dep in needs(edges, id, OnDown.STOP)]
        comes = all(each in ("same", "anew") for each in held)
        if id in died:
            # A dependency that did not die with it may be stopped, or restarted, before or after it is back.
            assume(not any(fate[dep] == "stopped" and dep not in died for dep in needs(edges, id, *HOLDING)))
            assume(not any(each != "same" and dep not in died for dep, each in parted))
            fate[id] = "anew" if comes else "waits"
        elif any(each != "same" for _, each in parted):
            fate[id] = "stopped"
        elif comes and any(fate[dep] == "anew" for dep in needs(edges, id, OnDown.RESTART)):
            fate[id] = "anew"
        else:
            fate[id] = "same"
    return {id: fate[id] for id in IDS}


def course(world: Tree, id: str, before: dict[str, int]) -> str:
    """Return what became of one."""
    if id in world.up:
        return "same" if world.processes[id].incarnation == before[id] else "anew"
    return {State.STOPPED: "stopped", State.PENDING: "waits"}[world.shown[id]]


@SETTINGS
@given(
    order=st.permutations(IDS),
    edges=EDGES,
    died=st.integers(1, 4).flatmap(lambda many: st.lists(st.sampled_from(IDS), min_size=many, max_size=many, unique=True)),
    seed=st.randoms(use_true_random=False),
)
def test_failures_at_the_same_time_end_as_the_rules_say_and_nobody_is_restarted_for_them_twice(
    order: list[str], edges: Edges, died: list[str], seed: random.Random
) -> None:
    spec = tree(order, edges)
    expected = fates(spec, edges, set(died))
    world = Tree(spec).boot()
    world.run(seed.choice)
    before = {id: int(process.incarnation) for id, process in world.processes.items()}
    world.log.clear()
    world.die(*died)
    world.run(seed.choice)
    assert {id: course(world, id, before) for id in IDS} == expected
    for what, times in Counter((kind, id) for kind, id, _ in world.cascades).items():
        assert times == 1, f"{what} {times} times"
    assert all(down == [] for _, down in world.log), "one was started before what it waits for"
    starts = Counter(id for id, _ in world.log)
    for id, fate in expected.items():
        if id not in died:
            assert starts[id] == (fate == "anew")
    for id in world.up:
        assert world.told[id] == {dep for dep in needs(edges, id, *OnDown) if dep not in {*world.up, *ready(world)}}


@SETTINGS
@given(order=st.permutations(IDS), edges=EDGES, died=st.sampled_from(IDS), seed=st.randoms(use_true_random=False))
def test_what_waited_for_one_that_did_not_come_back_is_back_when_somebody_starts_it(
    order: list[str], edges: Edges, died: str, seed: random.Random
) -> None:
    """A user stops one; all that is stopped with it is started again by hand, in order; everything is up and knows it."""
    spec = tree(order, edges)
    world = Tree(spec).boot()
    world.run(seed.choice)
    world.ask(died, ev.TerminateChildAsked)
    world.run(seed.choice)
    while down := [id for id in IDS if world.shown[id] is State.STOPPED and not world.dependencies.obstacles(id)]:
        world.ask(down[0], ev.RestartChildAsked)
        world.run(seed.choice)
    assert sorted(world.up) == sorted(IDS)
    assert not any(world.told.values())
    assert max(Counter((kind, id) for kind, id, _ in world.cascades).values(), default=0) <= 2


# anything


@SETTINGS
@given(
    order=st.permutations(IDS),
    edges=EDGES,
    strategies=st.fixed_dictionaries({path: st.sampled_from(list(Strategy)) for path in ("", "s", "t", "t/u")}),
    restarts=st.lists(st.sampled_from(list(RestartType)), min_size=len(IDS), max_size=len(IDS)),
    backoff=st.sampled_from([None, Backoff(initial_s=1.0)]),
    max_restarts=st.sampled_from([2, 1000]),
    events=st.lists(
        st.tuples(st.sampled_from(["die", "die", "terminate", "start", "cycle", "some"]), st.integers(0, 99), st.integers(0, 99)),
        max_size=25,
    ),
    seed=st.randoms(use_true_random=False),
)
def test_whatever_happens_nobody_waits_for_what_is_there_and_everybody_knows_what_is_not(
    order: list[str],
    edges: Edges,
    strategies: dict[str, str],
    restarts: list[RestartType],
    backoff: Backoff | None,
    max_restarts: int,
    events: list[tuple[str, int, int]],
    seed: random.Random,
) -> None:
    fields = {id: {"restart": restart, "backoff": backoff} for id, restart in zip(IDS, restarts, strict=True)}
    world = Tree(tree(order, edges, strategies, max_restarts, **fields)).boot()
    world.run(seed.choice)
    for what, one, other in events:
        happen(world, what, one, other, seed)
    world.run(seed.choice)
    assert set(world.up) == set(world.processes)
    for id in world.up:
        assert world.dependencies.is_up(id)
        assert world.told[id] == {dep for dep in world.dependencies.edges(id) if not world.dependencies.is_up(dep)}
    for id, state in world.shown.items():
        if id not in world.processes and id not in world.nodes and id.rpartition("/")[0] in world.nodes:
            waits = bool(world.dependencies.obstacles(id))
            assert state in GONE or (state is State.PENDING and waits), f"{id} is {state}"
    incarnations = Counter(world.cascades)
    assert all(times == 1 or kind == "restart" for (kind, _, _), times in incarnations.items())


def happen(world: Tree, what: str, one: int, other: int, seed: random.Random) -> None:
    id = IDS[one % len(IDS)]
    match what:
        case "die" if world.processes:
            living = list(world.processes)
            world.die(*{living[one % len(living)], living[other % len(living)]})
        case "terminate":
            world.ask(id, ev.TerminateChildAsked)
        case "start":
            world.ask(id, ev.RestartChildAsked)
        case "cycle":
            world.ask(id, ev.CycleChildAsked)
        case "some":
            for _ in range(other % 8):
                if pending := world.pending:
                    world.come_out(seed.choice(pending))
