"""Crash reports: which facts, through whose eyes, and of what size (otp-semantics §2.11)."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.reports import MAX_TRACE_CHARS, crash_report
from dspex_runtime.wire.codec import Codec

REASON = ("error", "ValueError", "broken", "Traceback: here")
PEER: Any = SimpleNamespace(client="4711-ab")


class Keeper(dx.GenServer):
    def init(self) -> dict[str, str]:
        return {"key": "s3cret"}


class Redacting(Keeper):
    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        hidden = {"state": "hidden", "message": "hidden", "log": ["hidden"]}
        return {"reason": ("error", "ValueError", "hidden", ""), **hidden}


class Leaking(Keeper):
    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(status["state"]["key"])


def report(server: dx.GenServer, request: Request | None, reason: Any = REASON) -> dict[str, Any]:
    hosted = ServerHost(server)
    hosted.start((), {})
    loop: Any = SimpleNamespace(calls=SimpleNamespace(culprit=request), counts=lambda: {"queued": 2})
    return crash_report(hosted, loop, reason, initial_call="file.py:Keeper")


def test_a_crash_report_has_otps_fields() -> None:
    made = report(Keeper(), Request(PEER, 1, "$call", ["the s3cret message"], {}))
    assert made == {
        "type": "crash_report", "initial_call": "file.py:Keeper", "module": "Keeper", "pid": os.getpid(), "reason": REASON,
        "message": ("handle_call", "the s3cret message"), "state": {"key": "s3cret"}, "log": [], "client": "4711-ab", "queued": 2,
        "threads": made["threads"],
    }  # fmt: skip
    assert Codec().unpack(Codec().pack([made])) == [made]


def test_the_last_message_of_a_continue_is_what_it_continued() -> None:
    hosted = ServerHost(Keeper())
    hosted.start((), {})
    hosted.continuing = "load"
    loop: Any = SimpleNamespace(calls=SimpleNamespace(culprit=None), counts=lambda: {"queued": 0})
    assert crash_report(hosted, loop, REASON, initial_call="x")["message"] == ("handle_continue", "load")


@pytest.mark.parametrize("server", [Redacting(), Leaking()], ids=["redacts", "fails"])
def test_format_status_is_used_for_state_message_reason_and_log(server: dx.GenServer) -> None:
    made = report(server, Request(PEER, 1, "$call", ["the s3cret message"], {}))
    assert "s3cret" not in str(made)
    assert ("state" in made) is isinstance(server, Redacting)


def test_a_format_status_that_fails_is_said_in_the_report_with_the_reason() -> None:
    made = report(Leaking(), None)
    assert made["format_status"] == "Leaking.format_status raised ValueError"
    assert made["reason"] == REASON


def test_a_report_is_bounded() -> None:
    made = report(Keeper(), Request(PEER, 1, "$cast", ["x" * 10**6], {}), ("error", "E", "m" * 10**6, "t" * 10**6))
    assert len(str(made)) < 3 * MAX_TRACE_CHARS


def test_a_start_that_failed_is_reported_without_a_state() -> None:
    made = crash_report(None, None, REASON, initial_call="x")
    assert (made["message"], made["reason"]) == (None, REASON)
    assert "state" not in made
