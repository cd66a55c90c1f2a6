"""Alive, a zombie, gone: told apart without reaping anything."""

from __future__ import annotations

import os
import signal

import pytest

from dspex_runtime.osproc.liveness import has_exited, is_dying


def test_this_process_lives() -> None:
    assert not has_exited(os.getpid())


@pytest.mark.process
def test_a_zombie_has_exited_and_so_has_what_was_reaped() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert has_exited(pid)
    os.waitpid(pid, 0)
    assert has_exited(pid)


@pytest.mark.process
def test_a_name_with_parentheses_does_not_confuse_it() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open("/proc/self/comm", "w") as comm:
            comm.write("a) Z (b")
        os.write(writer, b"x")
        signal.pause()
    try:
        assert os.read(reader, 1) == b"x"
        assert not has_exited(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


@pytest.mark.process
def test_what_was_killed_is_dying_before_it_has_exited_and_what_is_stopped_is_not() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, b"x")
        signal.pause()
    try:
        assert os.read(reader, 1) == b"x"
        assert not is_dying(pid)
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        assert not is_dying(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        assert is_dying(pid)  # whether it has come to it or not
        os.waitpid(pid, 0)
        assert is_dying(pid)
        os.close(reader)
        os.close(writer)
