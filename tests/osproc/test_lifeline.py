"""The lifeline: cut by the last write end, kills the group, and is nobody's to keep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from dspex_runtime.osproc import lifeline
from helpers.waiting import wait_gone, wait_readable

MODULE = """
import os, re, signal, sys
from dspex_runtime.osproc import lifeline
os.setpgid(0, 0)
lifeline.{how}({fd})
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"armed\\n")
re.match(r"(a+)+$", "a" * 40 + "b")
"""


def test_a_lifeline_is_whole_until_its_write_end_is_closed() -> None:
    read_fd, write_fd = lifeline.create()
    assert not lifeline.is_cut(read_fd)
    assert not os.get_inheritable(read_fd)
    assert not os.get_inheritable(write_fd)
    os.close(write_fd)
    assert lifeline.is_cut(read_fd)
    os.close(read_fd)


@pytest.mark.process
def test_cutting_kills_a_group_whose_members_hold_their_gil() -> None:
    read_fd, write_fd = lifeline.create()
    process = start(read_fd)
    assert process.stdout is not None
    assert process.stdout.readline() == "armed\n"
    assert process.stdout.readline() == "armed\n"
    os.close(write_fd)
    assert process.wait() == -signal.SIGKILL
    assert process.stdout.read() == ""  # the grandchild let go of it too
    process.stdout.close()
    os.close(read_fd)


@pytest.mark.process
def test_arming_after_the_cut_kills_at_once() -> None:
    read_fd, write_fd = lifeline.create()
    os.close(write_fd)
    process = start(read_fd)
    assert process.wait() == -signal.SIGKILL
    assert process.stdout is not None
    assert process.stdout.read() == ""
    process.stdout.close()
    os.close(read_fd)


@pytest.mark.process
def test_groups_on_one_lifeline_have_owners_of_their_own() -> None:
    read_fd, write_fd = lifeline.create()
    processes = [start(read_fd) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert wait_readable(process.stdout.fileno())
        process.stdout.readline()
    os.killpg(processes[0].pid, signal.SIGKILL)
    assert processes[0].wait() == -signal.SIGKILL
    assert wait_gone([processes[1].pid], timeout_s=0) == [processes[1].pid]
    os.close(write_fd)
    assert [process.wait() for process in processes] == [-signal.SIGKILL] * 3
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    os.close(read_fd)


def start(read_fd: int) -> subprocess.Popen[str]:
    source = MODULE.format(how="arm", fd=read_fd)
    return subprocess.Popen([sys.executable, "-c", source], pass_fds=[read_fd], stdout=subprocess.PIPE, text=True)
