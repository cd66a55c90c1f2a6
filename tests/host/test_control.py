"""What the parent may ask of a module process, when it answers, and what the parent's mistakes cost. On a real process."""

from __future__ import annotations

import os
import resource
import signal
from typing import Any

import msgpack
import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import CallError
from dspex_runtime.osproc.board import QUEUED, RUNNING
from dspex_runtime.wire import messages as m
from helpers.hosted_process import Client, Gate, HostedProcess, pass_through
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


class Desk(dx.GenServer):
    def init(self, state: Any = None) -> Any:
        return state

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        match request:
            case ["wait", path]:
                pass_through(path)
            case "lock":
                import threading

                return dx.Reply(None, threading.Lock())
            case "no more files":
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return dx.Reply(state, state)

    def terminate(self, reason: Any, state: Any) -> None:
        print("terminate", reason[:2] if isinstance(reason, tuple) else reason)


class Inbox(Desk):
    def init(self) -> Any:
        return []

    def handle_cast(self, request: Any, state: Any) -> Any:
        return dx.NoReply([*state, request])

    handle_info = handle_cast


def held(process: HostedProcess, gate: Gate) -> Client:
    """Return a client whose call keeps the process busy at the gate."""
    client = process.client()
    client.begin("$call", ["wait", gate.path])
    wait_until(lambda: process.slot()[RUNNING] == 1, what="the call runs")
    return client


def test_what_came_together_with_the_assignment_is_served(fork: Any) -> None:
    process = fork()
    os.kill(process.pid, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    process.assign(Desk, "state")
    client = process.client()
    client.begin("$call", "get")
    process.control.send([m.CONTROL, 900, "ping", {}])
    os.kill(process.pid, signal.SIGCONT)
    assert process.recv()[0] == m.READY
    assert process.recv()[:2] == [m.REPLY, 900]
    assert client.result() == "state"


def test_a_stop_that_came_together_with_the_assignment_stops(fork: Any) -> None:
    process = fork()
    os.kill(process.pid, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    process.assign(Desk)
    process.tell("stop", reason="shutdown", drain_s=20.0)
    os.kill(process.pid, signal.SIGCONT)
    assert process.bye() == "shutdown"
    assert process.wait() == 0


OPERATIONS = {
    "ping": lambda answer: answer["incarnation"] == 3,
    "metrics": lambda answer: answer["count"] == 0,
    "executions": lambda answer: answer == [],
    "statistics": lambda answer: (answer["running"], answer["queued"], answer["log"]["dropped_lines"]) == (1, 0, 0),
    "resume": lambda answer: answer is None,
}


@pytest.mark.parametrize("op", OPERATIONS)
def test_it_answers_while_a_callback_runs(fork: Any, gate: Gate, op: str) -> None:
    process = fork()
    process.start(Desk)
    client = held(process, gate)
    assert OPERATIONS[op](process.ask(op))
    gate.open()
    assert client.result() is None


@pytest.mark.parametrize("op", ["get_state", "status"])
def test_what_belongs_to_the_server_is_asked_between_two_callbacks_and_before_what_is_queued(
    fork: Any, gate: Gate, op: str
) -> None:
    process = fork()
    process.start(Desk, "kept")
    first, second = held(process, gate), process.client()
    second.begin("$call", "lock")
    second.recv()
    process.control.send([m.CONTROL, 900, op, {}])
    process.ask("ping")  # served after it
    gate.open()
    kind, id, answer = process.recv()
    assert (kind, id) == (m.REPLY, 900)
    assert answer == "kept" or answer["state"] == "kept"
    assert [first.result(), second.result()] == ["kept", None]


def test_an_exit_signal_is_answered_when_it_is_behind_all_that_was_sent_before(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Inbox)
    busy, client = held(process, gate), process.client()
    client.cast("$cast", "before")
    assert process.ask("signal", message="exit") is None
    client.cast("$cast", "after")
    process.control.send([m.CONTROL, 900, "get_state", {"client": "somebody else"}])
    process.ask("ping")
    gate.open()
    assert busy.result() == []
    kind, id, answer = process.recv()
    assert (kind, id, answer) == (m.REPLY, 900, ["before", "exit"])  # a system message does not overtake it either
    wait_until(lambda: process.ask("get_state") == ["before", "exit", "after"])


def test_a_state_that_cannot_be_sent_is_a_fault_and_the_process_lives(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    client = process.client()
    client.call("$call", "lock")
    with pytest.raises(TypeError, match="lock"):
        process.ask("get_state")
    assert process.ask("ping")["id"] == "sup/it"


@pytest.mark.parametrize(
    ("op", "args", "error"),
    [("fly", {}, CallError), ("replace_state", {}, KeyError), ("executions", {"n": "many"}, TypeError)],
)
def test_an_operation_that_makes_no_sense_is_a_fault_and_the_process_lives(
    fork: Any, op: str, args: dict[str, Any], error: type[Exception]
) -> None:
    process = fork()
    process.start(Desk)
    with pytest.raises(error):
        process.ask(op, **args)
    assert process.ask("ping")["id"] == "sup/it"


def test_a_stop_with_a_number_is_answered_before_it_is_done(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Desk)
    client = held(process, gate)
    assert process.ask("stop", reason="shutdown", drain_s=20.0) is None
    gate.open()
    assert client.result() is None
    assert process.bye() == "shutdown"


REASONS = {
    "none given": ({}, "shutdown", 0),
    "as a list": ({"reason": ["shutdown", "update"]}, ("shutdown", "update"), 0),
    "a limit": ({"reason": ("limit", "memory", 9)}, ("limit", "memory", 9), 1),
    "another term": ({"reason": ["whatever"]}, ("error", "Stop", "('whatever',)", ""), 1),
    "another word": ({"reason": "because"}, ("error", "Stop", "because", ""), 1),
}


@pytest.mark.parametrize(("args", "reason", "status"), REASONS.values(), ids=REASONS.keys())
def test_a_stop_ends_with_the_reason_it_brings(fork: Any, args: dict[str, Any], reason: Any, status: int) -> None:
    process = fork()
    process.start(Desk)
    process.tell("stop", drain_s=20.0, **args)
    assert process.bye() == reason
    assert process.wait() == status


def test_the_first_stop_gives_the_reason(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Desk)
    held(process, gate)
    process.tell("stop", reason="shutdown", drain_s=20.0)
    process.tell("stop", reason=("shutdown", "second"), drain_s=20.0)
    process.ask("ping")
    gate.open()
    assert process.bye() == "shutdown"


@pytest.mark.parametrize("drain_s", [None, 0.0])
def test_a_server_is_never_terminated_beside_its_callback(fork: Any, gate: Gate, drain_s: float | None) -> None:
    process = fork()
    process.start(Desk)
    client = held(process, gate)
    process.tell("stop", reason="shutdown", drain_s=drain_s)
    assert process.ask("statistics")["draining"] is True
    assert process.text() == ""
    gate.open()
    assert client.result() is None
    assert process.bye() == "shutdown"
    assert process.text() == "terminate shutdown\n"


def test_sigterm_waits_for_the_callback_and_terminates(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Desk)
    first, second = held(process, gate), process.client()
    second.begin("$call", "get")
    second.recv()
    os.kill(process.pid, signal.SIGTERM)
    assert second.recv() == [m.RETRY, 1]
    gate.open()
    assert first.result() is None
    assert process.bye() == "shutdown"
    assert process.wait() == 0


def test_a_drain_is_answered_when_nothing_runs_any_more(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Desk)
    client = held(process, gate)
    process.control.send([m.CONTROL, 900, "drain", {"timeout_s": None}])
    assert process.ask("statistics")["running"] == 1
    gate.open()
    assert client.result() is None
    assert process.recv() == [m.REPLY, 900, {"running": 0}]


def test_a_suspended_server_queues_and_a_drain_empties_its_queue(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    process.ask("suspend")
    client = process.client()
    client.begin("$call", "get")
    assert client.recv() == [m.BEGUN, 1, False]
    assert process.slot()[QUEUED] == 1
    assert process.ask("drain", timeout_s=20.0) == {"running": 0}
    assert client.recv() == [m.RETRY, 1]
    assert process.slot()[QUEUED] == 0


def test_a_message_of_an_unknown_kind_is_noted_and_passed_over(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    process.control.send([m.DOWN, 1, "x", 2, "normal"])
    assert process.ask("ping")["id"] == "sup/it"
    assert f"the parent sent a message of kind {m.DOWN}" in process.text()


def test_a_request_that_cannot_be_rebuilt_is_refused_and_what_is_behind_it_served(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    good = [process.codec.pack([m.CONTROL, n, "ping", {}]) for n in (900, 901)]
    bad = msgpack.packb([m.CONTROL, 902, "replace_state", {"function": msgpack.ExtType(20, b"no pickle")}])
    os.write(process.control.fileno(), b"".join(len(body).to_bytes(4, "big") + body for body in (good[0], bad, good[1])))
    assert [process.recv()[:2] for _ in range(3)] == [[m.REPLY, 900], [m.FAULT, 902], [m.REPLY, 901]]


def test_a_message_that_cannot_be_rebuilt_is_noted_and_what_is_behind_it_served(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    bad = msgpack.packb([m.EVENT, 0, {"type": "message", "message": msgpack.ExtType(20, b"no pickle")}])
    os.write(process.control.fileno(), len(bad).to_bytes(4, "big") + bad)
    assert process.ask("ping")["id"] == "sup/it"
    assert "lost a message of the parent" in process.text()


def test_a_channel_without_its_descriptor_is_noted_and_the_process_lives(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    process.control.send([m.CHANNEL, 0, {"client": "nobody", "mux": False}])
    assert process.ask("ping")["id"] == "sup/it"
    assert "cannot serve client nobody" in process.text()


GARBAGE = {
    "a frame of no length": b"\xff\xff\xff\xff",
    "no message": b"\0\0\0\1\x01",
    "an operation without its arguments": b"\0\0\0\3\x92\x0e\x01",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_of_the_parent_ends_the_process_with_a_word(fork: Any, garbage: bytes) -> None:
    process = fork()
    process.start(Desk)
    os.write(process.control.fileno(), garbage)
    kind, _, message, _ = process.bye()
    assert kind == "error"
    assert message.startswith("control thread: ")
    assert process.wait() == 1
    assert "the control thread failed" in process.text()
    assert "terminate ('error'" in process.text()


def test_a_process_without_a_descriptor_left_ends_rather_than_go_deaf(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    client = process.client()
    client.call("$call", "no more files")
    process.client(hello=False)
    assert process.wait() == 1
    assert "open here" in process.text()
