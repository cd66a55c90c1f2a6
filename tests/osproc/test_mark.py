"""Marks: unique per child, readable from outside, and only a run's own are killed."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from dspex_runtime.osproc import lifeline
from dspex_runtime.osproc.mark import BLANK, VARIABLE, Marker, kill_marked, read_mark, run_of


def start(mark: str | None) -> subprocess.Popen[bytes]:
    env = {"PATH": os.environ["PATH"], "A": "1", **({VARIABLE: mark} if mark else {}), "Z": "2"}
    return subprocess.Popen(["sleep", "1000"], env=env, start_new_session=True)


def test_a_run_is_named_by_its_lifeline() -> None:
    (a, a_write), (b, b_write) = lifeline.create(), lifeline.create()
    own = lifeline.reopen(a)
    assert run_of(a) == run_of(own) != run_of(b)
    for fd in (a, a_write, b, b_write, own):
        os.close(fd)


def test_a_mark_fits_the_blank_and_names_its_run() -> None:
    marker = Marker("000000012345")
    marks = [marker.mark(number) for number in (1, 2, 10**11)]
    assert len(set(marks)) == 3
    assert {len(mark) for mark in marks} == {len(BLANK)}
    assert all(map(marker.of_this_run, marks))
    assert not marker.of_this_run(BLANK)
    assert not Marker("000000012346").of_this_run(marks[0])


@pytest.mark.process
def test_only_processes_marked_by_the_run_are_killed() -> None:
    run = "999999999991"
    ours, others, unmarked, blank = (
        start(f"{run}.00000001.000000000001"),
        start("999999999992.00000001.000000000001"),
        start(None),
        start(BLANK),
    )
    assert read_mark(ours.pid) == f"{run}.00000001.000000000001"
    assert read_mark(unmarked.pid) is None
    assert kill_marked(run, keep=(ours.pid,)) == 0
    assert kill_marked(run) == 1
    assert ours.wait() == -signal.SIGKILL
    assert [process.poll() for process in (others, unmarked, blank)] == [None] * 3
    for process in (others, unmarked, blank):
        process.kill()
        process.wait()
    assert read_mark(ours.pid) is None


@pytest.mark.process
def test_a_zygote_is_not_killed_for_its_latest_childs_mark() -> None:
    run = "999999999993"
    process = subprocess.Popen(
        ["sh", "-c", f'exec env {VARIABLE}={run}.$(printf %08d $$).000000000001 sh -c "echo on; exec sleep 1000"'],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    assert kill_marked(run) == 0
    process.kill()
    process.wait()
    process.stdout.close()
