"""Who died, once each, however many reported zombies are in the way. In a child process: P_ALL means all children."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dspex_runtime.osproc.reaper import wait_status
from helpers.fresh import run_fresh


@pytest.mark.process
def test_each_death_is_returned_once_and_stays_a_zombie_until_acknowledged() -> None:
    assert run_fresh("""
reaper = Reaper()
pids = [dead(fork(code)) for code in (0, 3, 7)]
for pid in pids: reaper.add(pid)
found = reaper.scan()
say(sorted(status >> 8 for _, status in found))
say(reaper.scan())
say([exited(pid) for pid in pids])
say([reaper.acknowledge(pid) for pid in pids])
say([exited(pid) for pid in pids])
say([reaper.acknowledge(pid) for pid in pids])
""") == [[0, 3, 7], [], [0, 3 << 8, 7 << 8], [True] * 3, [None] * 3, [False] * 3]


@pytest.mark.process
def test_with_many_children_those_behind_a_reported_zombie_are_found_after_its_acknowledgement_or_by_asking_everyone() -> None:
    assert run_fresh("""
reaper = Reaper(scan_at_once=0)
a, b, c, living = pids = [fork(None) for _ in range(4)]
for pid in pids: reaper.add(pid)
end(a)
say([reaper.scan() == [(a, 9)], reaper.behind])
end(b, c)
say([reaper.scan(), reaper.behind])
reaper.acknowledge(a)
say([reaper.scan() == [(b, 9)], reaper.behind])
say([reaper.scan(everyone=True) == [(c, 9)], reaper.behind])
say(reaper.live == {living})
end(living)
""") == [[True, True], [[], True], [True, True], [True, False], True]


@pytest.mark.process
def test_strays_are_reaped_and_not_returned() -> None:
    assert run_fresh("""
reaper = Reaper()
mine = dead(fork(4)); stray = dead(fork(5)); other = dead(fork(6))
reaper.add(other)
found = reaper.scan()                       # mine is unknown: a stray as well
say([found == [(other, 6 << 8)], reaper.strays, exited(mine), exited(stray)])
""") == [[True, 2, None, None]]


@pytest.mark.process
def test_strangers_are_returned_when_they_are_asked_for_and_kept_until_acknowledged() -> None:
    assert run_fresh("""
reaper = Reaper()
stray = dead(fork(5))
say([reaper.scan(strangers=True) == [(stray, 5 << 8)], reaper.scan(strangers=True), exited(stray) == 5 << 8])
say([reaper.acknowledge(stray), exited(stray), reaper.strays])
""") == [[True, [], True], [True, None, 0]]


@pytest.mark.process
def test_what_became_a_child_is_adopted_once_and_nobody_elses_is() -> None:
    assert run_fresh("""
reaper = Reaper()
a, b = dead(fork(5)), dead(fork(6))
say([reaper.adopt(a), reaper.adopt(1), reaper.live == {a}])
say([reaper.scan(strangers=True) == [(a, 5 << 8)], reaper.acknowledge(a)])
say([reaper.scan(strangers=True) == [(b, 6 << 8)], reaper.adopt(a), reaper.adopt(b), reaper.live == set()])
""") == [[True, False, True], [True, True], [True, False, False, True]]


@pytest.mark.process
def test_without_children_nothing_is_found() -> None:
    assert run_fresh("say([first_exited(), Reaper().scan(), exited(1)])") == [[None, [], None]]


@pytest.mark.process
@pytest.mark.parametrize("end", ["os._exit(0)", "os._exit(255)", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 11)"])
def test_wait_status_is_what_wait_would_have_said(end: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", f"import os; {end}"])
    result = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert result is not None
    code = process.wait()
    assert os.waitstatus_to_exitcode(wait_status(result)) == code
