"""A module that asks is served as a client is, until its process has ended; whatever it asks is answered."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import DspexError
from dspex_runtime.types import Down
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import CANCEL, CONTROL, FAULT, REPLY
from helpers.fake_node import FakeNode, server


def test_a_request_is_answered_by_its_own_negative_number(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    ((kind, number, status),) = runtime.process("a").ask("status")
    assert (kind, number, status["name"]) == (REPLY, -1, "t")


@pytest.mark.parametrize(("op", "args", "text"), [("explode", {}, "unknown operation"), ("info", {}, "malformed request 'info'")])
def test_what_is_wrong_is_a_fault(runtime: FakeNode, op: str, args: dict[str, Any], text: str) -> None:
    runtime.boot(server("a"))
    ((kind, _, fault),) = runtime.process("a").ask(op, **args)
    error = from_fault(fault)
    assert kind == FAULT
    assert isinstance(error, DspexError)
    assert text in str(error)


def test_no_module_owns_the_runtime(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    ((kind, _, fault),) = runtime.process("a").ask("boot", config={})
    assert kind == FAULT
    assert "unknown operation 'boot'" in fault["message"]


def test_a_request_is_served_while_the_process_stops(runtime: FakeNode) -> None:
    runtime.boot(server("a"), server("b"))
    runtime.launcher.stubborn = {"a"}
    runtime.owner.begin("stop", id="a")
    assert runtime.shown()["a"] == "STOPPING"
    ((kind, _, _),) = runtime.process("a").ask("monitor", id="b")
    assert kind == REPLY


def test_a_request_that_is_given_up_is_not_answered(runtime: FakeNode) -> None:
    runtime.boot(server("a"), server("b"))
    process = runtime.process("a")
    assert process.ask("wait", ids=["b"], state="failed") == []
    process.send([CANCEL, -1])
    process.send([CANCEL, -1])
    process.send([CANCEL, -99])
    assert process.ask("status")[0][:2] == [REPLY, -2]


def test_with_the_process_go_its_open_requests(runtime: FakeNode) -> None:
    runtime.boot(server("a"), server("b"))
    process = runtime.process("a")
    process.ask("wait", ids=["b"], state="stopped")
    runtime.crash("a")
    runtime.owner.begin("stop", id="b")
    assert process.peer.sent == []


def test_the_next_incarnation_is_somebody_else(runtime: FakeNode) -> None:
    runtime.boot(server("a"), server("b"))
    ((_, _, answer),) = runtime.process("a").ask("monitor", id="b")
    runtime.crash("a")
    assert runtime.process("a").ask("demonitor", ref=answer["ref"]) == [[REPLY, -1, False]]
    runtime.crash("b")
    assert runtime.process("a").mail == []


def test_what_is_no_request_ends_the_process(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    process = runtime.process("a")
    process.send([CONTROL, -1, "info"])
    assert process.illegal_messages == [[CONTROL, -1, "info"]]


def test_a_notice_comes_with_its_number(runtime: FakeNode) -> None:
    runtime.boot(server("a"), server("b"))
    ((_, _, answer),) = runtime.process("a").ask("monitor", id="b")
    runtime.crash("b")
    assert runtime.process("a").mail == [Down("b", 1, "killed", answer["ref"])]
