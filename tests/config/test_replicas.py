"""Rules of how one child becomes several."""

from __future__ import annotations

from dspex_runtime.config.replicas import expanded, numbered
from dspex_runtime.core.child_spec import ChildSpec, Replica
from dspex_runtime.types import ChildId, Kind, RestartType

CHILD = ChildSpec(ChildId("qa"), Kind.MODULE, restart=RestartType.TRANSIENT, metadata={"team": "search"})


def test_the_replicas_are_numbered_from_0() -> None:
    assert [child.id for child in expanded(CHILD, 3, True, "")] == ["qa#0", "qa#1", "qa#2"]


def test_a_replica_knows_its_group_by_its_full_id() -> None:
    assert [child.replica for child in expanded(CHILD, 2, False, "sup/sub")] == [
        Replica("sup/sub/qa", 0, shares=False),
        Replica("sup/sub/qa", 1, shares=False),
    ]


def test_all_else_is_as_it_was_written() -> None:
    (only,) = expanded(CHILD, 1, True, "")
    assert (only.kind, only.restart, only.metadata) == (Kind.MODULE, RestartType.TRANSIENT, {"team": "search"})


def test_none_is_no_child() -> None:
    assert expanded(CHILD, 0, True, "") == ()


def test_the_next_one_is_like_those_before() -> None:
    assert numbered(CHILD, 2, True, "sup") == expanded(CHILD, 3, True, "sup")[2]
