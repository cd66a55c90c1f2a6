"""The end of a process: what runs, in which order, and what is said last."""

from __future__ import annotations

import atexit
import threading
from contextvars import copy_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.host.context import Process, cancelled, current_request, deadline
from dspex_runtime.host.ending import Ending, exit_status, plain
from dspex_runtime.host.mailbox import Request
from dspex_runtime.wire import messages as m
from helpers.hosted_process import Gate, pass_through
from helpers.waiting import wait_until

STATUSES = [
    ("normal", 0),
    ("shutdown", 0),
    (("shutdown", "update"), 0),
    (("exit_status", 3), 3),
    (("exit_status", 256 + 7), 7),
    (("error", "ValueError", "x", ""), 1),
    (("limit", "max_calls", 9), 1),
    ("killed", 1),
]


@pytest.mark.parametrize(("reason", "status"), STATUSES)
def test_the_exit_status_says_the_same_as_the_reason(reason: Any, status: int) -> None:
    assert exit_status(reason) == status


def test_a_reason_with_a_term_only_python_understands_becomes_text() -> None:
    assert plain(("shutdown", {"a": 1})) == ("shutdown", {"a": 1})
    assert plain(("shutdown", Ending)) == ("shutdown", repr(Ending))


class Story:
    """Everything that an ending reaches, as one list of what happened in which order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, gone: bool = False, raises: BaseException | None = None) -> None:
        self.happened: list[Any] = []
        self.gone = gone
        self.raises = raises
        self.serial = False
        self.ending = Ending(self)  # type: ignore[arg-type]
        self.ending.hosted = self  # type: ignore[assignment]
        self.ending.loop = SimpleNamespace(  # type: ignore[assignment]
            calls=self,
            counts=lambda: {"queued": 0},
            stop=lambda reason: self.happened.append(("stop", reason)),
            lock=threading.Lock(),
        )
        self.culprit = None
        monkeypatch.setattr(Process, "assignment", SimpleNamespace(launch=SimpleNamespace(initial_call="file.py:Story")))
        monkeypatch.setattr(atexit, "_run_exitfuncs", lambda: self.happened.append("atexit"))

    def send(self, message: list[Any]) -> None:
        if self.gone:
            raise BrokenPipeError
        self.happened.append(message)

    def terminate(self, reason: Any) -> None:
        self.happened.append(("terminate", reason))
        if self.raises is not None:
            raise self.raises

    def answer_owed(self, request: Any, value: Any) -> None:
        self.happened.append(("owed", request, value))

    def end_writes(self) -> None:
        self.happened.append("writes")

    def fault(self, exc: BaseException) -> dict[str, Any]:
        return {"type": type(exc).__name__, "message": str(exc), "traceback": "where"}


def test_terminate_the_owed_reply_what_is_given_back_begun_writes_atexit_and_bye_last(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    assert story.ending.finish("normal", ("request", 42)) == 0  # type: ignore[arg-type]
    assert story.happened == [
        ("terminate", "normal"), ("owed", "request", 42), ("stop", "normal"), "writes", "atexit", [m.BYE, 0, "normal"],
    ]  # fmt: skip


@pytest.mark.parametrize("exc", [OSError("cannot clean up"), SystemExit(0)])
def test_a_terminate_that_raises_changes_the_reason_and_nothing_else(monkeypatch: pytest.MonkeyPatch, exc: BaseException) -> None:
    story = Story(monkeypatch, raises=exc)
    assert story.ending.finish("shutdown", ("request", 42)) == 1  # type: ignore[arg-type]
    reason = ("error", type(exc).__name__, str(exc), "where")
    assert [what for what in story.happened[1:] if what[0] != m.EVENT] == [
        ("owed", "request", 42), ("stop", reason), "writes", "atexit", [m.BYE, 0, reason],
    ]  # fmt: skip


def test_without_trapped_exits_the_users_code_does_not_run_and_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    story.ending.finish("shutdown", run_terminate=False)
    assert story.happened == [("stop", "shutdown"), [m.BYE, 0, "shutdown"]]


def test_what_is_to_outlive_the_process_is_written_down_when_all_user_code_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    story.ending.closing = lambda: story.happened.append("written")
    story.ending.finish("normal")
    assert story.happened[-3:] == ["atexit", "written", [m.BYE, 0, "normal"]]


def test_a_parent_that_is_gone_does_not_stop_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, gone=True)
    assert story.ending.finish(("exit_status", 3)) == 3
    assert story.happened[-1] == "atexit"


def test_whoever_reads_a_pipe_comes_to_its_end_and_nobody_reads_after(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    assert story.ending.loop is not None
    lock, reading = story.ending.loop.lock, threading.Event()

    def read() -> None:
        with lock:
            reading.set()
            said.wait(30)
            story.happened.append("given back")

    said = threading.Event()
    story.send = lambda message: (story.happened.append(message), said.set())[0]  # type: ignore[method-assign, func-returns-value, assignment]
    reader = threading.Thread(target=read)
    reader.start()
    reading.wait()
    story.ending.finish("shutdown")
    reader.join()
    assert story.happened[-1] == "given back", "before the process is gone"
    assert lock.locked()


def test_terminate_is_nobodys_request(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    last = Request(None, 1, "method", [], {}, deadline=1.0)
    last.cancelled = True
    seen: list[Any] = []
    monkeypatch.setattr(story, "terminate", lambda reason: seen.append((deadline(), cancelled())))

    def ends_after_it() -> None:
        current_request.set(last)
        story.ending.finish("shutdown")

    copy_context().run(ends_after_it)
    assert seen == [(None, False)]


def test_an_atexit_function_that_raises_does_not_hide_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)

    def fails() -> None:
        raise SystemExit(9)

    monkeypatch.setattr(atexit, "_run_exitfuncs", fails)
    assert story.ending.finish("normal") == 0
    assert story.happened[-1] == [m.BYE, 0, "normal"]


CRASH = ("error", "ValueError", "broken", "Traceback: here")


@pytest.mark.parametrize("reason", ["normal", "shutdown", ("shutdown", "x")])
def test_no_crash_report_for_normal_shutdown_and_shutdown_x(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: Any
) -> None:
    story = Story(monkeypatch)
    story.ending.finish(reason)
    assert [message[0] for message in story.happened if isinstance(message, list)] == [m.BYE]
    assert not caplog.records


def test_a_crash_report_is_logged_before_terminate_and_sent_just_before_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    story = Story(monkeypatch)
    story.ending.finish(CRASH)
    (record,) = caplog.records
    assert record.message == "ends: ValueError: broken\nTraceback: here"
    *_, [kind, _, report], [bye, _, _] = story.happened
    assert (kind, report["type"], report["reason"], bye) == (m.EVENT, "crash_report", CRASH, m.BYE)
    assert report["initial_call"] == "file.py:Story"


def test_a_terminate_that_raises_is_what_the_crash_report_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, raises=OSError("cannot clean up"))
    story.ending.finish("shutdown")
    report = next(message[2] for message in story.happened if isinstance(message, list) and message[0] == m.EVENT)
    assert report["reason"] == ("error", "OSError", "cannot clean up", "where")


def test_an_end_that_asks_no_user_code_leaves_the_report_to_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    story.ending.finish(CRASH, run_terminate=False)
    assert [message[0] for message in story.happened if isinstance(message, list)] == [m.BYE]


class Ends(dx.GenServer):
    """Ends in many ways."""

    def init(self, path: str = "") -> Any:
        atexit.register(print, "the user's atexit")
        return {"path": path, "open": None}

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        match request:
            case "later":
                return dx.NoReply({**state, "open": from_})
            case "stop":
                return dx.Stop("normal", state, reply="the reply")
            case "unfinished":
                print("no newline", end="")
                return dx.Stop("normal", state)
        raise AssertionError(request)

    def terminate(self, reason: Any, state: Any) -> None:
        print("terminate begins")
        if state["path"]:
            pass_through(state["path"])
        if state["open"] is not None:
            print("answered", dx.reply(state["open"], "from terminate"))
        print("terminate ends")


@pytest.mark.process
def test_only_what_the_users_code_registered_runs_at_exit(fork: Any, tmp_path: Path) -> None:
    inherited = atexit.register((tmp_path / "inherited").touch)
    try:
        process = fork()
        process.start(Ends)
        process.tell("stop", reason="shutdown", drain_s=20.0)
        assert process.wait() == 0
        assert process.text().splitlines() == ["terminate begins", "terminate ends", "the user's atexit"]
        assert not (tmp_path / "inherited").exists()
    finally:
        atexit.unregister(inherited)


@pytest.mark.process
def test_terminate_runs_once_whatever_else_wants_to_end_the_process(fork: Any, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    process = fork()
    process.start(Ends, gate.path)
    client = process.client()
    client.begin("$call", "stop")
    wait_until(lambda: "terminate begins" in process.text())
    process.tell("stop", reason=("shutdown", "too late"), drain_s=0.0)
    assert process.ask("ping")["id"] == "sup/it"
    gate.open()
    assert client.result() == "the reply"
    assert process.bye() == "normal"
    with pytest.raises(EOFError):
        process.recv()
    assert process.text().count("terminate begins") == 1


@pytest.mark.process
def test_the_reply_comes_after_terminate_and_before_the_end(fork: Any, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    process = fork()
    process.start(Ends, gate.path)
    client = process.client()
    client.begin("$call", "stop")
    wait_until(lambda: "terminate begins" in process.text())
    with pytest.raises(TimeoutError):
        client.channel.recv(0.0)
    gate.open()
    assert client.result() == "the reply"
    with pytest.raises(EOFError):
        client.recv()


@pytest.mark.process
def test_terminate_may_answer_whoever_still_waits(fork: Any) -> None:
    process = fork()
    process.start(Ends)
    client = process.client()
    client.begin("$call", "later")
    wait_until(lambda: process.ask("statistics")["ended"] == 1)
    process.tell("stop", reason="shutdown", drain_s=20.0)
    assert client.result() == "from terminate"
    assert process.wait() == 0
    assert "answered True" in process.text()


@pytest.mark.process
def test_text_without_its_newline_is_not_lost(fork: Any) -> None:
    process = fork()
    process.start(Ends)
    process.client().begin("$call", "unfinished")
    assert process.wait() == 0
    assert "no newline" in process.text()
