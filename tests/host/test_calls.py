"""What results and exceptions become on their way out; a call from begin to end is in test_server_loop and test_hosting."""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.host.causes import error_text, fault_reason, system_exit_reason, without_own_frames
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.targets import resolve
from dspex_runtime.wire import messages as m

EXITS = [
    (None, "normal"),
    (0, "normal"),
    (3, ("exit_status", 3)),
    (259, ("exit_status", 3)),
    (-1, ("exit_status", 255)),
    ("text", ("exit_status", 1)),
]


@pytest.mark.parametrize(("code", "reason"), EXITS)
def test_an_exit_means_what_it_means_in_any_python_program(code: Any, reason: Any) -> None:
    assert system_exit_reason(SystemExit(code)) == reason


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_an_error_is_one_bounded_line_whatever_its_str_does() -> None:
    assert error_text(KeyError("x")) == "KeyError: 'x'"
    assert len(error_text(ValueError("x" * 10_000))) == 500
    assert error_text(UnprintableError()) == "UnprintableError: its __str__ raised ZeroDivisionError"


def test_a_crash_reason_is_made_of_the_faults_texts() -> None:
    fault = {"type": "pkg.Error", "message": "m", "traceback": "t", "more": 1}
    assert fault_reason(fault) == ("error", "pkg.Error", "m", "t")


def frames(exc: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(without_own_frames(exc.__traceback__))]


class Server(dx.GenServer):
    def init(self) -> Any:
        return self.inner()

    def inner(self) -> Any:
        raise LookupError


def test_a_traceback_begins_in_the_users_code() -> None:
    host = ServerHost(Server())
    with pytest.raises(LookupError) as caught:
        host.start((), {})
    caught.value.__traceback__ = caught.tb.tb_next  # this test is no frame of ours
    assert frames(caught.value) == ["init", "inner"]


def test_frames_of_the_import_system_are_ours_too(tmp_path: Path) -> None:
    (tmp_path / "calls_broken.py").write_text("def boom():\n    raise LookupError\nboom()\n")
    with pytest.raises(LookupError) as caught:
        resolve(f"{tmp_path}/calls_broken.py:It")
    caught.value.__traceback__ = caught.tb.tb_next
    assert frames(caught.value) == ["<module>", "boom"]


def test_an_error_that_never_reached_the_users_code_keeps_its_last_frame() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("no_such_module_at_all")
    caught.value.__traceback__ = caught.tb.tb_next
    assert len(frames(caught.value)) == 1
    assert without_own_frames(None) is None


class Desk(dx.GenServer):
    """Shows what a callback finds out about its request."""

    def init(self) -> Any:
        return []

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        from dspex_runtime.host.context import deadline

        return dx.Reply(state, [*state, ("call", deadline())], continue_="more")

    def handle_continue(self, value: Any, state: list[Any]) -> Any:
        from dspex_runtime.host.context import deadline

        return dx.NoReply([*state, (value, deadline())])


@pytest.mark.process
def test_what_follows_a_reply_has_no_deadline_of_that_call(fork: Any) -> None:
    process = fork()
    process.start(Desk)
    client = process.client()
    client.begin("$call", None, deadline=1e9)
    client.result()
    assert process.ask("get_state") == [("call", 1e9), ("more", None)]


@pytest.mark.process
def test_a_held_reply_goes_out_with_the_next_announcement(fork: Any) -> None:
    process = fork()
    process.start(Counts)
    client = process.client(mux=True)
    client.channel.send_many([[m.CALL, n, "$call", [None], {}, None, None, 0, None] for n in (1, 2, 3)])
    received = [client.recv() for _ in range(6)]
    assert [message[:2] for message in received] == [[kind, n] for n in (1, 2, 3) for kind in (m.BEGUN, m.REPLY)]
    assert [message[2] for message in received if message[0] == m.REPLY] == [0, 1, 2]


class Counts(dx.GenServer):
    def init(self) -> Any:
        return 0

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:
        return dx.Reply(state, state + 1)


class Giver(dx.GenServer):
    """Sends its `from_` away and answers all the same."""

    def init(self) -> Any:
        return None

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        import pickle

        from dspex_runtime.host.context import Process

        if request == "open":
            assert Process.loop is not None
            return dx.Reply(len(Process.loop.deferred), state)
        pickle.dumps(from_)
        return dx.Reply(request, state)


@pytest.mark.process
def test_a_call_whose_from_was_sent_away_and_that_is_answered_here_is_not_kept(fork: Any) -> None:
    process = fork()
    process.start(Giver)
    client = process.client()
    assert [client.call("$call", n) for n in range(3)] == [0, 1, 2]
    assert client.call("$call", "open") == 0
