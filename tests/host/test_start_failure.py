"""Starts that fail: what the parent is told, what the log says, and what stays silent (otp-semantics §2.1)."""

from __future__ import annotations

from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import StartError
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.faults import from_fault
from helpers.hosted_process import HostedProcess

pytestmark = pytest.mark.process


class Fails(dx.GenServer):
    def init(self, how: str) -> Any:
        match how:
            case "quietly":
                return dx.Fail("no licence")
            case "shutdown":
                return dx.Stop("shutdown")
            case "stop":
                return dx.Stop(("error", "NoDisk", "no disk", ""))
            case "bad return":
                return dx.Reply(1, 2)
        raise LookupError("no index")

    def terminate(self, reason: Any, state: Any) -> None:
        print("must not run")


def told(process: HostedProcess) -> tuple[dict[str, Any], Any, Any]:
    """Return the fault, the crash report (or None) and the reason of the BYE (or None)."""
    fault = report = bye = None
    while True:
        try:
            kind, _, facts = process.recv()
        except EOFError:
            assert fault is not None
            return fault, report, bye
        if kind == m.FAULT:
            fault = facts
        elif kind == m.EVENT:
            report = facts
        else:
            bye = facts


def test_an_init_that_fails_quietly_ends_normal_and_silent(fork: Any) -> None:
    process = fork()
    process.assign(Fails, "quietly")
    fault, report, bye = told(process)
    error = from_fault(fault)
    assert isinstance(error, StartError)
    assert error.reason == ("error", "Stop", "no licence", "") == fault["start_reason"]
    assert (report, bye, process.wait(), process.text()) == (None, "normal", 0, "")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", ("error", "LookupError", "no index")),
        ("stop", ("error", "NoDisk", "no disk")),
        ("bad return", ("error", "BadReturnValue")),
    ],
)
def test_an_init_that_crashes_or_stops_is_reported_and_not_terminated(fork: Any, how: str, reason: tuple[str, ...]) -> None:
    process = fork()
    process.assign(Fails, how)
    _, report, bye = told(process)
    assert report["type"] == "crash_report"
    assert report["reason"][: len(reason)] == reason
    assert bye is None or bye[: len(reason)] == reason
    assert process.wait() == 1
    assert process.text()
    assert "must not run" not in process.text()


def test_an_init_that_stops_with_shutdown_is_a_failed_start_without_a_report(fork: Any) -> None:
    process = fork()
    process.assign(Fails, "shutdown")
    _, report, bye = told(process)
    assert (report, bye) == (None, "shutdown")
    assert process.text() == ""
