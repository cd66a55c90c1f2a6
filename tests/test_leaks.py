"""The leak check itself: what is left behind is named."""

from __future__ import annotations

import _thread
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from helpers.leaks import Footprint, Threads
from helpers.waiting import PATIENCE_S, wait_until


def test_nothing_new_is_no_leak() -> None:
    assert Footprint.take().leaks_since(timeout_s=0) == []


def test_a_process_is_named_and_killed() -> None:
    before = Footprint.take()
    process = subprocess.Popen(["sleep", "1000"])
    (leak,) = before.leaks_since(timeout_s=0)
    assert f"process {process.pid}" in leak
    assert "sleep 1000" in leak
    assert process.wait() == -9


def test_a_process_that_ends_in_time_is_no_leak() -> None:
    before = Footprint.take()
    process = subprocess.Popen(["true"])
    leaks = before.leaks_since(timeout_s=20)
    process.wait()
    assert leaks == []


def test_what_a_process_of_before_starts_is_its_own() -> None:
    with subprocess.Popen(["sh", "-c", "read go; sleep 1000 & echo $!; wait"], stdin=-1, stdout=-1, text=True) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        before = Footprint.take()
        print("go", file=shell.stdin, flush=True)
        child = int(shell.stdout.readline())
        assert before.leaks_since(timeout_s=0) == []
        os.kill(child, 9)


def test_a_descriptor_is_named_by_its_target() -> None:
    before = Footprint.take()
    fds = [os.memfd_create("leaked") for _ in range(2)]
    assert before.leaks_since(timeout_s=0) == ["descriptor /memfd:leaked (deleted), 2 more"]
    for fd in fds:
        os.close(fd)


def test_threads_are_named_unless_they_are_a_librarys_daemons() -> None:
    before = Footprint.take()
    release = threading.Event()
    threads = [
        threading.Thread(target=release.wait, name="worker"),
        threading.Thread(target=release.wait, name="dspex-control", daemon=True),
        threading.Thread(target=release.wait, name="library", daemon=True),
    ]
    for thread in threads:
        thread.start()
    leaks = before.leaks_since(timeout_s=0)
    release.set()
    for thread in threads:
        thread.join()
    assert sorted(leaks) == ["thread 'dspex-control' (daemon: True)", "thread 'worker' (daemon: False)"]


def start_bare(function: Callable[..., object]) -> Threads:
    """Start a thread that `threading` does not know; return what there was before."""
    before = Threads.take()
    _thread.start_new_thread(function, ())
    return before


def wait_for_a_lock(lock: _thread.LockType) -> None:
    lock.acquire()


def become_known(lock: _thread.LockType) -> None:
    threading.current_thread()
    lock.acquire()


BARE: dict[str, tuple[Callable[[_thread.LockType], Callable[..., object]], str]] = {
    "of Python": (lambda lock: partial(wait_for_a_lock, lock), "in wait_for_a_lock ("),
    "of C": (lambda lock: lock.acquire, "in C code"),
    "that threading came to know": (lambda lock: partial(become_known, lock), "in become_known ("),
}


@pytest.mark.parametrize(("function", "place"), BARE.values(), ids=BARE)
def test_a_thread_that_threading_did_not_start_is_named_by_its_task_and_place(
    function: Callable[[_thread.LockType], Callable[..., object]], place: str
) -> None:
    lock = _thread.allocate_lock()
    lock.acquire()
    before = start_bare(function(lock))
    wait_until(lambda: before.leaks_since(deadline=0), what="the thread to run")
    if "C code" not in place:
        wait_until(lambda: place in before.leaks_since(deadline=0)[0], what="the thread to be in Python code")
    (leak,) = before.leaks_since(deadline=0)
    (task,) = Threads.take().tasks - before.tasks
    assert leak.startswith(f"thread {task} '")
    assert place in leak
    lock.release()
    assert before.leaks_since(deadline=time.monotonic() + PATIENCE_S) == []


def test_several_of_them_are_counted() -> None:
    lock = _thread.allocate_lock()
    lock.acquire()
    before = start_bare(lock.acquire)
    _thread.start_new_thread(lock.acquire, ())
    wait_until(lambda: "2 threads among" in "".join(before.leaks_since(deadline=0)), what="both threads")
    lock.release()
    wait_until(lambda: "2 threads" not in "".join(before.leaks_since(deadline=0)), what="one of them to end")
    lock.release()
    assert before.leaks_since(deadline=time.monotonic() + PATIENCE_S) == []


def test_a_thread_of_a_library_in_c_is_no_leak() -> None:
    before = Threads.take()
    assert replace(before, tasks=before.tasks - {max(before.tasks)}).leaks_since(deadline=0) == []
