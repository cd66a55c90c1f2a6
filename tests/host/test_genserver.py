"""What a GenServer's callbacks return, and what follows from it. OTP's rules; no process, no channel."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import NoProcessError, StartError
from dspex_runtime.host import sub_modules
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.hosted import NO_REPLY, ProcessEndedError, QuietStartError, UnknownMethodError
from dspex_runtime.host.mailbox import Request


class Scripted(dx.GenServer):
    """Returns what the test wrote down, and keeps what it was asked."""

    def __init__(self, **script: Any) -> None:
        self.script = script
        self.seen: list[Any] = []

    def _play(self, name: str, *args: Any) -> Any:
        self.seen.append((name, *args))
        result = self.script[name]
        if isinstance(result, list):
            result = result.pop(0)
        if isinstance(result, BaseException):
            raise result
        return result

    def init(self) -> Any:
        return self._play("init")

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        return self._play("handle_call", request, state)

    def handle_cast(self, request: Any, state: Any) -> Any:
        return self._play("handle_cast", request, state)

    def handle_info(self, message: Any, state: Any) -> Any:
        return self._play("handle_info", message, state)

    def handle_continue(self, value: Any, state: Any) -> Any:
        return self._play("handle_continue", value, state)


def host(**script: Any) -> ServerHost:
    hosted = ServerHost(Scripted(**{"init": "S0", **script}))
    assert hosted.start((), {})
    return hosted


def send(hosted: ServerHost, method: str, payload: Any = "q") -> Any:
    return hosted.find(method).function(Request(None, 1, method, [payload], {}))


def test_reply_gives_the_value_and_the_next_state() -> None:
    hosted = host(handle_call=dx.Reply("A", "S1"))
    assert send(hosted, "$call") == "A"
    assert hosted.get_state() == "S1"


@pytest.mark.parametrize(("method", "callback"), [("$call", "handle_call"), ("$cast", "handle_cast"), ("$info", "handle_info")])
def test_no_reply_keeps_the_call_open_and_takes_the_state(method: str, callback: str) -> None:
    hosted = host(**{callback: dx.NoReply("S1")})
    assert send(hosted, method) is NO_REPLY
    assert hosted.get_state() == "S1"


@pytest.mark.parametrize(("method", "callback"), [("$call", "handle_call"), ("$cast", "handle_cast"), ("$info", "handle_info")])
def test_stop_ends_with_its_reason_and_state(method: str, callback: str) -> None:
    hosted = host(**{callback: dx.Stop(("shutdown", "done"), "S1")})
    with pytest.raises(ProcessEndedError) as ended:
        send(hosted, method)
    assert ended.value.reason == ("shutdown", "done")
    assert ended.value.reply is NO_REPLY
    assert hosted.get_state() == "S1"


def test_stop_may_reply_and_may_keep_the_state() -> None:
    hosted = host(handle_call=dx.Stop("normal", reply=None))
    with pytest.raises(ProcessEndedError) as ended:
        send(hosted, "$call")
    assert (ended.value.reason, ended.value.reply, hosted.get_state()) == ("normal", None, "S0")


def test_a_callback_that_raises_leaves_the_state_before_it() -> None:
    hosted = host(handle_call=ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        send(hosted, "$call")
    assert hosted.get_state() == "S0"


@pytest.mark.parametrize(
    ("method", "callback", "value"),
    [
        ("$call", "handle_call", "nothing"),
        ("$call", "handle_call", None),
        ("$cast", "handle_cast", dx.Reply(1, 2)),
        ("$info", "handle_info", 3),
    ],
)
def test_a_bad_return_value_ends_the_process(method: str, callback: str, value: Any) -> None:
    hosted = host(**{callback: value})
    with pytest.raises(ProcessEndedError) as ended:
        send(hosted, method)
    kind, name, message, _ = ended.value.reason
    assert (kind, name) == ("error", "BadReturnValue")
    assert f"Scripted.{callback} returned {value!r}" in message


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        ("handle_call", "expected dx.Reply, dx.NoReply or dx.Stop"),
        ("handle_cast", "expected dx.NoReply or dx.Stop"),
        ("handle_info", "expected dx.NoReply or dx.Stop"),
        ("handle_continue", "expected dx.NoReply or dx.Stop"),
    ],
)
def test_a_bad_return_value_names_what_this_callback_may_return(callback: str, expected: str) -> None:
    hosted = host(**{"init": dx.NoReply("S0", continue_="x"), callback: 3})
    with pytest.raises(ProcessEndedError) as ended:
        hosted.after_call() if callback == "handle_continue" else send(hosted, callback.replace("handle_", "$"))
    assert expected in ended.value.reason[2]


@pytest.mark.parametrize("reason", ["killed", "noproc", ("signal", "SEGV"), ("exit_status", 3), ("limit", "memory", 1), "badthing"])
def test_a_stop_cannot_claim_what_only_happens(reason: Any) -> None:
    hosted = host(handle_cast=dx.Stop(reason, "S1"))
    with pytest.raises(ProcessEndedError) as ended:
        send(hosted, "$cast")
    assert ended.value.reason == ("error", "Stop", reason if isinstance(reason, str) else repr(reason), "")
    with pytest.raises(StartError) as failed:
        ServerHost(Scripted(init=dx.Stop(reason))).start((), {})
    assert failed.value.reason == ended.value.reason


def test_continue_runs_before_anything_queued_and_may_chain() -> None:
    hosted = host(
        handle_call=dx.Reply("A", "S1", continue_="one"),
        handle_continue=[dx.NoReply("S2", continue_="two"), dx.NoReply("S3")],
    )
    assert send(hosted, "$call") == "A"
    hosted.after_call()
    hosted.after_call()
    server: Any = hosted.server
    assert server.seen[2:] == [("handle_continue", "one", "S1"), ("handle_continue", "two", "S2")]
    assert hosted.get_state() == "S3"


def test_init_may_ask_to_continue() -> None:
    hosted = host(init=dx.NoReply("S0", continue_="load"), handle_continue=dx.NoReply("S1"))
    assert hosted.after_call() is None
    assert hosted.get_state() == "S1"


@pytest.mark.parametrize(("given", "idle_s"), [(0, 0), (0.5, 0.5), (math.inf, None)])
def test_a_plain_timeout_is_asked_for_by_init_and_callbacks(given: float, idle_s: float | None) -> None:
    hosted = host(init=dx.NoReply("S0", timeout=given))
    assert hosted.after_call() == idle_s
    assert hosted.after_call() is None  # it is asked for once, by the last callback
    hosted = host(handle_call=dx.Reply("A", "S1", timeout=given))
    send(hosted, "$call")
    assert hosted.after_call() == idle_s


def test_continue_may_ask_for_a_plain_timeout() -> None:
    hosted = host(init=dx.NoReply("S0", continue_="load"), handle_continue=dx.NoReply("S1", timeout=3))
    assert hosted.after_call() == 3


BAD_ACTIONS = {"negative": {"timeout": -1}, "nan": {"timeout": math.nan}, "a bool": {"timeout": True}, "text": {"timeout": "1s"},
               "both": {"timeout": 1, "continue_": "x"}}  # fmt: skip


@pytest.mark.parametrize("action", BAD_ACTIONS.values(), ids=BAD_ACTIONS.keys())
def test_an_invalid_action_ends_the_process_before_the_reply_and_keeps_the_state(action: dict[str, Any]) -> None:
    for method, callback, result in (
        ("$call", "handle_call", dx.Reply("A", "S1", **action)),
        ("$cast", "handle_cast", dx.NoReply("S1", **action)),
    ):
        hosted = host(**{callback: result})
        with pytest.raises(ProcessEndedError) as ended:
            send(hosted, method)
        assert ended.value.reason[1] == "BadReturnValue"
        assert "timeout" in ended.value.reason[2]
        assert ended.value.reply is NO_REPLY
        assert hosted.get_state() == "S0"


@pytest.mark.parametrize("value", [dx.Reply(1, 2), dx.NoReply("S0", timeout=-1)])
def test_init_with_a_bad_return_value_is_a_failed_start(value: Any) -> None:
    with pytest.raises(StartError, match="init returned") as failed:
        ServerHost(Scripted(init=value)).start((), {})
    assert failed.value.reason is not None
    assert failed.value.reason[1] == "BadReturnValue"


def test_an_async_init_is_a_bad_return_value() -> None:
    class Async(dx.GenServer):
        async def init(self) -> None:
            return None

    with pytest.raises(StartError, match="callbacks are not async"):
        ServerHost(Async()).start((), {})


def test_init_that_fails_quietly_says_so_with_its_reason() -> None:
    with pytest.raises(QuietStartError) as failed:
        ServerHost(Scripted(init=dx.Fail("no licence"))).start((), {})
    assert failed.value.reason == ("error", "Stop", "no licence", "")


def test_init_may_be_ignored() -> None:
    assert not ServerHost(Scripted(init=dx.Ignore())).start((), {})


def test_init_that_stops_is_a_failed_start_with_its_reason() -> None:
    with pytest.raises(StartError) as failed:
        ServerHost(Scripted(init=dx.Stop(("shutdown", "no disk")))).start((), {})
    assert failed.value.reason == ("shutdown", "no disk")


def test_a_missing_init_says_so() -> None:
    with pytest.raises(StartError, match=r"GenServer\.init"):
        ServerHost(dx.GenServer()).start((), {})


class Deaf(dx.GenServer):
    def init(self) -> None:
        return None


def test_a_missing_handle_continue_ends_the_process_and_a_missing_terminate_does_not() -> None:
    class Continues(dx.GenServer):
        def init(self) -> Any:
            return dx.NoReply(0, continue_="x")

    hosted = ServerHost(Continues())
    hosted.start((), {})
    hosted.terminate("shutdown")
    with pytest.raises(ProcessEndedError) as ended:
        hosted.after_call()
    assert ended.value.reason[1] == "UndefinedFunctionError"


@pytest.mark.parametrize("method", ["$call", "$cast"])
def test_a_missing_callback_ends_the_process(method: str) -> None:
    with pytest.raises(ProcessEndedError) as ended:
        send(ServerHost(Deaf()), method)
    assert ended.value.reason[1] == "UndefinedFunctionError"


def test_a_missing_handle_info_only_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert send(ServerHost(Deaf()), "$info", "hello") is NO_REPLY
    assert "hello" in caplog.text


def test_an_unknown_method_is_the_callers_error() -> None:
    with pytest.raises(UnknownMethodError, match="no method 'forward'"):
        ServerHost(Deaf()).find("forward")


def test_only_a_marked_handle_call_is_idempotent() -> None:
    class Marked(Deaf):
        @dx.idempotent
        def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
            return dx.Reply(request, state)

    assert ServerHost(Marked()).idempotent_methods() == ["$call"]
    assert ServerHost(Deaf()).idempotent_methods() == []


def test_another_server_that_answers_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for: list[str] = []

    def server(id: str) -> Any:
        looked_for.append(id)
        if id == "none":
            raise NoProcessError("none")
        return SimpleNamespace(call=lambda request, timeout: (id, request, timeout))

    monkeypatch.setattr("dspex_runtime.server", server, raising=False)
    sub_modules.fallback.cache_clear()
    hosted, requests = host(), [Request(None, 1, "$call", [n], {}) for n in range(4)]
    for request in requests[:2]:  # one that cannot be asked ends nobody, and is looked for again
        missing = hosted.find_degraded("$call", "none")
        assert missing is not None
        with pytest.raises(NoProcessError):
            missing.function(request)
    for request in requests[2:]:
        found = hosted.find_degraded("$call", "spare")
        assert found is not None
        assert found.function(request) == ("spare", request.args[0], None)
    assert looked_for == ["none", "none", "spare"]
    assert all(request.degraded for request in requests)
    sub_modules.fallback.cache_clear()
