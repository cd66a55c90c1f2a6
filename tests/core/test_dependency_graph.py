"""What is searched from a change alone is what a look at everything finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_runtime.core.dependency_cycles import Arcs, Edge, lift
from dspex_runtime.core.dependency_graph import DependencyGraph

IDS = ["a", "b", "a/p", "s", "s/a", "s/b", "s/t/a", "s/t/b", "s/qa#0", "s/qa#1", "s/qa", "s/qa#0/p", "s/qa#1/p", "x"]
GROUPS = {"s/qa#0": "s/qa", "s/qa#1": "s/qa"}
State: TypeAlias = dict[str, tuple[tuple[str, ...], str | None]]


def scanned(state: Mapping[str, tuple[tuple[str, ...], str | None]]) -> bool:
    """Return whether there is a circle: by looking at all edges, as they are and lifted, of everything that is known."""
    groups = {id: group for id, (_, group) in state.items() if group is not None}
    edges = [Edge(id, target, target) for id, (targets, _) in state.items() for target in targets]
    lifted = [each for edge in edges if (each := lift(edge, groups)) is not None]
    return has_circle({(canonical(edge.source, groups), canonical(edge.target, groups)) for edge in edges}) or has_circle(
        {(f"{each.path}/{each.source}", f"{each.path}/{each.target}") for each in lifted}
    )


def canonical(id: str, groups: Mapping[str, str]) -> str:
    parts = id.split("/")
    above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    return "/".join(groups.get(each, each).rpartition("/")[2] for each in above)


def has_circle(pairs: set[tuple[str, str]]) -> bool:
    while free := {pair for pair in pairs if not any(pair[1] == source for source, _ in pairs)}:
        pairs = pairs - free
    return bool(pairs)


PLACES = st.tuples(st.sampled_from(IDS), st.lists(st.sampled_from(IDS), max_size=3, unique=True).map(tuple), st.booleans())
BATCHES = st.lists(st.lists(PLACES, min_size=1, max_size=4, unique_by=lambda place: place[0]), min_size=1, max_size=20)


def wanted(batch: list[tuple[str, tuple[str, ...], bool]]) -> Iterator[tuple[str, tuple[str, ...], str | None]]:
    for id, targets, is_replica in batch:
        yield id, targets, GROUPS.get(id) if is_replica else None


@settings(max_examples=600, derandomize=True, deadline=None, database=None)
@given(batches=BATCHES)
def test_a_search_from_what_is_new_finds_what_a_look_at_everything_does(
    batches: list[list[tuple[str, tuple[str, ...], bool]]],
) -> None:
    graph, state = DependencyGraph(), State()
    for batch in batches:
        every = list(wanted(batch))
        refused = graph.refusals(every)
        expected: list[str] = []
        accepted = dict(state)
        if scanned({**state, **{id: (targets, group) for id, targets, group in every}}):
            for id, targets, group in every:
                if scanned({**accepted, id: (targets, group)}):
                    expected.append(id)
                else:
                    accepted[id] = (targets, group)
        else:
            accepted.update({id: (targets, group) for id, targets, group in every})
        assert list(refused) == expected
        assert graph.problem((id, *place) for id, place in state.items()) is None, "a question has changed it"
        for id, targets, group in every:
            if id in accepted and accepted[id] == (targets, group):
                graph.put(id, targets, group)
        state = accepted
        assert graph.problem((id, *place) for id, place in state.items()) is None


def test_a_circle_is_searched_only_where_a_new_dependency_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: set[str] = set()
    look = Arcs._from
    monkeypatch.setattr(Arcs, "_from", lambda self, node: looked.add(node[1]) or look(self, node))
    graph = DependencyGraph()
    for number in range(100):
        graph.put(f"n{number}", [f"n{number + 1}"])
    assert graph.refusals([("alone", (), None), ("replica#0", (), "replica")]) == {}
    assert looked == set()
    assert graph.refusals([("new", ("n98",), None)]) == {}
    assert looked == {"new", "n98", "n99", "n100"}
    assert str(graph.refusals([("n100", ("n98",), None)])["n100"]) == "n100 -> n98 -> n99 -> n100"
