"""The parent's own calls (readiness) are answered with a value or a fault, whatever becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import CallError
from dspex_runtime.osproc.board import QUEUED, RUNNING
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.faults import from_fault
from helpers.hosted_process import Gate, pass_through
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


class Ready(dx.GenServer):
    def init(self) -> Any:
        return "ready"

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        if request is not None:
            pass_through(request)
        return dx.Reply(state, state)


def test_a_call_of_the_parent_waits_its_turn_without_a_word(fork: Any, tmp_path: Path) -> None:
    process, gate = fork(), Gate(tmp_path / "gate")
    process.start(Ready)
    client = process.client()
    client.begin("$call", gate.path)
    wait_until(lambda: process.slot()[RUNNING] == 1)
    process.control.send([m.CONTROL, 900, "call", {"method": "$call", "args": [None], "timeout_s": 20.0}])
    wait_until(lambda: process.slot()[QUEUED] == 1)
    gate.open()
    assert process.recv() == [m.REPLY, 900, "ready"]
    assert client.result() == "ready"


def test_a_call_of_the_parent_that_did_not_begin_before_a_stop_is_a_fault(fork: Any, tmp_path: Path) -> None:
    process, gate = fork(), Gate(tmp_path / "gate")
    process.start(Ready)
    client = process.client()
    client.begin("$call", gate.path)
    wait_until(lambda: process.slot()[RUNNING] == 1)
    process.control.send([m.CONTROL, 900, "call", {"method": "$call", "args": [None]}])
    process.tell("stop", reason="shutdown", drain_s=20.0)
    kind, id, fault = process.recv()
    assert (kind, id) == (m.FAULT, 900)
    assert isinstance(from_fault(fault), CallError)
    assert "did not begin" in fault["message"]
    gate.open()
    assert process.bye() == "shutdown"


def test_a_method_that_does_not_exist_is_a_fault_and_the_process_lives(fork: Any) -> None:
    process = fork()
    process.start(Ready)
    with pytest.raises(AttributeError, match="has no method 'ready'"):
        process.ask("call", method="ready")
    assert process.ask("call", method="$call", args=[None]) == "ready"
