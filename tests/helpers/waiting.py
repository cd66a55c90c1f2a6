"""Waiting for events of the operating system, with a bound, without sleeping in tests."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 20.0  # far beyond any passing run, so that a loaded machine does not fail a test


def wait_gone(pids: Iterable[int], *, timeout_s: float = PATIENCE_S) -> list[int]:
    """Wait until every pid is dead (a zombie counts) or unknown; return those still alive after the time-out."""
    deadline = time.monotonic() + timeout_s
    poller = select.poll()
    fds: dict[int, int] = {}
    try:
        for pid in pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            fds[fd] = pid
            poller.register(fd, select.POLLIN)
        while fds and (left_s := deadline - time.monotonic()) > 0:
            for fd, _ in poller.poll(left_s * 1000):
                poller.unregister(fd)
                del fds[fd]
                os.close(fd)
        return sorted(fds.values())
    finally:
        for fd in fds:
            os.close(fd)


def wait_readable(fd: int, *, timeout_s: float = PATIENCE_S) -> bool:
    """Wait until a descriptor is readable or at its end; False if the time passed."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


def wait_until(condition: Callable[[], T], *, timeout_s: float = PATIENCE_S, what: str = "") -> T:
    """Return the first true result of `condition`; for facts that nobody announces. Prefer waiting for an event.

    Raises:
        AssertionError: It stayed false until the time-out.
    """
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what or getattr(condition, '__name__', condition)}")
        pause.wait(0.005)
    return result


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def is_zombie(pid: int) -> bool:
    """Return whether a process is dead and not reaped."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return False
