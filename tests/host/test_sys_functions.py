"""OTP's sys functions on a real process: their place among messages, while suspended, and what a failure costs (§2.10)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import CallError, UnserialisableError
from dspex_runtime.host.sys_functions import SysFunctions
from dspex_runtime.osproc.board import QUEUED, RUNNING
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.framing import MAX_FRAME_BYTES
from helpers.hosted_process import Client, Gate, HostedProcess, pass_through
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


class Adder(dx.GenServer):
    def init(self, state: Any = 0) -> Any:
        return state

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        match request:
            case ["wait", path]:
                pass_through(path)
            case "lock":
                import threading

                return dx.Reply(None, threading.Lock())
        return dx.Reply(state, state)

    def handle_cast(self, request: int, state: int) -> Any:
        return dx.NoReply(state + request)

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        return {**status, "state": f"about {status['state']}"}


def held(process: HostedProcess, gate: Gate) -> Client:
    client = process.client(name="holder")
    client.begin("$call", ["wait", gate.path])
    wait_until(lambda: process.slot()[RUNNING] == 1, what="the call runs")
    return client


def ask(process: HostedProcess, number: int, op: str, client: str) -> None:
    """Send a system message, and see that it was received."""
    process.control.send([m.CONTROL, number, op, {"client": client}])
    process.ask("ping")


def test_get_state_comes_after_the_callers_own_casts_and_before_what_others_have_queued(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Adder)
    held(process, gate)
    me, other = process.client(name="me"), process.client(name="other")
    me.cast("$cast", 1)
    ask(process, 900, "get_state", "me")  # the cast is in the pipe only: it is read first
    for _ in range(50):
        other.cast("$cast", 100)
    ask(process, 901, "get_state", "nobody's casts")
    gate.open()
    answers = {number: state for _, number, state in (process.recv(), process.recv())}
    assert answers == {900: 1, 901: 0}
    wait_until(lambda: process.ask("get_state") == 5001)


def test_get_state_and_replace_state_work_while_suspended_and_messages_queue(fork: Any) -> None:
    process = fork()
    process.start(Adder)
    process.ask("suspend", client="me")
    me = process.client(name="me")
    me.cast("$cast", 1)
    wait_until(lambda: process.slot()[QUEUED] == 1)
    assert process.ask("get_state", client="me") == 0
    assert process.ask("replace_state", client="me", function=cloudpickle.dumps(lambda state: state + 10)) == 10
    assert process.ask("status", client="me")["status"] == "suspended"
    process.ask("resume")
    wait_until(lambda: process.ask("get_state") == 11)


def test_suspend_and_resume_are_idempotent(fork: Any) -> None:
    process = fork()
    process.start(Adder)
    for _ in range(2):
        process.ask("suspend")
    client = process.client()
    client.begin("$call", "get")
    assert client.recv() == [m.BEGUN, 1, False]
    for _ in range(2):
        process.ask("resume")
    assert client.result() == 0


def test_suspend_is_answered_when_the_callback_that_runs_has_ended(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Adder)
    first = held(process, gate)
    ask(process, 900, "suspend", "me")
    assert process.ask("statistics")["suspended"] is False
    gate.open()
    assert process.recv() == [m.REPLY, 900, None]
    assert first.result() == 0


def test_what_waits_behind_a_message_is_served_when_the_server_is_suspended_before_it(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Adder)
    held(process, gate)
    process.client(name="me").cast("$cast", 1)
    ask(process, 900, "get_state", "me")
    ask(process, 901, "suspend", "other")  # nothing of its own waits: it comes first
    gate.open()
    assert {tuple(process.recv()[1:]) for _ in range(2)} == {(901, None), (900, 0)}


def test_a_replace_function_that_raises_is_the_callers_error_and_the_state_is_unchanged(fork: Any) -> None:
    process = fork()
    process.start(Adder, 5)
    with pytest.raises(ZeroDivisionError):
        process.ask("replace_state", function=cloudpickle.dumps(lambda state: state / 0))
    assert process.ask("get_state") == 5


def leave(state: Any) -> Any:
    raise SystemExit(3)


def interrupt(state: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("function", "name"), [(leave, "SystemExit"), (interrupt, "KeyboardInterrupt")])
def test_a_replace_function_that_exits_is_callback_failed_and_the_server_lives_on(fork: Any, function: Any, name: str) -> None:
    process = fork()
    process.start(Adder, 5)
    with pytest.raises(CallError, match=f"replace_state failed: {name}") as failed:
        process.ask("replace_state", function=cloudpickle.dumps(function))
    assert failed.value.code == "callback_failed"
    assert process.ask("get_state") == 5


UNSENDABLE = {"a lock": lambda state: [state, __import__("threading").Lock()], "too large": lambda _: b"x" * (MAX_FRAME_BYTES + 1)}


@pytest.mark.parametrize("function", UNSENDABLE.values(), ids=UNSENDABLE.keys())
def test_a_new_state_that_cannot_be_sent_back_is_not_taken(fork: Any, function: Any) -> None:
    process = fork()
    process.start(Adder, 5)
    with pytest.raises(UnserialisableError, match="the state is as it was: the new one could not be sent back"):
        process.ask("replace_state", function=cloudpickle.dumps(function))
    assert process.ask("get_state") == 5


def test_get_status_is_shown_through_format_status(fork: Any) -> None:
    process = fork()
    process.start(Adder, 5)
    status = process.ask("status")
    assert (status["id"], status["incarnation"], status["pid"]) == ("sup/it", 3, process.pid)
    assert (status["module"], status["status"], status["state"], status["log"]) == ("Adder", "running", "about 5", [])


def test_events_that_cannot_be_sent_are_shown_as_text(fork: Any) -> None:
    process = fork()
    process.start(Adder)
    process.ask("debug", command="log", flag=True)
    process.client(name="me").call("$call", "lock")
    (_, kind, message, client), (out, reply, _, state) = process.ask("debug", command="log", flag="get")
    assert (kind, message, client, out, reply) == ("call", "lock", "me", "out", None)
    assert "lock object" in state


def test_debug_may_be_switched_on_and_off_while_it_runs(fork: Any) -> None:
    process = fork()
    process.start(Adder)
    client = process.client()
    client.call("$call", "before")
    process.ask("debug", command="statistics", flag=True)
    client.call("$call", "counted")
    assert process.ask("debug", command="statistics", flag="get")["messages_in"] == 1
    process.ask("debug", command="no_debug")
    assert process.ask("debug", command="statistics", flag="get") == "no_statistics"


def test_terminate_runs_for_sys_terminate_also_without_trapped_exits(fork: Any) -> None:
    class Says(Adder):
        def terminate(self, reason: Any, state: Any) -> None:
            print("terminated", reason)

    process = fork()
    process.start(Says, trap_exit=False)
    assert process.ask("terminate", reason="normal") is None
    assert process.bye() == "normal"
    assert process.text() == "terminated normal\n"


def test_an_answer_from_elsewhere_for_a_call_nobody_waits_for_is_dropped(fork: Any) -> None:
    process = fork()
    process.start(Adder)
    assert process.ask("reply", number=77, value="late") is False


def test_debug_is_for_a_server() -> None:
    ran: list[Any] = []
    loop = SimpleNamespace(calls=None, run_on_main=lambda function: function())
    functions = SysFunctions(loop, SimpleNamespace(serial=False), {"id": "m"}, Codec())  # type: ignore[arg-type]

    def answer(function: Any) -> None:
        with pytest.raises(CallError, match="'m' is a module"):
            function()
        ran.append(1)

    functions.serve("debug", {"command": "trace", "flag": True}, answer)
    assert ran == [1]
