"""The parent as somebody to ask, from everywhere in a module; and as a client, whatever becomes of its own calls (readiness)."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import CallError, CallTimeoutError
from dspex_runtime.osproc.board import QUEUED, RUNNING
from dspex_runtime.types import Down
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
    process.tell("stop", reason="shutdown", drain_s=0.0)
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


class Asking(dx.GenServer):
    """Asks the runtime from wherever it is told to; keeps what handle_info gets."""

    def init(self, in_init: list[str] = []) -> Any:  # noqa: B006
        from dspex_runtime.host.parent import ask

        return [ask(op, {}) for op in in_init]

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        from dspex_runtime.host.parent import ask

        match request:
            case "state":
                return dx.Reply(state, state)
            case ["ask", op, timeout_s]:
                return dx.Reply(ask(op, {}, timeout_s=timeout_s), state)
            case ["thread", op]:
                with ThreadPoolExecutor(1) as pool:
                    return dx.Reply(pool.submit(ask, op, {}).result(), state)
            case ["async", op, timeout_s]:
                return dx.Reply(asyncio.run(in_task(op, timeout_s)), state)
            case ["wait", path]:
                pass_through(path)
                return dx.Reply(None, state)

    def handle_cast(self, request: Any, state: Any) -> Any:
        return dx.NoReply([*state, request])

    def handle_info(self, message: Any, state: Any) -> Any:
        return dx.NoReply([*state, message])

    def terminate(self, reason: Any, state: Any) -> None:
        from dspex_runtime.host.parent import ask

        ask("farewell", {})


async def in_task(op: str, timeout_s: float) -> Any:
    from dspex_runtime.host.parent import aask

    task = asyncio.create_task(aask(op, {}, timeout_s=timeout_s))
    await asyncio.sleep(0)
    if op == "cancelled":
        task.cancel()
    return (await asyncio.gather(task, return_exceptions=True))[0]


def answer(process: Any, op: str, value: Any) -> None:
    """Wait for a question of the module and answer it."""
    kind, number, asked, _ = process.recv()
    assert (kind, asked) == (m.CONTROL, op)
    assert number < 0
    process.control.send([m.REPLY, number, value])


class TestAsk:
    """From any thread, in init, in a task, in terminate."""

    def test_in_init_before_there_is_a_control_thread(self, fork: Any) -> None:
        process = fork()
        process.assign(Asking, ["one", "two"])
        answer(process, "one", 1)
        process.control.send([m.EVENT, 0, {"type": "message", "message": "hello"}])
        answer(process, "two", 2)
        assert process.recv()[0] == m.READY
        client = process.client()
        assert client.call("$call", "state") == [1, 2, "hello"]

    @pytest.mark.parametrize("request_", [["ask", "status", 20.0], ["thread", "status"], ["async", "status", 20.0]])
    def test_in_a_callback_in_a_thread_and_in_a_task(self, fork: Any, request_: Any) -> None:
        process = fork()
        process.start(Asking)
        client = process.client()
        client.begin("$call", request_)
        answer(process, "status", "fine")
        assert client.result() == "fine"

    def test_a_task_that_is_cancelled_gives_its_question_up(self, fork: Any) -> None:
        process = fork()
        process.start(Asking)
        client = process.client()
        client.begin("$call", ["async", "cancelled", 20.0])
        _, number, _, _ = process.recv()
        assert process.recv() == [m.CANCEL, number]

    def test_a_task_whose_time_is_over_is_told(self, fork: Any) -> None:
        process = fork()
        process.start(Asking)
        client = process.client()
        assert isinstance(client.call("$call", ["async", "status", 0.02]), CallTimeoutError)

    def test_no_longer_than_the_request_that_is_served(self, fork: Any) -> None:
        process = fork()
        process.start(Asking)
        client = process.client()
        assert client.call("$call", "state") == []  # the time is the question's, not that of a first call
        client.begin("$call", ["ask", "status", None], deadline=time.monotonic() + 1.0)
        _, number, _, _ = process.recv()
        assert process.recv() == [m.CANCEL, number]  # and the server goes down with CallTimeoutError, as a caller in OTP
        answer(process, "farewell", None)
        assert process.bye()[1].endswith("CallTimeoutError")

    def test_while_the_process_stops(self, fork: Any) -> None:
        process = fork()
        process.start(Asking)
        process.tell("stop", reason="shutdown")
        answer(process, "farewell", None)
        assert process.bye() == "shutdown"


class TestMessages:
    """Of the parent, for the mailbox: behind everything that was sent before."""

    def send(self, process: Any, message: Any) -> None:
        process.control.send([m.EVENT, 0, {"type": "message", "message": message}])

    @pytest.mark.parametrize("busy", [True, False])
    def test_everything_in_the_pipes_comes_before_it(self, fork: Any, tmp_path: Path, busy: bool) -> None:
        process, gate = fork(), Gate(tmp_path / "gate")
        process.start(Asking)
        caller, sender = process.client(), process.client()
        if busy:
            caller.begin("$call", ["wait", gate.path])
            wait_until(lambda: process.slot()[RUNNING] == 1)
        for n in range(300):
            sender.cast("$cast", n)
        sender.close()
        self.send(process, Down("a", 1, "killed", 5))
        if busy:
            gate.open()
            assert caller.result() is None
        assert wait_until(lambda: (got := caller.call("$call", "state")) and len(got) == 301 and got) == [
            *range(300), Down("a", 1, "killed", 5),
        ]  # fmt: skip

    def test_from_a_pipe_that_is_handed_over_in_the_same_moment(self, fork: Any) -> None:
        process = fork()
        process.start(Asking)
        client = process.client()
        sender = process.client()
        sender.cast("$cast", "first")
        self.send(process, "second")
        assert wait_until(lambda: (got := client.call("$call", "state")) and len(got) == 2 and got) == ["first", "second"]

    def test_is_queued_while_suspended(self, fork: Any) -> None:
        process = fork()
        process.start(Asking)
        process.ask("suspend")
        self.send(process, "hello")
        process.ask("resume")
        assert process.client().call("$call", "state") == ["hello"]

    def test_that_come_after_a_stop_are_never_processed(self, fork: Any, tmp_path: Path) -> None:
        process, gate = fork(), Gate(tmp_path / "gate")
        process.start(Asking)
        client = process.client()
        client.begin("$call", ["wait", gate.path])
        wait_until(lambda: process.slot()[RUNNING] == 1)
        process.tell("stop", reason="shutdown")
        self.send(process, {"raises": "if it were handled"})
        gate.open()
        answer(process, "farewell", None)
        assert process.bye() == "shutdown"
