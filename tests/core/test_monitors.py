import pytest

from dspex_runtime.core.monitors import MonitorTable, Notice
from dspex_runtime.types import FullId, Incarnation

A, B = FullId("a"), FullId("b")
ONE, TWO = Incarnation(1), Incarnation(2)


def table() -> MonitorTable[str]:
    monitors: MonitorTable[str] = MonitorTable()
    monitors.monitor(1, A, ONE, "x")
    monitors.monitor(2, A, ONE, "x")
    monitors.monitor(1, A, ONE, "y")
    monitors.monitor(3, B, ONE, "x")
    return monitors


def test_every_monitor_of_that_incarnation_gets_one_notice_in_order() -> None:
    monitors = table()
    assert monitors.down(A, ONE, "killed") == [
        Notice("x", 1, A, ONE, "killed"),
        Notice("x", 2, A, ONE, "killed"),
        Notice("y", 1, A, ONE, "killed"),
    ]
    assert monitors.down(A, ONE, "killed") == []
    assert len(monitors) == 1


def test_a_monitor_is_bound_to_its_incarnation() -> None:
    assert table().down(A, TWO, "killed") == []


def test_after_demonitor_there_is_no_notice_and_it_tells_whether_it_was_there() -> None:
    monitors = table()
    assert monitors.demonitor(1, "x")
    assert not monitors.demonitor(1, "x")
    assert [(notice.owner, notice.ref) for notice in monitors.down(A, ONE, "normal")] == [("x", 2), ("y", 1)]


def test_nobody_removes_the_monitor_of_another_owner() -> None:
    monitors = table()
    assert not monitors.demonitor(2, "y")
    assert not monitors.demonitor(1, "stranger")


def test_the_monitors_of_an_owner_go_with_it() -> None:
    monitors = table()
    assert monitors.owner_gone("x") == 3
    assert monitors.owner_gone("x") == 0
    assert [notice.owner for notice in monitors.down(A, ONE, "normal")] == ["y"]
    assert len(monitors) == 0


def test_a_ref_of_an_owner_is_used_once_at_a_time() -> None:
    monitors = table()
    with pytest.raises(ValueError, match="monitor 1 already"):
        monitors.monitor(1, B, ONE, "x")
    monitors.demonitor(1, "x")
    monitors.monitor(1, B, ONE, "x")


def test_monitors_that_move_keep_their_refs_and_their_place() -> None:
    monitors = table()
    assert monitors.refs(A, ONE, "x") == [1, 2]
    monitors.moved("x", "z")
    assert (monitors.refs(A, ONE, "x"), monitors.refs(A, ONE, "z"), len(monitors)) == ([], [1, 2], 4)
    assert [(notice.owner, notice.ref) for notice in monitors.down(A, ONE, "killed")] == [("z", 1), ("z", 2), ("y", 1)]
    assert monitors.owner_gone("x") == 0
    assert monitors.owner_gone("z") == 1


def test_who_has_none_has_none_to_move() -> None:
    monitors = table()
    monitors.moved("nobody", "z")
    assert (len(monitors), monitors.owner_gone("z")) == (4, 0)


def test_nobody_gets_monitors_under_refs_of_its_own() -> None:
    monitors = table()
    with pytest.raises(ValueError, match="'y' has monitors"):
        monitors.moved("x", "y")
    assert [(notice.owner, notice.ref) for notice in monitors.down(A, ONE, "killed")] == [("x", 1), ("x", 2), ("y", 1)]
