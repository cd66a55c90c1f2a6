"""Many calls at once: what comes back and in which order, and that nothing goes on that nobody waits for."""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.client.gathering import Gathering, gather, parted
from dspex_runtime.client.ref import ModuleRef, ServerRef
from dspex_runtime.errors import CallTimeoutError, ConfigError, NoProcessError, RuntimeUnreachableError, UnserialisableError
from dspex_runtime.host.context import CallCancelledError, current_request
from dspex_runtime.host.mailbox import Request
from helpers.words import Words


@pytest.fixture
def home(session: Any) -> Any:
    return SimpleNamespace(session=session)


def test_responses_come_in_the_order_in_which_calls_end(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a", "b")
    calls = [
        ("one", ServerRef(session, "a"), "x"),
        (ModuleRef(session, "b"), {"word": "y"}),
        ("three", ServerRef(session, "a"), "z"),
    ]
    gathering = gather(home, calls, 20)
    desk.wait("x", "y", "z")
    found = []
    for word in ("z", "x", "y"):
        desk.answer(word)
        found.append(next(gathering))
    assert found == [("three", "Z"), ("one", "X"), ("b", "Y")]
    assert list(gathering) == []


def test_what_is_not_answered_at_the_deadline_is_an_error_each_and_given_up(
    runtime: Any, session: Any, module: Any, home: Any
) -> None:
    desk = Words(runtime, module, "a")
    gathering = gather(home, [(word, ServerRef(session, "a"), word) for word in "xyz"], 0.3)
    desk.wait("x", "y", "z")
    desk.answer("y")
    results = dict(gathering)
    assert results["y"] == "Y"
    assert isinstance(results["x"], CallTimeoutError)
    assert isinstance(results["z"], CallTimeoutError)
    desk.wait("x", "z", what="cancelled")


def test_leaving_it_gives_up_the_rest(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a")
    calls = [("at once", ServerRef(session, "a"), "now")] + [(word, ServerRef(session, "a"), word) for word in "xyz"]
    for label, result in gather(home, calls, None):
        assert (label, result) == ("at once", "NOW")
        desk.wait("x", "y", "z")
        break
    desk.wait("x", "y", "z", what="cancelled")


def test_forgetting_it_gives_it_up(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a")
    gathering = gather(home, [(ServerRef(session, "a"), "x")], None)
    desk.wait("x")
    del gathering
    desk.wait("x", what="cancelled")


def test_an_exception_in_between_gives_it_up(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a")
    gathering = gather(home, [(ServerRef(session, "a"), "x")], None)
    desk.wait("x")
    with pytest.raises(ZeroDivisionError), gathering:
        raise ZeroDivisionError
    desk.wait("x", what="cancelled")


def test_errors_come_under_their_labels(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a")
    runtime.handlers["callees"] = lambda args: [None for _ in args["ids"]]
    lock = threading.Lock()
    calls = [("good", ServerRef(session, "a"), "x"), ("gone", "nobody", {}), ("bad", ServerRef(session, "a"), {"lock": lock})]
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "dspy", raising=False)
        gathering = gather(home, calls, 20)
    desk.answer("x")
    results = dict(gathering)
    assert results["good"] == "X"
    assert isinstance(results["gone"], NoProcessError)
    assert isinstance(results["bad"], UnserialisableError)


def test_what_ids_are_is_asked_once(runtime: Any, session: Any, module: Any, home: Any) -> None:
    asked: list[Any] = []

    def callees(args: Any) -> Any:
        asked.append(args["ids"])
        return [{"id": id, "kind": "server", "at_once": 1, "awaited": False, "takes": None} for id in args["ids"]]

    runtime.handlers["callees"] = callees
    desk = Words(runtime, module, "a", "b", "c")
    gathering = gather(home, [("a", "x"), ("b", "y"), ("a", "z"), (ServerRef(session, "c"), "w")], 20)
    for word in "xyzw":
        desk.answer(word)
    assert {result for _, result in gathering} == {"X", "Y", "Z", "W"}
    assert asked == [["a", "b"]]


@pytest.mark.parametrize("call", [("a",), ("l", "a", {}, 1), "a", 7, None], ids=str)
def test_a_call_that_is_none_is_refused_before_any_is_made(runtime: Any, session: Any, module: Any, home: Any, call: Any) -> None:
    desk = Words(runtime, module, "a")
    with pytest.raises(ConfigError, match="is \\(target, inputs\\) or \\(label, target, inputs\\)"):
        gather(home, [(ServerRef(session, "a"), "x"), call], 20)
    assert desk.begun == []


def test_a_target_that_is_none_is_refused(home: Any) -> None:
    with pytest.raises(ConfigError, match="expected an id, a reference, or a program to call; got 7"):
        gather(home, [(7, {})], 20)


def test_parts_of_a_call() -> None:
    assert parted(("a", {"x": 1})) == (None, "a", {"x": 1})
    assert parted(["l", "a", "r"]) == ("l", "a", "r")


def test_programs_of_this_process_run_on_threads_with_the_callers_context(home: Any) -> None:
    word: ContextVar[str] = ContextVar("word", default="none")
    together = threading.Barrier(3)

    def program(n: int) -> Any:
        together.wait(20)
        return n, word.get(), threading.current_thread() is threading.main_thread()

    word.set("mine")
    before = threading.active_count()
    with gather(home, [(n, program, [n]) for n in range(3)], 20) as gathering:
        assert sorted(gathering) == [(n, (n, "mine", False)) for n in range(3)]
    for thread in threading.enumerate():
        if thread.name.startswith("dspex-gather"):
            thread.join(20)
    assert threading.active_count() <= before


def test_no_thread_for_each_call(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a")
    with gather(home, [(ServerRef(session, "a"), "first")], 20):
        desk.wait("first")
        before = threading.active_count()
        with gather(home, [(n, ServerRef(session, "a"), f"w{n}") for n in range(200)], 20):
            desk.wait(*(f"w{n}" for n in range(200)))
            assert threading.active_count() == before


def test_calls_end_with_the_callers_own_deadline(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a")
    token = current_request.set(Request(None, 1, "forward", [], {}, deadline=1e9))
    try:
        with gather(home, [(ServerRef(session, "a"), "x")], None) as gathering:
            desk.wait("x")
            assert desk.deadlines == [1e9]
            assert gathering.deadline == 1e9
        assert Gathering(None).deadline == 1e9
    finally:
        current_request.reset(token)
    assert Gathering(None).deadline == inf


def test_a_request_that_is_given_up_ends_what_is_gathered_for_it(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a")
    request = Request(None, 1, "forward", [], {})
    ended: list[BaseException] = []

    def serve() -> None:
        current_request.set(request)
        try:
            list(gather(home, [(ServerRef(session, "a"), "x"), (ServerRef(session, "a"), "y")], None))
        except BaseException as exc:
            ended.append(exc)

    thread = threading.Thread(target=serve)
    thread.start()
    desk.wait("x", "y")
    request.give_up()
    thread.join(20)
    assert [type(exc) for exc in ended] == [CallCancelledError]
    desk.wait("x", "y", what="cancelled")


def test_a_connection_that_is_closed_is_an_error(session: Any, home: Any) -> None:
    session.close()
    with pytest.raises(RuntimeUnreachableError):
        gather(home, [(ServerRef(session, "a"), "x")], 20)
