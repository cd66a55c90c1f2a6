"""Specs of children on their way to a supervisor: judged by it, and given an id where a dynamic one does that."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.core import events
from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.errors import ConfigError, NoProcessError, SupervisorError
from dspex_runtime.node.operations.adoption import adopted, path_of, spec_at
from helpers.fake_node import FakeNode, server

POOL: dict[str, Any] = {"id": "pool", "supervisor": {"dynamic": True}}
COUNTING: dict[str, Any] = {"id": "all", "supervisor": {"auto_shutdown": "all_significant", "children": []}}
SIGNIFICANT = server("a", restart="transient", significant=True)


def adopt(runtime: FakeNode, given: dict[str, Any], path: str | None = "pool", **options: Any) -> str:
    """Adopt and start a child; return its id."""
    child: ChildSpec = adopted(runtime.node, given, path, **options)
    assert runtime.node.supervision is not None
    if path is not None:
        runtime.node.supervision.ask(path, lambda request: events.StartChildAsked(request, child), lambda *_: None)
        runtime.turn()
    return child.id


def test_a_supervisor_is_found_by_its_id(runtime: FakeNode) -> None:
    runtime.boot({"id": "g", "supervisor": {"children": [POOL]}}, server("a"), max_restarts=7)
    assert [path_of(runtime.node, id) for id in (None, "root", "pool")] == ["", "", "g/pool"]
    assert spec_at(runtime.node, "").max_restarts == 7
    assert spec_at(runtime.node, "g/pool").dynamic
    with pytest.raises(NoProcessError):
        path_of(runtime.node, "nobody")
    with pytest.raises(SupervisorError):
        path_of(runtime.node, "a")


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ({"server": "pkg.mod:WebSearch"}, ["web_search#1", "web_search#2"]),
        ({"module": "pkg.mod:QA"}, ["qa#1", "qa#2"]),
        ({"server": "pkg.mod:Root"}, ["root#1", "root#2"]),
        ({"supervisor": {}}, ["supervisor#1", "supervisor#2"]),
        ({"id": None, "server": "pkg.mod:Name"}, ["name#1", "name#2"]),
        ({"id": "w", "server": "pkg.mod:Name"}, ["w", "w#1", "w#2"]),
    ],
)
def test_1_11_an_id_that_is_missing_or_taken_is_made(runtime: FakeNode, given: dict[str, Any], ids: list[str]) -> None:
    runtime.boot(POOL)
    assert [adopt(runtime, given) for _ in ids] == ids
    assert {f"pool/{id}" for id in ids} <= set(runtime.shown())


def test_an_id_that_a_client_made_up_gives_way_to_one_of_ours(runtime: FakeNode) -> None:
    runtime.boot(POOL)
    assert adopt(runtime, server("counter-2"), named=False) == "name#1"


def test_an_id_is_not_made_twice_even_when_its_child_is_gone(runtime: FakeNode) -> None:
    runtime.boot(POOL)
    for number in (1, 2, 3):
        assert adopt(runtime, {"server": "pkg.mod:Name", "restart": "temporary"}) == f"name#{number}"
        runtime.crash(f"pool/name#{number}")
    assert runtime.shown() == {"pool": "READY"}


@pytest.mark.parametrize("path", ["", None])
def test_elsewhere_an_id_is_needed(runtime: FakeNode, path: str | None) -> None:
    runtime.boot(POOL)
    with pytest.raises(ConfigError, match="a child needs id:"):
        adopt(runtime, {"server": "pkg.mod:Name"}, path)


@pytest.mark.parametrize("id", ["w#1", "a/b", "root"])
def test_an_id_of_somebodys_own_is_checked_everywhere(runtime: FakeNode, id: str) -> None:
    runtime.boot(POOL)
    with pytest.raises(ConfigError, match="found"):
        adopt(runtime, server(id))


@pytest.mark.parametrize(
    ("path", "problem"),
    [("all", None), ("pool", "under a dynamic supervisor"), ("", "auto_shutdown: never"), (None, "auto_shutdown: never")],
)
def test_1_1_a_significant_child_needs_a_supervisor_that_counts_it(
    runtime: FakeNode, path: str | None, problem: str | None
) -> None:
    runtime.boot(POOL, COUNTING)
    if problem is None:
        assert adopted(runtime.node, SIGNIFICANT, path).significant
        return
    with pytest.raises(ConfigError, match=problem):
        adopted(runtime.node, SIGNIFICANT, path)


def test_a_supervisor_that_is_down_still_says_what_goes_with_it(runtime: FakeNode) -> None:
    runtime.boot(POOL, COUNTING)
    for id in ("pool", "all"):
        runtime.owner.begin("stop", id=id)
    assert adopted(runtime.node, SIGNIFICANT, "all").significant
    assert adopted(runtime.node, server("w"), "pool").id == "w"
    with pytest.raises(ConfigError):
        adopted(runtime.node, SIGNIFICANT, "pool")
