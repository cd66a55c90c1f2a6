"""OTP's sys debug functions on one server: what is an event, who hears of it, and that nothing costs anything when off."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import ConfigError
from dspex_runtime.host.debug import Debug
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.hosted import ProcessEndedError
from dspex_runtime.host.mailbox import Request

PEER: Any = SimpleNamespace(client="me", open=True)


class Adder(dx.GenServer):
    def init(self) -> int:
        return 0

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:
        if request == "stop":
            return dx.Stop("normal", state, reply="bye")
        return dx.Reply(state + request, state + request, continue_="again" if request == 5 else dx.NOTHING)

    def handle_cast(self, request: int, state: int) -> Any:
        return dx.NoReply(state + request)

    def handle_continue(self, value: Any, state: int) -> Any:
        return dx.NoReply(state + 1)


@pytest.fixture
def server() -> ServerHost:
    hosted = ServerHost(Adder())
    hosted.start((), {})
    return hosted


def debug(server: ServerHost, command: str, **args: Any) -> Any:
    return server.debugging("it", command, args)


def send(server: ServerHost, method: str, value: Any) -> Any:
    return server.find(method).function(Request(PEER, 1, method, [value], {}))


def test_off_a_server_is_not_watched_at_all(server: ServerHost) -> None:
    entry = server.find("$call")
    assert debug(server, "log", flag=True) is None
    assert server.find("$call") is not entry
    debug(server, "log", flag=False)
    assert server.debug is None
    assert server.find("$call") is entry


def test_sys_log_keeps_messages_in_replies_out_and_new_states(server: ServerHost) -> None:
    debug(server, "log", flag=True)
    send(server, "$call", 5)
    server.after_call()
    send(server, "$cast", 2)
    assert debug(server, "log", flag="get") == [
        ("in", "call", 5, "me"), ("out", 5, "me", 5), ("noreply", 6), ("in", "cast", 2, "me"), ("noreply", 8),
    ]  # fmt: skip


def test_sys_log_keeps_ten_by_default_or_n(server: ServerHost) -> None:
    debug(server, "log", flag=True)
    for _ in range(20):
        send(server, "$cast", 1)
    assert len(debug(server, "log", flag="get")) == 10
    debug(server, "log", flag=True, n=3)
    assert debug(server, "log", flag="get") == [("noreply", 19), ("in", "cast", 1, "me"), ("noreply", 20)]
    debug(server, "log", flag=False)
    assert debug(server, "log", flag="get") == []


def test_sys_log_has_the_reply_of_a_stop(server: ServerHost) -> None:
    debug(server, "log", flag=True)
    with pytest.raises(ProcessEndedError):
        send(server, "$call", "stop")
    assert debug(server, "log", flag="get")[-1] == ("out", "bye", "me", 0)


def test_sys_trace_and_print_write_lines(server: ServerHost, capsys: pytest.CaptureFixture[str]) -> None:
    debug(server, "trace", flag=True)
    send(server, "$call", 1)
    debug(server, "trace", flag=False)
    debug(server, "log", flag=True)
    send(server, "$cast", 1)
    assert capsys.readouterr().out.splitlines() == ["*DBG* it got call 1 from me", "*DBG* it sent 1 to me, new state 1"]
    debug(server, "log", flag="print")
    assert capsys.readouterr().out.splitlines() == ["*DBG* it got cast 1 from me", "*DBG* it new state 2"]


def test_sys_statistics_counts_while_on(server: ServerHost) -> None:
    assert debug(server, "statistics", flag="get") == "no_statistics"
    debug(server, "statistics", flag=True)
    send(server, "$call", 1)
    send(server, "$cast", 1)
    figures = debug(server, "statistics", flag="get")
    assert figures.keys() == {"start_time", "current_time", "messages_in", "messages_out"}
    assert (figures["messages_in"], figures["messages_out"]) == (2, 1)
    assert figures["start_time"] <= figures["current_time"]
    debug(server, "statistics", flag=False)
    assert debug(server, "statistics", flag="get") == "no_statistics"


def test_sys_log_to_file_writes_there_until_it_is_off(server: ServerHost, tmp_path: Path) -> None:
    path = tmp_path / "events"
    debug(server, "log_to_file", flag=str(path))
    send(server, "$cast", 1)
    debug(server, "log_to_file", flag=False)
    send(server, "$cast", 1)
    assert path.read_text().splitlines() == ["*DBG* it got cast 1 from me", "*DBG* it new state 1"]
    with pytest.raises(OSError, match="No such file"):
        debug(server, "log_to_file", flag=str(tmp_path / "nowhere" / "events"))


def test_sys_install_calls_with_its_own_state_until_done(server: ServerHost) -> None:
    seen: list[Any] = []

    def hook(own: int, event: Any, state: int) -> Any:
        seen.append((own, event[0], state))
        return "done" if own == 2 else own + 1

    debug(server, "install", name="h", function=hook, state=0)
    debug(server, "install", name="h", function=lambda *_: seen.append("a second one"))  # installed already: stays
    send(server, "$call", 1)
    send(server, "$cast", 1)
    assert seen == [(0, "in", 0), (1, "out", 1), (2, "in", 1)]


def test_sys_install_a_hook_that_raises_is_removed_silently(server: ServerHost) -> None:
    called: list[Any] = []

    def hook(*_: Any) -> None:
        called.append(1)
        raise ValueError("in a hook")

    debug(server, "install", name="bad", function=hook)
    debug(server, "log", flag=True)
    assert send(server, "$call", 1) == 1
    assert called == [1]


def test_sys_remove_and_no_debug(server: ServerHost, tmp_path: Path) -> None:
    called: list[Any] = []
    debug(server, "install", name="h", function=lambda *_: called.append(1))
    debug(server, "remove", name="h")
    debug(server, "remove", name="never there")
    assert server.debug is None
    debug(server, "install", name="h", function=lambda *_: called.append(1))
    debug(server, "trace", flag=True)
    debug(server, "statistics", flag=True)
    debug(server, "log_to_file", flag=str(tmp_path / "events"))
    debug(server, "no_debug")
    assert server.debug is None
    send(server, "$cast", 1)
    assert called == []


@pytest.mark.parametrize(
    ("command", "args", "text"),
    [
        ("fly", {}, "no debug command 'fly'; it has trace, log, statistics, log_to_file, install, remove, no_debug"),
        ("trace", {"flag": "yes"}, "trace takes True or False, got 'yes'"),
        ("log", {"flag": True, "n": 0}, "whole number from 1 on; got 0"),
        ("log", {"flag": "gte"}, "log takes True, False, 'get' or 'print', got 'gte'"),
        ("statistics", {"flag": "x"}, "statistics takes True, False or 'get', got 'x'"),
        ("log_to_file", {"flag": 5}, "log_to_file takes a path or None, got 5"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_with_what_is_allowed(command: str, args: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        Debug("it").command(command, args)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_sys_install_a_hook_that_tries_to_end_the_process_is_removed(server: ServerHost, error: type[BaseException]) -> None:
    def hook(state: Any, event: Any, server_state: Any) -> Any:
        raise error

    debug(server, "install", name="h", function=hook)
    send(server, "$cast", 1)
    assert server.get_state() == 1
    debug(server, "remove", name="no other")
    assert server.debug is None
