"""What a module process has and has not when its entry function begins."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from dspex_runtime.osproc.board import BEGUN, RUNNING
from helpers.fake_runtime import HELPERS, FakeRuntime

pytestmark = pytest.mark.process


@pytest.fixture
def rt() -> Iterator[FakeRuntime]:
    with FakeRuntime() as runtime:
        assert runtime.spawn()[0] == "ready"
        yield runtime


def test_a_child_has_stdio_its_control_pipe_the_lifeline_and_the_board(rt: FakeRuntime) -> None:
    _, _, child = rt.fork(3)  # the third: nothing of its siblings either
    child.ask("reply(1)")
    folder = f"/proc/{child.pid}/fd"
    targets = {fd: os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
    names = [target.split(":")[0] for fd, target in targets.items() if int(fd) > 2]
    assert set(names) == {"/memfd", "pipe", "socket"}
    assert (names.count("pipe"), names.count("socket")) == (1, 1)
    assert targets["0"] == os.devnull


def test_a_child_leads_its_own_process_group(rt: FakeRuntime) -> None:
    child = rt.fork_one()
    assert child.ask("reply([os.getpgrp(), os.getppid()])") == [child.pid, rt.zygote.pid]
    assert os.getpgid(child.pid) == child.pid


def test_a_child_has_a_fresh_interpreters_signals(rt: FakeRuntime) -> None:
    source = """
import signal
have = {s: signal.getsignal(s) for s in signal.valid_signals() if s not in (9, 19)}
ignored = sorted(s for s, handler in have.items() if handler is signal.SIG_IGN)
caught = sorted(s for s, handler in have.items() if handler not in (signal.SIG_DFL, signal.SIG_IGN, None))
reply([ignored, caught, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), signal.set_wakeup_fd(-1)])
"""
    assert rt.fork_one().ask(source) == [[signal.SIGPIPE, signal.SIGXFSZ], [signal.SIGINT], [], -1]


def test_a_child_writes_to_the_board_of_the_runtime(rt: FakeRuntime) -> None:
    slots = [rt.board.allocate() for _ in range(2)]
    for slot, child in zip(slots, rt.fork(2), strict=True):
        child.ask(f"board.slot({slot}).set({BEGUN}, {slot} + 40); board.slot({slot}).set({RUNNING}, 2**64 - 1); reply(1)")
    assert [rt.board.slot(slot).get(BEGUN) for slot in slots] == [41, 42]
    assert rt.board.slot(2).get(RUNNING) == 2**64 - 1


def test_a_child_runs_no_exit_handler_of_the_zygote(rt: FakeRuntime, tmp_path: os.PathLike[str]) -> None:
    (folder := os.fspath(tmp_path))
    with open(f"{folder}/leaves_a_trace.py", "w") as file:
        file.write(f"import atexit, os\natexit.register(lambda: open({folder!r} + '/trace', 'a').write('%d\\n' % os.getpid()))\n")
    with FakeRuntime() as other:
        assert other.spawn(["leaves_a_trace"], path=[folder])[0] == "ready"
        child = other.fork_one()
        child.run("status = 0")
        assert other.end(child) == 0
        assert not os.path.exists(f"{folder}/trace")


def test_what_a_child_printed_is_flushed_before_it_leaves() -> None:
    log_fd = os.memfd_create("log")
    saved = os.dup(2)
    try:
        os.dup2(log_fd, 2)
        with FakeRuntime() as rt:
            rt.spawn()
            os.dup2(saved, 2)
            child = rt.fork_one()
            child.run("print('last words', end=''); status = 0")
            rt.end(child)
        assert os.pread(log_fd, 100, 0) == b"last words"
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(log_fd)


def test_marks_differ_between_children_and_are_seen_from_outside(rt: FakeRuntime) -> None:
    from dspex_runtime.osproc.mark import read_mark

    children = rt.fork(3)
    marks = [child.ask("reply(os.environ['DSPEX_FORK'])") for child in children]
    assert len(set(marks)) == 3
    assert [read_mark(child.pid) for child in children] == marks


def test_the_users_pythonpath_is_what_a_childs_programs_get(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import sys; reply([os.environ.get('PYTHONPATH'), 'DSPEX_PYTHONPATH' in os.environ, sys.path, sys.argv[1:]])"
    for own in (None, "/some/folder"):
        if own is None:
            monkeypatch.delenv("PYTHONPATH", raising=False)
        else:
            monkeypatch.setenv("PYTHONPATH", own)
        with FakeRuntime() as rt:
            rt.spawn()
            seen, leaked, path, argv = rt.fork_one().ask(source)
            assert (seen, leaked, argv) == (own, False, [])
            assert HELPERS in path
