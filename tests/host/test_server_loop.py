"""Who reads, who runs, what waits: rules of the loop, on a real process."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.core.child_spec import Limits
from dspex_runtime.errors import ProtocolError
from dspex_runtime.osproc.board import ENDED, EXPECTED_BY, QUEUED, RUNNING
from dspex_runtime.wire import messages as m
from helpers.hosted_process import Client, Gate, HostedProcess, pass_through
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


class Counter(dx.GenServer):
    """Counts; ("wait", path) keeps its only thread busy until the test opens the gate."""

    def init(self, start: int = 0) -> int:
        return start

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:
        match request:
            case ["wait", path]:
                pass_through(path)
            case ["exit", code]:
                raise SystemExit(code)
            case "crash":
                raise ValueError("broken on purpose")
            case "lock":
                import threading

                return dx.Reply(threading.Lock(), state)
            case "huge":
                return dx.Reply(b"x" * (64 * 2**20 + 1), state)
            case "fork":
                pid = os.fork()
                if pid == 0:
                    signal.pause()
                return dx.Reply(pid, state)
        return dx.Reply(state, state + 1)

    def handle_cast(self, request: Any, state: int) -> Any:
        return dx.NoReply(state + request)

    def terminate(self, reason: Any, state: Any) -> None:
        print("terminated", reason if isinstance(reason, str) else reason[:3], state)


def held(process: HostedProcess, gate: Gate) -> Client:
    """Return a client whose call keeps the process busy at the gate."""
    client = process.client()
    client.begin("$call", ["wait", gate.path])
    wait_until(lambda: process.slot()[RUNNING] == 1, what="the call runs")
    return client


def test_a_call_is_answered_and_stamped(fork: Any) -> None:
    process = fork()
    info = process.start(Counter, 5)
    client = process.client()
    assert [client.call("$call", "next") for _ in range(3)] == [5, 6, 7]
    assert info["kind"] == "server"
    assert process.slot()[ENDED] == 3
    assert process.slot()[EXPECTED_BY] == process.slot()[RUNNING] == 0


def test_queued_requests_are_announced_and_run_in_order(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter)
    first = held(process, gate)
    waiting = []
    for _ in range(3):
        client = process.client()
        number = client.begin("$call", "next")
        assert client.recv() == [m.BEGUN, number, False]
        waiting.append(client)
    assert process.slot()[QUEUED] == 3
    gate.open()
    assert first.answer() == [m.REPLY, 1, 0]
    for place, client in enumerate(waiting):
        assert client.recv() == [m.BEGUN, 1, True]
        assert client.recv() == [m.REPLY, 1, place + 1]
    assert process.slot()[QUEUED] == 0


def test_a_full_mailbox_refuses_and_queues_nothing(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter, limits=Limits(mailbox=2))
    first = held(process, gate)
    clients = [process.client() for _ in range(3)]
    for client in clients[:2]:
        client.begin("$call", "next")
        client.recv()
    clients[2].begin("$call", "next")
    assert clients[2].recv() == [m.OVERLOADED, 1, 2]
    gate.open()
    assert first.result() == 0
    assert [client.result() for client in clients[:2]] == [1, 2]
    assert clients[2].call("$call", "next") == 3


def test_a_cancelled_request_that_waits_is_never_run(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter)
    first, second, third = held(process, gate), process.client(), process.client()
    number = second.begin("$call", "next")
    second.recv()
    second.send([m.CANCEL, number])
    third.begin("$call", "next")
    third.recv()
    wait_until(lambda: process.slot()[QUEUED] == 1, what="the cancelled one is gone")
    gate.open()
    assert first.result() == 0
    assert third.result() == 1
    assert process.slot()[ENDED] == 2


def test_a_request_whose_deadline_passed_while_it_waited_is_dropped_silently(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter)
    first, second, third = held(process, gate), process.client(), process.client()
    deadline = time.monotonic() + 0.5
    second.begin("$call", "next", deadline=deadline)
    assert second.recv() == [m.BEGUN, 1, False]
    third.begin("$call", "next")
    assert third.recv() == [m.BEGUN, 1, False]
    wait_until(lambda: time.monotonic() > deadline, what="the deadline passed")
    gate.open()
    assert first.result() == 0
    assert third.result() == 1
    assert second.call("$call", "next") == 2  # and no late answer came first


def test_a_client_that_goes_takes_its_waiting_calls_with_it_and_not_its_casts(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter)
    first, second = held(process, gate), process.client()
    second.begin("$call", "next")
    second.recv()
    second.cast("$cast", 10)
    second.close()
    wait_until(lambda: process.slot()[QUEUED] == 1, what="only the cast is left")
    gate.open()
    assert first.result() == 0
    assert first.call("$call", "next") == 11


def test_drain_gives_back_what_has_not_begun_until_resume(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter)
    first, second, third = held(process, gate), process.client(), process.client()
    second.begin("$call", "next")
    second.recv()
    process.tell("drain", timeout_s=20.0)
    assert second.recv() == [m.RETRY, 1]
    third.begin("$call", "next")
    assert third.recv() == [m.RETRY, 1]
    gate.open()
    assert first.result() == 0
    assert process.ask("drain", timeout_s=20.0) == {"running": 0}
    process.ask("resume")
    assert third.call("$call", "next") == 1


def test_a_key_that_a_drain_gave_back_is_run_when_it_is_sent_again(fork: Any, gate: Gate) -> None:
    class Marked(Counter):
        @dx.idempotent
        def handle_call(self, request: Any, from_: Any, state: int) -> Any:
            return super().handle_call(request, from_, state)

    process = fork()
    process.start(Marked)
    first, second, third = held(process, gate), process.client(), process.client()
    second.begin("$call", "next", key="k")
    second.recv()
    third.begin("$call", "next", key="k")  # waits for the other's answer
    process.tell("drain", timeout_s=20.0)
    assert second.recv() == [m.RETRY, 1]
    assert third.answer() == [m.RETRY, 1]
    gate.open()
    assert first.result() == 0
    process.ask("resume")
    number = second.begin("$call", "next", key="k")
    assert second.answer() == [m.REPLY, number, 1]


def test_drain_says_what_still_runs_when_its_time_is_over(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter)
    first = held(process, gate)
    assert process.ask("drain", timeout_s=0.0) == {"running": 1}
    gate.open()
    assert first.result() == 0


def test_a_shutdown_is_behind_everything_in_the_mailbox_and_what_comes_later_is_never_processed(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter)
    first, second, late = held(process, gate), process.client(), process.client()
    second.cast("$cast", 10)
    second.begin("$call", "next")
    process.tell("stop", reason=("shutdown", "update"), drain_s=20.0)
    process.tell("stop", reason="shutdown", drain_s=20.0)  # harmless
    process.ask("ping")
    late.cast("$cast", 100)
    late.begin("$call", "next")
    assert late.recv() == [m.RETRY, 1]
    gate.open()
    assert first.result() == 0
    assert second.result() == 11
    assert process.bye() == ("shutdown", "update")
    assert process.wait() == 0
    assert process.text().splitlines() == ["terminated ('shutdown', 'update') 12"]


def test_at_the_end_of_the_drain_calls_go_back_and_casts_are_still_run(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter)
    first, second = held(process, gate), process.client()
    second.cast("$cast", 10)
    second.begin("$call", "next")
    wait_until(lambda: process.slot()[QUEUED] == 2)
    process.tell("stop", reason="shutdown", drain_s=20.0)
    assert second.recv() == [m.BEGUN, 1, False]
    process.tell("stop", reason="shutdown", drain_s=0.0)  # less patience
    assert second.recv() == [m.RETRY, 1]
    gate.open()
    assert first.result() == 0
    assert process.bye() == "shutdown"
    assert process.text().splitlines() == ["terminated shutdown 11"]


def test_a_suspended_server_that_is_stopped_runs_nothing_of_its_queue(fork: Any) -> None:
    process = fork()
    process.start(Counter)
    process.ask("suspend")
    client = process.client()
    client.cast("$cast", 10)
    client.begin("$call", "next")
    assert client.recv() == [m.BEGUN, 1, False]
    process.tell("stop", reason="shutdown", drain_s=20.0)
    assert client.recv() == [m.RETRY, 1]
    assert process.bye() == "shutdown"
    assert process.text().splitlines() == ["terminated shutdown 0"]


def test_without_trap_exit_a_stop_ends_at_once_and_terminates_nothing(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter, trap_exit=False)
    client = held(process, gate)
    process.tell("stop", reason="shutdown", drain_s=20.0)
    assert process.bye() == "shutdown"
    assert process.wait() == 0
    assert process.text() == ""
    with pytest.raises(EOFError):
        client.answer()


@pytest.mark.parametrize(("trap_exit", "status", "log"), [(True, 0, "terminated shutdown 0\n"), (False, -signal.SIGTERM, "")])
def test_sigterm_stops_in_order_only_when_exits_are_trapped(fork: Any, trap_exit: bool, status: int, log: str) -> None:
    process = fork()
    process.start(Counter, trap_exit=trap_exit)
    os.kill(process.pid, signal.SIGINT)  # a ^C in the terminal is not for modules
    assert process.ask("ping")["pid"] == process.pid
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == status
    assert process.text() == log


def test_the_end_of_the_control_pipe_ends_the_process(fork: Any) -> None:
    process = fork()
    process.start(Counter)
    process.control.close()
    assert process.wait() == 0


def test_a_crash_gives_back_what_waited_and_says_why(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter, 4)
    first, second, third = held(process, gate), process.client(), process.client()
    second.begin("$call", "crash")
    second.recv()
    third.begin("$call", "next")
    third.recv()
    gate.open()
    assert first.result() == 4
    kind, name, message, trace = process.bye()
    assert (kind, name, message) == ("error", "ValueError", "broken on purpose")
    assert "handle_call" in trace
    assert "host/calls.py" not in trace
    assert third.recv() == [m.RETRY, 1]
    with pytest.raises((EOFError, ConnectionResetError)):
        second.answer()
    assert process.wait() == 1
    assert "terminated ('error', 'ValueError', 'broken on purpose') 5" in process.text()  # the state before that callback


@pytest.mark.parametrize(
    ("code", "reason", "status"), [(None, "normal", 0), (0, "normal", 0), (3, ("exit_status", 3), 3), ("no", ("exit_status", 1), 1)]
)
def test_sys_exit_in_a_call_ends_the_process_with_that_status(fork: Any, code: Any, reason: Any, status: int) -> None:
    process = fork()
    process.start(Counter)
    client = process.client()
    client.begin("$call", ["exit", code])
    assert process.bye() == reason
    with pytest.raises(EOFError):
        client.answer()
    assert process.wait() == status


@pytest.mark.parametrize("request_", ["lock", "huge"])
def test_a_reply_that_cannot_be_sent_is_a_fault_and_the_process_lives(fork: Any, request_: str) -> None:
    process = fork()
    process.start(Counter)
    client = process.client()
    with pytest.raises(TypeError):
        client.call("$call", request_)
    assert client.call("$call", "next") == 0
    assert process.ask("metrics")["failures"] == 1


def test_max_calls_ends_the_process_after_that_many(fork: Any) -> None:
    process = fork()
    process.start(Counter, limits=Limits(max_calls=2))
    client, other = process.client(mux=True), process.client()
    client.channel.send_many([[m.CALL, n, "$call", ["next"], {}, None, None, 0, None] for n in (1, 2, 3)])
    received = [client.recv() for _ in range(5)]  # two BEGUN, two REPLY, one RETRY
    assert [message for message in received if message[0] == m.REPLY] == [[m.REPLY, 1, 0], [m.REPLY, 2, 1]]
    assert [m.RETRY, 3] in received
    assert process.recv() == [m.EVENT, 0, {"type": "max_calls", "calls": 2}]
    assert process.bye() == ("limit", "max_calls", 2)
    other.close()


def test_a_mux_client_hears_of_every_begin(fork: Any) -> None:
    process = fork()
    process.start(Counter)
    client = process.client(mux=True)
    client.begin("$call", "next")
    assert client.recv() == [m.BEGUN, 1, True]
    assert client.recv() == [m.REPLY, 1, 0]


def test_a_client_of_another_protocol_is_refused(fork: Any) -> None:
    process = fork()
    process.start(Counter)
    client = process.client(hello=False)
    client.send([m.HELLO, 0, {"protocol": [7, 9], "mux": False, "client": "future"}])
    kind, _, refusal = client.recv()
    assert kind == m.REFUSED
    assert refusal["protocol"] == list(m.PROTOCOL)
    with pytest.raises(EOFError):
        client.recv()


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xff\xff\xff", b"\0\0\0\1\x01", b"\0\0\0\2\x91\x63", b"\0\0\0\3\x92\x04\x01"],
    ids=["length", "int", "kind", "arity"],
)
def test_garbage_costs_only_the_client_that_sent_it(fork: Any, garbage: bytes) -> None:
    process = fork()
    process.start(Counter)
    good, bad = process.client(), process.client()
    assert bad.call("$call", "next") == 0
    os.write(bad.channel.fileno(), garbage)
    with pytest.raises((EOFError, ConnectionResetError)):
        bad.recv()
    assert good.call("$call", "next") == 1


def test_an_argument_that_cannot_be_rebuilt_fails_its_own_call(fork: Any) -> None:
    process = fork()
    process.start(Counter)
    client = process.client()
    import msgpack

    body = msgpack.packb([m.CALL, 1, "$call", [msgpack.ExtType(20, b"no pickle")], {}, None, None, 0, None])
    good = process.codec.pack([m.CALL, 2, "$call", ["next"], {}, None, None, 0, None])
    os.write(client.channel.fileno(), b"".join(len(b).to_bytes(4, "big") + b for b in (body, good)))
    with pytest.raises(ProtocolError):
        client.result()
    assert client.result() == 0


def test_a_grandchild_does_not_keep_channels_open(fork: Any) -> None:
    process = fork()
    process.start(Counter)
    client = process.client()
    pid = client.call("$call", "fork")
    try:
        process.tell("stop", reason="shutdown", drain_s=1.0)
        assert process.bye() == "shutdown"
        with pytest.raises(EOFError):
            client.recv()
        with pytest.raises(EOFError):
            process.recv()
    finally:
        os.kill(pid, signal.SIGKILL)


def test_counts_show_what_is_going_on(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Counter)
    held(process, gate)
    counts = process.ask("statistics")
    assert (counts["running"], counts["queued"], counts["clients"]) == (1, 0, 1)
    gate.open()


def test_a_readiness_call_runs_as_any_other(fork: Any) -> None:
    process = fork()
    process.start(Counter, 3)
    assert process.ask("call", method="$call", args=["next"], timeout_s=5.0) == 3


class Sleeper(dx.GenServer):
    """Keeps the messages it got; a call may ask for a plain time-out, a timer and to be held at a gate."""

    def init(self, timeout: float | None = None) -> Any:
        return dx.NoReply([], timeout=timeout) if timeout is not None else []

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        match request:
            case ["sleep", seconds]:
                return dx.Reply(None, state, timeout=seconds)
            case ["timer, then wait", path]:
                dx.send_after(0.0, "timer")
                pass_through(path)
        return dx.Reply(state, state)

    def handle_info(self, message: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, message])


def test_a_plain_timeout_is_delivered_to_handle_info_when_no_message_comes(fork: Any) -> None:
    process = fork()
    process.start(Sleeper)
    process.client().call("$call", ["sleep", 0.02])
    wait_until(lambda: process.ask("get_state") == ["timeout"])


def test_init_may_ask_for_a_plain_timeout(fork: Any) -> None:
    process = fork()
    process.start(Sleeper, 0.0)
    wait_until(lambda: process.ask("get_state") == ["timeout"])


def test_a_queued_message_beats_a_timeout_of_0(fork: Any) -> None:
    process = fork()
    process.start(Sleeper)
    client = process.client(mux=True)
    client.channel.send_many(
        [
            [m.CALL, 1, "$call", [["sleep", 0]], {}, None, None, 0, None],
            [m.CAST, 0, "$info", ["a message"], {}],
            [m.CALL, 2, "$call", ["log"], {}, None, None, 0, None],
        ]
    )
    assert client.result() is None
    assert client.result() == ["a message"]
    assert process.ask("get_state") == ["a message"]


def test_a_message_still_in_the_pipe_beats_a_timeout_of_0(fork: Any, gate: Gate) -> None:
    class Held(Sleeper):
        def handle_cast(self, path: str, state: list[Any]) -> Any:
            pass_through(path)
            return dx.NoReply(state, timeout=0)

    process = fork()
    process.start(Held)
    first, second = process.client(), process.client()
    first.cast("$cast", gate.path)
    wait_until(lambda: process.slot()[RUNNING] == 1)
    second.cast("$info", "a message")
    gate.open()
    wait_until(lambda: process.ask("get_state") != [])
    assert process.ask("get_state") == ["a message"]


def test_system_messages_do_not_cancel_a_plain_timeout(fork: Any) -> None:
    process = fork()
    process.start(Sleeper)
    process.client().call("$call", ["sleep", 0.1])
    assert process.ask("get_state") in ([], ["timeout"])
    process.ask("suspend")
    process.ask("resume")
    wait_until(lambda: process.ask("get_state") == ["timeout"])


def test_a_timer_that_is_due_is_before_a_message_that_comes_later(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Sleeper)
    first, second = process.client(), process.client()
    first.begin("$call", ["timer, then wait", gate.path])
    wait_until(lambda: process.slot()[RUNNING] == 1)
    second.cast("$info", "later")
    wait_until(lambda: process.slot()[QUEUED] == 2)
    gate.open()
    assert first.result() == []
    wait_until(lambda: process.ask("get_state") == ["timer", "later"])


class Notes(dx.GenServer):
    """Keeps what it is sent, in order."""

    def init(self) -> list[Any]:
        return []

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        if request == "notes":
            return dx.Reply(state, state)
        return dx.Reply(None, [*state, request])

    def handle_cast(self, request: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, request])


def test_what_was_sent_first_over_a_pipe_that_is_not_watched_yet_runs_first(fork: Any) -> None:
    process = fork()
    process.start(Notes)
    old = process.client()
    old.send([m.CAST, 1, "$cast", [1], {}])
    for n in range(2, 42, 2):
        assert process.ask("get_state", client="test") == list(range(1, n))
        os.kill(process.pid, signal.SIGSTOP)  # so that both threads find all of it, in whichever order they wake
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        new = process.client()
        new.send([m.CAST, n, "$cast", [n], {}])
        old.send([m.CAST, n + 1, "$cast", [n + 1], {}])
        os.kill(process.pid, signal.SIGCONT)
        new.close()  # one that is closed has to be read to its end all the same


def test_what_one_client_sends_over_two_pipes_runs_in_the_order_of_sending(fork: Any) -> None:
    process = fork()
    process.start(Notes, limits=Limits(mailbox=3000))
    pipes = [process.client(), process.client(mux=True)]
    for n in range(1, 2001):
        pipes[n * 7919 % 13 % 2].send([m.CAST, n, "$cast", [n], {}])
    last = pipes[0]
    last.send([m.CALL, 2001, "$call", ["notes"], {}, None, None, 0, None])
    assert last.result() == list(range(1, 2001))
