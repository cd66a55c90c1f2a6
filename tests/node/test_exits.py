"""Ends that are told together: whoever depends on what is just dying is not started for nothing."""

from __future__ import annotations

import pytest

from dspex_runtime.node import exits
from helpers.fake_tree import FakeProcess, FakeTree, group, needing, worker


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


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the pids that were looked at."""
    found: list[int] = []
    monkeypatch.setattr(exits, "is_dying", lambda pid: found.append(pid) or pid in FakeProcess.zombies)
    return found


def test_each_process_is_looked_at_once_however_many_ends_wait(
    tree: FakeTree, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [f"x{number}" for number in range(20)]
    tree.boot(group("s", worker("y"), worker("z")), *(needing(worker(id), s="wait") for id in ends), max_restarts=100)
    pid = dying(tree, "s/z")
    gathered: list[str] = []
    dependencies = tree.supervision.dependencies
    gather = dependencies.processes_of
    monkeypatch.setattr(dependencies, "processes_of", lambda each: gathered.append(each) or gather(each))
    tree.crash(*ends)
    assert sorted(reads) == sorted({tree.process(id).pid for id in ("s/y", "s/z")})
    assert gathered == ["s"]
    tree.launcher.did()
    tree.crash("s/y")  # what was seen dying is not looked at again
    assert reads.count(pid) == 1
    assert tree.launcher.did() == ["start s/y"]
    FakeProcess.zombies.discard(pid)
    tree.crash("s/z")
    assert sorted(tree.launcher.did()) == sorted(["start s/z", *(f"start {id}" for id in ends)])


def test_one_waits_for_each_of_those_that_are_dying(tree: FakeTree, reads: list[int]) -> None:
    tree.boot(worker("y"), worker("z"), needing(worker("x"), y="wait", z="wait"))
    pids = {id: dying(tree, id) for id in ("y", "z")}
    tree.crash("x")
    for id, pid in pids.items():
        assert "start x" not in tree.launcher.did()[3:]
        FakeProcess.zombies.discard(pid)
        tree.crash(id)
    assert tree.launcher.did()[-1] == "start x"
    assert max(reads.count(pid) for pid in pids.values()) == 1
