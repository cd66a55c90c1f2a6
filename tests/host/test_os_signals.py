"""Interrupts and hang-ups pass a module by; SIGTERM reaches whoever stops it in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dspex_runtime.host.os_signals import ignore_interrupts, stop_on_sigterm

SIGNALS = [signal.SIGINT, signal.SIGHUP, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    before = [signal.getsignal(signo) for signo in SIGNALS]
    yield
    for signo, handler in zip(SIGNALS, before, strict=True):
        signal.signal(signo, handler)


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupt_or_a_hang_up_is_left_to_the_runtime(signo: int) -> None:
    ignore_interrupts()
    os.kill(os.getpid(), signo)


def test_a_program_that_the_module_starts_does_not_inherit_the_deafness() -> None:
    ignore_interrupts()
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "True\n"


def test_sigterm_goes_to_the_handler() -> None:
    heard: list[int] = []
    stop_on_sigterm(lambda signo, _frame: heard.append(signo))
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]
