"""Exit reasons: made from wait statuses and exceptions, recognised, judged, and read aloud."""

from __future__ import annotations

import signal
import subprocess
import sys
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest

from dspex_runtime.exit_reason import (
    ExitReason,
    describe,
    from_exception,
    from_wait_status,
    is_abnormal,
    is_exit_reason,
    is_own_reason,
    own_reason,
)

ERROR: ExitReason = ("error", "ValueError", "no", "Traceback ...")

# reason, whether a transient child is restarted after it, and how people read it
REASONS: list[tuple[ExitReason, bool, str]] = [
    ("normal", False, "normal"),
    ("shutdown", False, "shutdown"),
    (("shutdown", "moved"), False, "shutdown: moved"),
    (("shutdown", ("failed_to_start_child", "a")), False, "shutdown: ('failed_to_start_child', 'a')"),
    ("killed", True, "killed (SIGKILL)"),
    ("noproc", True, "no such process"),
    (("signal", "SEGV"), True, "signal SIGSEGV"),
    (("exit_status", 3), True, "exit status 3"),
    (ERROR, True, "ValueError: no"),
    (("error", "dspex_runtime.errors.StartError", "no file", ""), True, "StartError: no file"),
    (("error", "KeyError", "", ""), True, "KeyError"),
    (("limit", "memory", "65 MiB in use"), True, "limit memory: 65 MiB in use"),
    (("limit", "start_timeout", 1.0), True, "not ready within its start_timeout of 1 s"),
    (("limit", "max_calls", 100), True, "limit max_calls: 100 calls served"),
]


@pytest.mark.parametrize(("reason", "abnormal", "text"), REASONS)
def test_every_reason_is_recognised_judged_and_read(reason: ExitReason, abnormal: bool, text: str) -> None:
    assert is_exit_reason(reason)
    assert is_abnormal(reason) is abnormal
    assert describe(reason) == text


@pytest.mark.parametrize(
    "value",
    [
        "crashed", "", None, 0, b"normal", [], ["shutdown", "x"], (), ("shutdown",), ("shutdown", 1, 2), ("signal",),
        ("error", "ValueError", "no"), ("limit", "memory"), ("normal",), (["shutdown"], 1), (7, 7),
    ],
)  # fmt: skip
def test_anything_else_is_no_reason(value: Any) -> None:
    assert not is_exit_reason(value)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("normal", "normal"),
        ("shutdown", "shutdown"),
        (["shutdown", 1], ("shutdown", 1)),
        (("error", "Own", "text", ""), ("error", "Own", "text", "")),
        ("boom", ("error", "Stop", "boom", "")),
        (7, ("error", "Stop", "7", "")),
        (("limit", "x"), ("error", "Stop", "('limit', 'x')", "")),
        ("killed", ("error", "Stop", "killed", "")),
        ("noproc", ("error", "Stop", "noproc", "")),
        (("signal", "SEGV"), ("error", "Stop", "('signal', 'SEGV')", "")),
        (("exit_status", 3), ("error", "Stop", "('exit_status', 3)", "")),
        (("limit", "memory", "x"), ("error", "Stop", "('limit', 'memory', 'x')", "")),
        ("error", ("error", "Stop", "error", "")),
    ],
)
def test_code_gives_a_closed_set_of_reasons_and_any_other_term_becomes_an_error(given: Any, reason: ExitReason) -> None:
    assert own_reason(given, "Stop") == reason
    assert is_own_reason(given) is (given == reason)


def test_words_of_the_caller_pass_as_they_are() -> None:
    assert own_reason("kill", "Exit", "kill") == "kill"
    assert own_reason("kill", "Exit") == ("error", "Exit", "kill", "")


def test_what_has_no_words_is_shown_as_it_is() -> None:
    assert describe(("moved", "away")) == "('moved', 'away')"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (0, "normal"),
        (3 << 8, ("exit_status", 3)),
        (255 << 8, ("exit_status", 255)),
        (signal.SIGKILL, "killed"),
        (signal.SIGTERM, ("signal", "TERM")),
        (signal.SIGSEGV | 0x80, ("signal", "SEGV")),  # with a core dump
        (signal.SIGRTMIN, ("signal", "RTMIN")),
        (signal.SIGRTMIN + 3, ("signal", str(signal.SIGRTMIN + 3))),
    ],
)
def test_a_wait_status_is_a_reason(status: int, reason: ExitReason) -> None:
    assert from_wait_status(int(status)) == reason


@pytest.mark.process
def test_a_real_death_reads_the_same() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGABRT)"
    status = subprocess.run([sys.executable, "-c", code], check=False).returncode
    assert from_wait_status(-status) == ("signal", "ABRT")


@pytest.mark.parametrize(
    ("exc", "name", "message"),
    [
        (ValueError("no"), "ValueError", "no"),
        (KeyError("k"), "KeyError", "'k'"),
        (subprocess.TimeoutExpired("x", 3), "subprocess.TimeoutExpired", "Command 'x' timed out after 3 seconds"),
        (InvalidOperation(Decimal(1)), "decimal.InvalidOperation", "1"),
    ],
)
def test_an_exception_is_a_reason_with_its_full_name(exc: BaseException, name: str, message: str) -> None:
    assert from_exception(exc, "Traceback ...") == ("error", name, message, "Traceback ...")
