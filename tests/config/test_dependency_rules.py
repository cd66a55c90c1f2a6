"""What `depends_on` names: every id is one, by its line; circles are refused with their path; full ids and start order come out."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.config import normalize, parse, parse_child
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.core.child_spec import ChildSpec, Dependency, SupervisorSpec
from dspex_runtime.core.dependency_order import walk
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import OnDown


def server(id: str, *depends_on: str, **keys: Any) -> dict[str, Any]:
    return {"id": id, "server": "p:C", **({"depends_on": list(depends_on)} if depends_on else {}), **keys}


def module(id: str, depends_on: Any = (), **keys: Any) -> dict[str, Any]:
    return {"id": id, "module": "p:C", "depends_on": depends_on, **keys}


def group(id: str, *children: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"id": id, "supervisor": {**keys, "children": list(children)}}


def spec(*children: dict[str, Any]) -> RuntimeSpec:
    return parse({"tree": {"children": list(children)}})


def problems(*children: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        spec(*children)
    return [problem.removeprefix("tree.children") for problem in caught.value.problems]


def order(tree: SupervisorSpec) -> list[str]:
    return [str(child.id) for child in tree.children]


def after(tree: SupervisorSpec) -> dict[str, list[str]]:
    return {str(child.id): sorted(child.after) for child in tree.children if child.after}


# what comes out


def test_children_come_in_start_order_and_else_in_that_of_the_list() -> None:
    tree = spec(server("a", "d"), server("b"), server("c", "b"), server("d"), server("e")).tree
    assert order(tree) == ["b", "c", "d", "a", "e"]
    assert after(tree) == {"a": ["d"], "c": ["b"]}


def test_without_dependencies_nothing_is_after_anything() -> None:
    tree = spec(server("a"), group("g", server("b"))).tree
    assert (order(tree), after(tree)) == (["a", "g"], {})


def test_bare_ids_become_full_ones() -> None:
    tree = spec(
        module("qa", {"retriever": {"on_down": "degrade", "fallback": "spare"}}), group("g", server("retriever"), module("spare"))
    ).tree
    assert order(tree) == ["g", "qa"]
    assert tree.children[1].depends_on == {"g/retriever": Dependency(OnDown.DEGRADE, "g/spare")}
    assert tree.children[1].after == {"g"}


def test_an_edge_orders_the_supervisors_that_its_ends_are_below() -> None:
    tree = spec(group("left", group("deep", server("x", "y"), server("z"))), group("right", server("y"))).tree
    assert (order(tree), after(tree)) == (["right", "left"], {"left": ["right"]})
    (deep,) = tree.children[1].supervisor.children  # type: ignore[union-attr]
    assert deep.after == frozenset()


def test_a_supervisor_is_something_to_depend_on() -> None:
    tree = spec(server("a", "g"), group("g", server("b"))).tree
    assert (order(tree), after(tree)) == (["g", "a"], {"a": ["g"]})


def test_a_group_is_all_its_replicas() -> None:
    tree = spec(module("qa", ["store"], replicas=2), server("store", replicas=3), server("last", "qa")).tree
    assert order(tree) == ["store#0", "store#1", "store#2", "qa#0", "qa#1", "last"]
    assert after(tree)["qa#0"] == after(tree)["qa#1"] == ["store#0", "store#1", "store#2"]
    assert after(tree)["last"] == ["qa#0", "qa#1"]
    assert tree.children[3].depends_on == {"store": Dependency()}


def test_one_replica_may_be_named_and_is_started_with_its_group() -> None:
    tree = spec(server("a", "store#1"), server("store", replicas=2)).tree
    assert after(tree) == {"a": ["store#0", "store#1"]}
    assert tree.children[2].depends_on == {"store#1": Dependency()}


def test_a_part_of_another_may_be_named() -> None:
    tree = spec(server("a", "qa/retriever"), module("qa")).tree
    assert (order(tree), after(tree)) == (["qa", "a"], {"a": ["qa"]})
    assert tree.children[1].depends_on == {"qa/retriever": Dependency()}


def test_what_normalised_is_in_the_files_order_with_full_ids_and_normalises_to_itself() -> None:
    once = normalize({"tree": {"children": [server("a", "b"), group("g", server("b"))]}})
    assert [child["id"] for child in once["tree"]["children"]] == ["a", "g"]
    assert once["tree"]["children"][0]["depends_on"] == {"g/b": {"on_down": "wait"}}
    assert normalize(once) == once


def test_a_fallback_of_a_part_is_a_full_id() -> None:
    children = [module("qa", parts={"x": {"on_down": "degrade", "fallback": "spare"}}), group("g", module("spare"))]
    parts = spec(*children).tree.children[0].parts
    assert parts is not None
    assert parts.overrides["x"]["fallback"] == "g/spare"


# what is wrong


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        (
            [server("a", "retreiver"), server("retriever")],
            "[0].depends_on.retreiver: no such id: 'retreiver'; did you mean retriever?",
        ),
        ([server("a", "b"), group("g", server("b")), group("h", server("b"))], "'b' is ambiguous: g/b, h/b; use the full id"),
        ([server("a", "a")], "[0].depends_on.a: 'a' cannot depend on itself"),
        ([server("a", "a#1", replicas=2)], "depends_on.a#1"),
        (
            [group("g", server("a", "g"))],
            "[0].supervisor.children[0].depends_on.g: 'g/a' cannot depend on 'g', which it is part of",
        ),
        (
            [server("a", "b", "g/b"), group("g", server("b"))],
            "[0].depends_on.g/b: found 'g/b', which is 'b' again; allowed: each once",
        ),
        ([server("a", "ghost/x")], "[0].depends_on.ghost/x: no such id: 'ghost/x'"),
        (
            [module("a", {"b": {"on_down": "degrade", "fallback": "ghost"}}), server("b")],
            "[0].depends_on.b.fallback: no such id: 'ghost'",
        ),
        (
            [module("a", {"b": {"on_down": "degrade", "fallback": "b"}}), server("b")],
            "[0].depends_on.b.fallback: found 'b', which is what is down; allowed: another module",
        ),
        ([module("a", {"b": {"on_down": "degrade", "fallback": "a"}}), server("b")], "[0].depends_on.b.fallback: 'a' cannot"),
        (
            [module("a", {"b": {"on_down": "degrade", "fallback": "g"}}), server("b"), group("g")],
            "[0].depends_on.b.fallback: found 'g', a supervisor; allowed: what answers calls, a module or a server",
        ),
        (
            [{**server("a"), "depends_on": {"b": "degrade"}}, server("b")],
            "[0].depends_on.b: found on_down: degrade on a server; allowed: with a fallback, as a server has no forward_degraded",
        ),
        ([module("qa", parts={"x": {"on_down": "degrade", "fallback": "ghost"}})], "[0].parts.x.fallback: no such id: 'ghost'"),
        (
            [server("a", register="k", replicas=2)],
            "[0].register: found with replicas; allowed: without, as a key names one process",
        ),
    ],
)
def test_every_wrong_id_is_told(children: list[dict[str, Any]], expected: str) -> None:
    (found,) = problems(*children)
    assert expected in found


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ([server("a", "b"), server("b", "a")], "a -> b -> a"),
        ([server("a", "b"), server("b", "c"), server("c", "a")], "a -> b -> c -> a"),
        ([server("a", "s/b"), group("s", server("b", "a"))], "a -> s/b -> a"),
        ([module("a", ["b"], replicas=2), server("b", "a")], "a -> b -> a"),
        (
            [group("s", server("a", "d"), server("b")), group("t", server("c", "b"), server("d"))],
            "s -> t -> s, by s/a -> t/d, t/c -> s/b",
        ),
    ],
)
def test_a_circle_is_refused_with_its_path(children: list[dict[str, Any]], expected: str) -> None:
    (found,) = problems(*children)
    assert f"found a cycle: {expected}; allowed" in found


# one child of a running runtime


def present() -> list[tuple[str, ChildSpec]]:
    others = spec(group("g", server("store", replicas=2)), module("qa")).tree
    return list(walk(others))


def child(keys: dict[str, Any], at: str = "g") -> ChildSpec:
    return parse_child(keys, spec=RuntimeSpec(base_dir="/"), at=at, present=present)


def test_a_child_depends_on_what_there_is() -> None:
    assert child(server("a", "store", "qa/retriever")).depends_on == {"g/store": Dependency(), "qa/retriever": Dependency()}
    with pytest.raises(ConfigError, match=r"no such id: 'stor'.*store"):
        child(server("a", "stor"))
    with pytest.raises(ConfigError, match="'g/a' cannot depend on 'g', which it is part of"):
        child(server("a", "g"))


def test_below_a_child_things_depend_on_each_other_and_are_put_in_order() -> None:
    spec = child(group("h", server("a", "b"), server("b", "store")))
    assert spec.supervisor is not None
    assert (order(spec.supervisor), after(spec.supervisor)) == (["b", "a"], {"a": ["b"]})
    assert spec.supervisor.children[1].depends_on == {"g/h/b": Dependency()}


def test_nobody_is_asked_where_nothing_depends_on_anything() -> None:
    def asked() -> list[tuple[str, ChildSpec]]:
        raise AssertionError("asked")

    assert parse_child(server("a"), spec=RuntimeSpec(base_dir="/"), present=asked).depends_on == {}


def test_one_child_is_no_group() -> None:
    with pytest.raises(ConfigError, match="replicas: found where one child is meant"):
        child(server("a", replicas=2))


def test_every_circle_is_told() -> None:
    found = problems(server("a", "b"), server("b", "a"), server("c", "d"), server("d", "c"))
    assert [problem.partition("cycle: ")[2].partition(";")[0] for problem in found] == ["a -> b -> a", "c -> d -> c"]


def test_every_mistake_has_its_own_line(check: Any) -> None:
    found = check(
        """\
tree:
  children:
    - id: a
      server: p:C
      depends_on:
        - ghost
        - b
    - id: b
      server: p:C
      depends_on:
        a: fail
        bb: wait
"""
    ).problems
    assert [problem.partition(":")[2].partition(": ")[0] for problem in found] == ["6:11", "7:11", "12:9"]
    assert "depends_on[0]: no such id: 'ghost'" in found[0]
    assert "depends_on[1]: found a cycle: a -> b -> a" in found[1]
    assert "depends_on.bb: no such id: 'bb'; did you mean b?" in found[2]


def test_a_child_that_is_wrong_itself_can_be_depended_on(check: Any) -> None:
    found = check("tree: {children: [{id: a, server: 'p:C', depends_on: [b]}, {id: b, server: 'none.py:X', restart: x}]}").problems
    assert [problem.partition("children")[2].partition(":")[0] for problem in found] == ["[1].server", "[1].restart"]
