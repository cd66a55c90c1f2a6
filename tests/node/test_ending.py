"""Which of the things that are known about an end is its reason: a table."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.ending import reason_of

KILLED, EXIT_0, EXIT_3 = signal.SIGKILL.value, 0, 3 << 8  # wait statuses
LIMIT: ExitReason = ("limit", "memory", "2 MiB")
FAULT = {"type": "ImportError", "message": "no x", "traceback": "Traceback ..."}
SAID: ExitReason = ("error", "ImportError", "no x", "Traceback ...")
REASONS: list[tuple[int, Any, Any, Any, ExitReason]] = [
    # wait status, its last words, why we killed it, why it did not start, reason
    (EXIT_0, None, None, None, "normal"),
    (EXIT_3, None, None, None, ("exit_status", 3)),
    (signal.SIGSEGV.value, None, None, None, ("signal", "SEGV")),
    (KILLED, None, None, None, "killed"),
    (EXIT_3, "shutdown", None, None, "shutdown"),
    (EXIT_0, "shutdown", LIMIT, None, "shutdown"),  # it went by itself, and said why, before our signal
    (KILLED, "shutdown", LIMIT, None, LIMIT),  # it said that it goes, and did not
    (KILLED, "shutdown", None, None, "shutdown"),  # somebody else's kill hit what was leaving
    (EXIT_0, None, LIMIT, None, LIMIT),
    (KILLED, None, LIMIT, FAULT, LIMIT),
    (EXIT_3, None, None, FAULT, SAID),
    (EXIT_3, "normal", None, FAULT, "normal"),
]


@pytest.mark.parametrize(("status", "bye", "kill", "fault", "reason"), REASONS, ids=str)
def test_the_reason(status: int, bye: Any, kill: Any, fault: Any, reason: ExitReason) -> None:
    assert reason_of(status, bye=bye, kill_reason=kill, start_fault=fault) == reason


def test_a_fault_of_an_unknown_kind_is_an_exception() -> None:
    assert reason_of(EXIT_3, bye=None, kill_reason=None, start_fault={}) == ("error", "Exception", "", "")
