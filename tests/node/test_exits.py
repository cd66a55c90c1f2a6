"""Ends that are told together: whoever depends on what is just dying is not started for nothing."""

from __future__ import annotations

from helpers.fake_tree import FakeProcess, FakeTree, needing, worker


def dying(tree: FakeTree, id: str) -> int:
    """Have a process die without anybody having heard of it."""
    pid = tree.process(id).pid
    assert pid is not None
    FakeProcess.zombies.add(pid)
    return pid


def test_the_end_of_one_that_depends_on_nothing_waits_for_nobody(tree: FakeTree) -> None:
    tree.boot(worker("y"), worker("x"))
    dying(tree, "y")
    tree.crash("x")
    assert tree.launcher.did()[2:] == ["start x"]


def test_one_whose_dependency_is_just_dying_is_not_started_before_that_is_told(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="restart"))
    pid = dying(tree, "y")
    tree.crash("x")
    assert tree.launcher.did()[2:] == []
    FakeProcess.zombies.discard(pid)
    tree.crash("y")
    assert tree.launcher.did() == ["start y", "start x"]


def test_one_that_died_with_what_it_is_stopped_for_is_restarted(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="stop"))
    pid = dying(tree, "x")
    tree.crash("y")
    assert tree.launcher.did()[2:] == []
    FakeProcess.zombies.discard(pid)
    tree.crash("x")
    assert tree.launcher.did() == ["start y", "start x"]
    assert tree.shown() == {"y": "READY", "x": "READY"}


def test_one_that_does_not_die_holds_nobody_up_for_long(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="wait"))
    dying(tree, "y")
    tree.crash("x")
    tree.advance(1.0)
    assert tree.launcher.did()[2:] == ["start x"]  # as far as anybody knows, what it needs is up


def test_what_fails_or_degrades_does_not_wait(tree: FakeTree) -> None:
    tree.boot(worker("y"), needing(worker("x"), y="fail"))
    dying(tree, "y")
    tree.crash("x")
    assert tree.launcher.did()[2:] == ["start x"]
