"""The leak check itself: what is left behind is named."""

from __future__ import annotations

import os
import subprocess
import threading

from helpers.leaks import Footprint


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
    assert leaks == ["thread 'worker' (daemon: False)", "thread 'dspex-control' (daemon: True)"]
