"""What a GenServer may do from its callbacks: answer later, timers, be looked at and held. On a real process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.host.context import Process
from dspex_runtime.host.timers import Row, Timer
from dspex_runtime.osproc.board import BEGUN, QUEUED, RUNNING
from dspex_runtime.wire import messages as m
from helpers.hosted_process import Gate, pass_through
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


class Desk(dx.GenServer):
    """State: {"open": callers to be answered later, "log": what happened}."""

    def init(self, *log: str) -> dict[str, Any]:
        return {"open": [], "log": list(log), "timer": None}

    def handle_call(self, request: Any, from_: Any, state: dict[str, Any]) -> Any:
        match request:
            case "later":
                return dx.NoReply({**state, "open": [*state["open"], from_]})
            case ["answer", value]:
                given = [dx.reply(caller, value) for caller in state["open"]]
                return dx.Reply(given, state)
            case "log":
                return dx.Reply(state["log"], state)
            case ["after", seconds, message]:
                return dx.Reply(None, {**state, "timer": dx.send_after(seconds, message)})
            case ["arm", *timers]:
                for seconds, message in timers:
                    dx.send_after(seconds, message)
                return dx.Reply(None, state)
            case "cancel_timer":
                return dx.Reply(dx.cancel_timer(state["timer"]) is not None, state)
            case ["then", what]:
                return dx.Reply("replied first", state, continue_=what)
            case ["stop", reply]:
                return dx.Stop("normal", {**state, "log": ["stopped"]}, reply=reply)
            case "crash later":
                return dx.Reply("fine", state, continue_="crash")
            case ["wait", path]:
                pass_through(path)
                return dx.Reply(None, state)
            case "me":
                return dx.Reply(dx.self_id(), state)
            case "async":
                return _coroutine()
        raise AssertionError(request)

    def handle_info(self, message: Any, state: dict[str, Any]) -> Any:
        state["log"].append(message)
        return dx.NoReply(state)

    def handle_continue(self, value: Any, state: dict[str, Any]) -> Any:
        if value == "crash":
            raise RuntimeError("in continue")
        state["log"].append(value)
        return dx.NoReply(state)

    def terminate(self, reason: Any, state: dict[str, Any]) -> None:
        if state["log"] == ["fail in terminate"]:
            raise OSError("cannot clean up")
        print("terminate", reason, state["log"])

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        return {**status, "state": "hidden"}


async def _coroutine() -> None:
    pass


def test_a_call_may_be_answered_later_and_only_once(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    asker, answerer = process.client(), process.client()
    asker.begin("$call", "later")
    wait_until(lambda: process.ask("statistics")["ended"] == 1)
    assert answerer.call("$call", ["answer", 42]) == [True]
    assert asker.recv() == [m.REPLY, 1, 42]
    assert answerer.call("$call", ["answer", 43]) == [False]


def test_an_answer_to_a_client_that_is_gone_is_dropped(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    asker, answerer = process.client(), process.client()
    asker.begin("$call", "later")
    wait_until(lambda: process.ask("statistics")["ended"] == 1)
    asker.close()
    wait_until(lambda: process.ask("statistics")["clients"] == 1)
    assert answerer.call("$call", ["answer", 42]) == [False]


def test_a_timer_delivers_its_message_to_handle_info(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    client = process.client()
    client.call("$call", ["arm", [0.3, "second"], [0.0, "first"]])
    wait_until(lambda: client.call("$call", "log") == ["first", "second"])


def test_a_cancelled_timer_delivers_nothing(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    client = process.client()
    client.call("$call", ["after", 60.0, "never"])
    assert client.call("$call", "cancel_timer") is True
    assert client.call("$call", "cancel_timer") is False
    client.call("$call", ["after", 0.03, "later"])
    wait_until(lambda: client.call("$call", "log") == ["later"])


class Early(dx.GenServer):
    """Sends to itself while it is not there yet."""

    def init(self, *, continues: bool = False) -> Any:
        mail = Process.mail
        assert mail is not None
        never = dx.send_after(60.0, "never")
        mail.put("me", "$cast", ["first"], {})
        mail.put("me", "$info", ["second"], {})
        dx.send_after(0.02, "later")
        assert dx.cancel_timer(never) is not None
        return dx.NoReply([], continue_="continued") if continues else []

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        return dx.Reply(state, state)

    def handle_cast(self, message: Any, state: list[Any]) -> Any:
        if message == "again":
            Process.mail.put("me", "$cast", ["own"], {})  # type: ignore[union-attr]
        return dx.NoReply([*state, message])

    handle_info = handle_continue = handle_cast


@pytest.mark.parametrize("continues", [False, True])
def test_what_init_sends_to_itself_comes_after_it_and_after_its_continue(fork: Any, continues: bool) -> None:
    process = fork()
    process.start(Early, kwargs={"continues": continues})
    client = process.client()
    expected = [*(["continued"] if continues else []), "first", "second"]
    assert client.call("$call", "?")[: len(expected)] == expected
    wait_until(lambda: client.call("$call", "?") == [*expected, "later"])


def test_a_message_to_oneself_from_a_callback_is_queued_and_done_when_oneself_asks_for_the_state(fork: Any) -> None:
    process = fork()
    process.start(Early)
    wait_until(lambda: process.ask("get_state")[2:] == ["later"])
    client = process.client()
    client.cast("$cast", "again")
    wait_until(lambda: process.ask("get_state", client="me")[3:] == ["again", "own"])


def test_a_message_to_oneself_is_behind_what_was_sent_before_and_not_read_yet(fork: Any, tmp_path: Path) -> None:
    class Held(Early):
        def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
            pass_through(request)
            return self.handle_cast("again", state)

    process = fork()
    process.start(Held)
    gate, client, other = Gate(tmp_path / "gate"), process.client(), process.client()
    wait_until(lambda: process.ask("get_state")[2:] == ["later"])
    client.begin("$call", gate.path)
    wait_until(lambda: process.slot()[RUNNING] == 1)
    other.cast("$cast", "sent before")
    process.ask("ping")
    gate.open()
    wait_until(lambda: process.ask("get_state")[3:] == ["again", "sent before", "own"])


def test_a_message_to_oneself_from_another_thread_wakes_the_server(fork: Any) -> None:
    class Threaded(Early):
        def init(self, *, continues: bool = False) -> Any:
            def send() -> None:
                wait_until(lambda: Process.loop is not None and Process.loop.counts()["ended"] == 1)
                Process.mail.put("me", "$cast", ["from a thread"], {})  # type: ignore[union-attr]

            threading.Thread(target=send, daemon=True).start()
            return []

    process = fork()
    process.start(Threaded)
    process.client().call("$call", "begin")
    wait_until(lambda: process.slot()[BEGUN] == 2)


def test_send_after_is_for_a_servers_process() -> None:
    with pytest.raises(RuntimeError, match="from its init on"):
        dx.send_after(1.0, "x")
    assert dx.cancel_timer(Timer(0.0, 1, "x", Row())) is None


def test_continue_runs_after_the_reply_and_before_what_is_queued(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    client = process.client(mux=True)
    client.channel.send_many(
        [[m.CALL, 1, "$call", [["then", "x"]], {}, None, None, 0, None], [m.CALL, 2, "$call", ["log"], {}, None, None, 0, None]]
    )
    assert client.result() == "replied first"
    assert client.result() == ["x"]


def test_a_crash_in_continue_ends_the_process_after_the_reply(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    client = process.client()
    assert client.call("$call", "crash later") == "fine"
    assert process.bye()[:3] == ("error", "RuntimeError", "in continue")
    assert process.wait() == 1


def test_a_stop_terminates_then_replies_then_exits(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    client = process.client()
    assert client.call("$call", ["stop", "bye"]) == "bye"
    assert "terminate normal ['stopped']" in process.text()
    assert process.bye() == "normal"
    assert process.wait() == 0


def test_a_terminate_that_raises_gives_the_reason_and_the_reply_is_sent(fork: Any) -> None:
    process = fork()
    process.start(Desk, "fail in terminate")
    process.tell("stop", reason="shutdown", drain_s=1.0)
    assert process.bye()[:3] == ("error", "OSError", "cannot clean up")
    assert process.wait() == 1


def test_a_suspended_server_takes_nothing_but_system_requests(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    client = process.client()
    assert client.call("$call", "log") == []
    process.ask("suspend")
    client.begin("$call", "log")
    assert client.recv() == [m.BEGUN, 2, False]
    process.ask("replace_state", function=cloudpickle.dumps(lambda state: {**state, "log": ["replaced"]}))
    assert process.ask("get_state")["log"] == ["replaced"]
    assert process.slot()[QUEUED] == 1
    process.ask("resume")
    assert client.result() == ["replaced"]


def test_a_suspended_server_can_be_stopped(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    process.ask("suspend")
    process.tell("stop", reason="shutdown", drain_s=20.0)
    assert process.bye() == "shutdown"


def test_get_state_waits_for_the_callback_that_runs(fork: Any, tmp_path: Path) -> None:
    process = fork()
    process.start(Desk, "kept")
    gate, client = Gate(tmp_path / "gate"), process.client()
    client.begin("$call", ["wait", gate.path])
    wait_until(lambda: process.slot()[RUNNING] == 1)
    process.control.send([m.CONTROL, 900, "get_state", {}])
    assert process.ask("ping")["id"] == "sup/it"
    gate.open()
    assert process.recv()[:2] == [m.REPLY, 900]


def test_a_state_that_cannot_be_replaced_stays(fork: Any) -> None:
    process = fork()
    process.start(Desk, "kept")
    with pytest.raises(ZeroDivisionError):
        process.ask("replace_state", function=cloudpickle.dumps(lambda _: 1 / 0))
    assert process.ask("get_state")["log"] == ["kept"]


def test_format_status_hides_the_state_from_people(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    assert process.ask("status")["state"] == "hidden"
    client = process.client()
    client.begin("$call", "unknown")
    process.bye()
    assert "hidden" in process.text()


def test_an_async_callback_is_a_bad_return_value_with_a_hint(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    process.client().begin("$call", "async")
    assert "not async" in process.bye()[2]


def test_user_code_knows_who_it_is(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    assert process.client().call("$call", "me") == "sup/it"


def test_an_unknown_operation_is_refused(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    with pytest.raises(Exception, match="no operation 'fly'"):
        process.ask("fly")


def test_self_id_has_no_answer_outside_a_module() -> None:
    with pytest.raises(RuntimeError, match="only inside"):
        dx.self_id()
