"""A tree of specs with one of them changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dspex_runtime.config.spec_tree import child_at, supervisor_at, with_child, with_supervisor, without_child
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.types import ChildId, Kind


def leaf(id: str, version: str | None = None) -> ChildSpec:
    return ChildSpec(ChildId(id), Kind.SERVER, version=version)


def node(id: str, *children: ChildSpec) -> ChildSpec:
    return ChildSpec(ChildId(id), Kind.SUPERVISOR, supervisor=SupervisorSpec(children=children))


TREE = SupervisorSpec(children=(leaf("a"), node("g", leaf("b"), node("h", leaf("c"))), leaf("z")))


def ids(tree: SupervisorSpec, path: str = "") -> list[str]:
    found = supervisor_at(tree, path)
    assert found is not None
    return [str(child.id) for child in found.children]


def test_looks_by_full_id() -> None:
    assert (supervisor_at(TREE, ""), ids(TREE, "g/h")) == (TREE, ["c"])
    assert [child is not None for id in ("a", "g/h/c", "x", "g/x", "x/y", "a/b") for child in (child_at(TREE, id),)] == [
        *(True, True), *(False,) * 4,
    ]  # fmt: skip
    assert supervisor_at(TREE, "a") is None


def test_a_child_takes_the_place_of_its_like() -> None:
    tree = with_child(TREE, "g/h/c", leaf("c", "2"))
    assert (child := child_at(tree, "g/h/c")) is not None
    assert child.version == "2"
    assert (ids(tree), ids(tree, "g")) == (["a", "g", "z"], ["b", "h"])
    assert child_at(TREE, "g/h/c") == leaf("c"), "the old tree is as it was"


def test_a_new_one_stands_where_it_is_to() -> None:
    assert ids(with_child(TREE, "n", leaf("n"))) == ["a", "g", "z", "n"]
    assert ids(with_child(TREE, "n", leaf("n"), ["n", "z", "a"])) == ["n", "z", "a", "g"]


def test_goes_without_a_child_and_without_complaint() -> None:
    assert ids(without_child(TREE, "g/h"), "g") == ["b"]
    assert without_child(TREE, "x/y") == TREE
    assert without_child(TREE, "x") == TREE


def test_a_supervisor_has_another_spec() -> None:
    other = SupervisorSpec(max_restarts=9)
    assert supervisor_at(with_supervisor(TREE, "g/h", other), "g/h") == other
    assert with_supervisor(TREE, "", other) == other


@pytest.mark.parametrize("id", ["x/y", "a/b"])
def test_nothing_is_put_where_there_is_no_supervisor(id: str) -> None:
    with pytest.raises(KeyError):
        with_child(TREE, id, leaf("y"))
    with pytest.raises(KeyError):
        with_supervisor(TREE, id, replace(TREE))
