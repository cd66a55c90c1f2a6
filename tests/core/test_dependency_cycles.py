from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.core.dependency_cycles import Cycle, Edge, Lifted, find_cycle, lift

GROUPS = {"s/qa#0": "s/qa", "s/qa#1": "s/qa"}


def edge(source: str, target: str, written: str | None = None) -> Edge:
    return Edge(source, target, target if written is None else written)


def edges(text: str) -> list[Edge]:
    """Return the edges of "a>b b>c"."""
    return [edge(*pair.split(">")) for pair in text.split()]


LIFTS = [
    ("a", "b", ("", "a", "b")),
    ("s/a", "s/b", ("s", "a", "b")),
    ("s/a", "b", ("", "s", "b")),
    ("s/a", "t/u/b", ("", "s", "t")),
    ("s/t/a", "s/u/b", ("s", "t", "u")),
    ("s/a/part", "s/b/part", ("s", "a", "b")),
    ("s/a/one", "s/a/two", ("s/a", "one", "two")),
    ("s/x", "s/qa", ("s", "x", "qa")),
    ("s/qa#0", "s/x", ("s", "qa", "x")),
    ("s/qa#1/part", "t", ("", "s", "t")),
    ("x", "s/qa#1/part", ("", "x", "s")),
    ("s/x", "s/qa#1/part", ("s", "x", "qa")),
    ("a", "a/part", None),
    ("s/a", "s", None),
    ("s/qa#0", "s/qa#1", None),
    ("s/qa#0", "s/qa", None),
]


@pytest.mark.parametrize(("source", "target", "lifted"), LIFTS)
def test_an_edge_is_lifted_to_two_children_of_the_lowest_common_supervisor(source: str, target: str, lifted: Any) -> None:
    assert lift(edge(source, target), GROUPS) == (None if lifted is None else Lifted(*lifted))


CYCLES = [
    ("a>b b>c c>a", "a -> b -> c -> a"),
    ("x>a a>b b>a", "a -> b -> a"),
    ("a>b a>c b>d c>d d>b", "b -> d -> b"),
    ("s/a>t/b t/c>s/d", "s -> t -> s, by s/a -> t/b, t/c -> s/d"),
    ("p/s/a>p/t p/t/c>p/s/d", "p/s -> p/t -> p/s, by p/s/a -> p/t, p/t/c -> p/s/d"),
    ("s>x x>s/a", "s -> x -> s, by s -> x, x -> s/a"),
    ("a>a/part a/part>b b>a", "a -> a/part -> b -> a"),
    ("s/qa#0>s/x s/x>s/qa", "s/qa -> s/x -> s/qa"),
    ("s/qa#0>s/x s/x>s/qa#1", "s/qa#1 -> s/x -> s/qa#1"),
    ("s/qa#1>s/qa", "s/qa -> s/qa"),
]


@pytest.mark.parametrize(("text", "path"), CYCLES)
def test_a_circle_is_named_by_its_path(text: str, path: str) -> None:
    assert str(find_cycle(edges(text), GROUPS)) == path


@pytest.mark.parametrize(
    "text", ["", "a>b b>c a>c", "a>a/part", "s/a>t/b s/c>t/d", "s/qa#0>x s/qa#1>x y>s/qa", "a>a/one a/two>a/one"]
)
def test_where_there_is_no_circle_there_is_none(text: str) -> None:
    assert find_cycle(edges(text), GROUPS) is None


def test_a_circle_has_its_ids_as_they_were_written() -> None:
    cycle = find_cycle([edge("s/a", "s/b", "b"), edge("s/b", "s/c", "s/c"), edge("s/c", "s/a", "a")], {})
    assert cycle == Cycle(("a", "b", "s/c", "a"), cycle.edges if cycle else ())


def test_a_long_chain_is_no_problem() -> None:
    chain = [edge(f"n{number}", f"n{number + 1}") for number in range(5000)]
    assert find_cycle(chain, {}) is None
    cycle = find_cycle([*chain, edge("n5000", "n0")], {})
    assert cycle is not None
    assert len(cycle.path) == 5002


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14))
def test_a_circle_is_found_exactly_when_there_is_one(pairs: list[tuple[int, int]]) -> None:
    cycle = find_cycle([edge(f"n{one}", f"n{other}") for one, other in pairs if one != other], {})
    left = {(one, other) for one, other in pairs if one != other}
    while free := {pair for pair in left if not any(pair[1] == one for one, _ in left)}:
        left -= free  # they lead to what depends on nothing more
    assert (cycle is not None) == bool(left)
    if cycle is not None:
        assert [(one.target, other.source) for one, other in zip(cycle.edges, cycle.edges[1:], strict=False)] == [
            (one.target, one.target) for one in cycle.edges[:-1]
        ]
        assert cycle.edges[-1].target == cycle.edges[0].source
