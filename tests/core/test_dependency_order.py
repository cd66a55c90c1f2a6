from __future__ import annotations

from typing import Any

import pytest
from core.world import child
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.core.child_spec import ChildSpec, Dependency, Replica, SupervisorSpec
from dspex_runtime.core.dependency_order import (
    after_of,
    arranged,
    edges_of,
    groups_of,
    resolve,
    start_order,
    walk,
)
from dspex_runtime.core.names import NameIndex
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import ChildId, FullId, Kind


def needs(id: str, *targets: str, **fields: Any) -> ChildSpec:
    return child(id, depends_on={target: Dependency() for target in targets}, **fields)


def supervisor(id: str, *children: ChildSpec, depends_on: tuple[str, ...] = ()) -> ChildSpec:
    return needs(id, *depends_on, kind=Kind.SUPERVISOR, supervisor=SupervisorSpec(children=children))


def replica(group: str, number: int, *targets: str) -> ChildSpec:
    return needs(f"{group.rpartition('/')[2]}#{number}", *targets, kind=Kind.MODULE, replica=Replica(group, number))


def tree(*children: ChildSpec) -> SupervisorSpec:
    return SupervisorSpec(children=children)


def shown(spec: SupervisorSpec) -> str:
    """Return "a b(a) s[c d(c)]": the order, and what each comes after."""
    return " ".join(map(_shown, spec.children))


def _shown(spec: ChildSpec) -> str:
    after = f"({','.join(sorted(spec.after))})" if spec.after else ""
    return f"{spec.id}{after}" + (f"[{shown(spec.supervisor)}]" if spec.supervisor is not None else "")


# the order


ORDERS = [
    ("abc", {}, "abc"),
    ("abc", {"a": "c"}, "bca"),
    ("abcd", {"a": "c"}, "bcad"),
    ("abcd", {"a": "d", "b": "c"}, "cbda"),
    ("abc", {"b": "a", "c": "b"}, "abc"),
    ("cba", {"b": "a", "c": "b"}, "abc"),
    ("abc", {"a": "x"}, "abc"),
    ("abc", {"a": "b", "b": "a"}, "cab"),
    ("ab", {"a": "a"}, "ab"),
]


@pytest.mark.parametrize(("ids", "after", "order"), ORDERS, ids=str)
def test_the_order_is_that_of_the_list_where_nothing_says_otherwise(ids: str, after: dict[str, str], order: str) -> None:
    found = start_order([ChildId(id) for id in ids], {ChildId(id): [ChildId(o) for o in others] for id, others in after.items()})
    assert "".join(found) == order


@given(st.permutations(list("abcdefgh")), st.sets(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=16))
def test_each_comes_after_what_it_is_after_and_arranging_again_changes_nothing(ids: list[str], pairs: set[tuple[str, str]]) -> None:
    after = {ChildId(id): {ChildId(other) for one, other in pairs if one == id and other < id} for id in ids}
    order = start_order([ChildId(id) for id in ids], after)
    assert sorted(order) == sorted(ids)
    assert all(order.index(other) < order.index(id) for id, others in after.items() for other in others)
    assert start_order(order, after) == order


def test_a_tree_is_arranged_in_every_supervisor_by_what_is_below_its_children_too() -> None:
    db = "data/db"
    spec = tree(
        supervisor("web", needs("front", db), needs("page", "web/front")),
        needs("job", "data"),
        supervisor("data", needs("cache", db), child("db")),
        child("log"),
    )
    found = arranged(spec)
    assert shown(found) == "data[db cache(db)] web(data)[front page(front)] job(data) log"
    assert arranged(found) == found


def test_a_tree_without_dependencies_stays_as_it_is() -> None:
    spec = tree(child("b"), supervisor("s", child("d"), child("c")), child("a"))
    assert arranged(spec) == spec


def test_a_group_is_waited_for_with_all_its_replicas_and_waits_with_all() -> None:
    spec = tree(needs("x", "qa"), replica("qa", 0, "db"), replica("qa", 1, "db"), child("db"))
    assert shown(arranged(spec)) == "db qa#0(db) qa#1(db) x(qa#0,qa#1)"


def test_a_replica_that_is_named_orders_like_its_group() -> None:
    spec = tree(needs("x", "qa#1"), replica("qa", 0), replica("qa", 1))
    assert shown(arranged(spec)) == "qa#0 qa#1 x(qa#0,qa#1)"


def test_a_part_is_below_its_owner() -> None:
    spec = tree(needs("x", "qa/retriever"), child("qa", kind=Kind.MODULE))
    assert shown(arranged(spec)) == "qa x(qa)"


def test_a_target_that_is_not_there_orders_nothing() -> None:
    assert shown(arranged(tree(needs("x", "elsewhere"), child("y")))) == "x y"


def test_a_circle_is_refused_with_its_path_as_written() -> None:
    spec = tree(supervisor("s", needs("a", "s/b"), needs("b", "s/c"), needs("c", "s/a")))
    with pytest.raises(ConfigError, match=r"depends_on has a cycle: s/a -> b -> s/c -> s/a$"):
        arranged(spec, {("s/a", "s/b"): "b"})


def test_a_circle_of_supervisors_names_the_children_that_make_it() -> None:
    spec = tree(supervisor("s", needs("a", "t/b"), child("d")), supervisor("t", child("b"), needs("c", "s/d")))
    with pytest.raises(ConfigError, match="cycle: s -> t -> s, by s/a -> t/b, t/c -> s/d"):
        arranged(spec)


# one that is added


@pytest.mark.parametrize(
    ("full_id", "targets", "after"),
    [
        ("x", ["a"], {"a"}),
        ("x", ["s/deep/b", "gone"], {"s"}),
        ("x", ["qa"], {"qa#0", "qa#1"}),
        ("x", ["qa#1/part"], {"qa#1"}),
        ("s/x", ["a", "s2/b"], set()),
        ("x", ["x/part"], set()),
    ],
)
def test_one_that_is_added_comes_after_the_siblings_it_depends_on(full_id: str, targets: list[str], after: set[str]) -> None:
    siblings = [child("a"), supervisor("s"), replica("qa", 0), replica("qa", 1), child("x")]
    assert after_of(full_id, targets, siblings) == after


def test_below_a_supervisor_the_siblings_are_those_there() -> None:
    siblings = [child("a"), child("b"), replica("s/qa", 0)]
    assert after_of("s/x", ["s/a", "b", "t/b", "s/qa"], siblings) == {"a", "qa#0"}


# names


SPEC = tree(
    supervisor("s", child("a", kind=Kind.MODULE), child("b"), replica("s/qa", 0)),
    supervisor("t", child("b"), child("c")),
    child("d"),
)


NAMES = NameIndex(map(FullId, ("s", "s/a", "s/b", "s/qa#0", "s/qa", "t", "t/b", "t/c", "d")))
OWNERS = {"s/a", "s/qa#0", "s/qa"}


def test_a_tree_knows_its_children_and_groups() -> None:
    assert [full_id for full_id, _ in walk(SPEC)] == ["s", "s/a", "s/b", "s/qa#0", "t", "t/b", "t/c", "d"]
    assert groups_of(SPEC) == {"s/qa#0": "s/qa"}
    assert [str(edge.written) for edge in edges_of(tree(needs("x", "s/y")), {("x", "s/y"): "y"})] == ["y"]


@pytest.mark.parametrize(
    ("written", "source", "target"),
    [
        ("a", "d", "s/a"),
        ("s/b", "d", "s/b"),
        ("qa", "d", "s/qa"),
        ("qa#0", "d", "s/qa#0"),
        ("t", "d", "t"),
        ("s/a/part", "d", "s/a/part"),
        ("s/qa/part/of", "d", "s/qa/part/of"),
    ],
)
def test_an_id_is_a_full_one_or_one_that_only_one_child_has(written: str, source: str, target: str) -> None:
    assert resolve(written, source, NAMES, OWNERS) == target


REFUSED = [
    ("b", "d", "'b' is ambiguous: s/b, t/b; use the full id"),
    ("s/aa", "d", "no such id: 's/aa'"),
    ("t/c/part", "d", "no such id: 't/c/part'"),
    ("d", "d", "'d' cannot depend on itself"),
    ("qa", "s/qa", "'s/qa' cannot depend on itself"),
    ("s", "s/a", "'s/a' cannot depend on 's', which it is part of"),
    ("s/a", "s", "'s' cannot depend on 's/a', which is part of it"),
    ("s/a/part", "s/a", "'s/a' cannot depend on 's/a/part', which is part of it"),
]


@pytest.mark.parametrize(("written", "source", "text"), REFUSED)
def test_what_cannot_be_depended_on_is_refused(written: str, source: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(written, source, NAMES, OWNERS)
    assert text in str(caught.value)


def test_an_unknown_id_names_what_it_may_have_been() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("s/aa", "d", NAMES)
    assert "did you mean s/a" in (caught.value.hint or "")
