"""Signals as bytes on a descriptor, and back to what a fresh interpreter has."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from dspex_runtime.osproc.signals import Wakeup, ignore, non_default, now, reset_in_child
from helpers.waiting import wait_readable

TOUCHED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    handlers = {signo: signal.getsignal(signo) for signo in TOUCHED}
    wakeup_fd = signal.set_wakeup_fd(-1)
    yield
    signal.set_wakeup_fd(wakeup_fd)
    for signo, handler in handlers.items():
        signal.signal(signo, handler)


def test_a_signal_makes_the_descriptor_readable_and_says_its_number() -> None:
    wakeup = Wakeup([signal.SIGUSR1, signal.SIGUSR2])
    assert wakeup.drain() == set()
    for signo in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
        os.kill(os.getpid(), signo)
    assert wait_readable(wakeup.fileno())
    assert wakeup.drain() == {signal.SIGUSR1, signal.SIGUSR2}
    assert wakeup.drain() == set()
    wakeup.close()


def test_more_signals_than_the_pipe_holds_are_still_a_wakeup() -> None:
    wakeup = Wakeup([signal.SIGUSR1])
    for _ in range(70_000):
        signal.raise_signal(signal.SIGUSR1)
    assert wait_readable(wakeup.fileno())
    assert wakeup.drain() == {signal.SIGUSR1}
    wakeup.close()


def test_closing_is_idempotent_and_ends_the_writing() -> None:
    wakeup = Wakeup([signal.SIGUSR1])
    wakeup.close()
    wakeup.close()
    assert signal.set_wakeup_fd(-1) == -1
    signal.raise_signal(signal.SIGUSR1)


def test_reset_gives_back_what_a_fresh_interpreter_has() -> None:
    fresh = set(non_default())
    ignore([signal.SIGUSR1])
    wakeup = Wakeup([signal.SIGCHLD])
    changed = non_default()
    assert set(changed) - fresh == {signal.SIGUSR1, signal.SIGCHLD}
    reset_in_child({signo: disposition for signo, disposition in changed.items() if signo not in fresh})
    assert set(non_default()) == fresh
    assert signal.set_wakeup_fd(-1) == -1
    wakeup.close()


def test_reset_gives_back_what_was_there_at_a_moment() -> None:
    def handler(*_: object) -> None:
        pass

    was = signal.signal(signal.SIGUSR1, handler)
    before = now([signal.SIGUSR1, signal.SIGUSR2])
    ignore([signal.SIGUSR1, signal.SIGUSR2])
    reset_in_child(before)
    assert (signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGUSR2)) == (handler, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, was)
