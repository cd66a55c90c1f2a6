"""Requests that are sent now and waited for later."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dspex_runtime.client.ref import ModuleRef, ServerRef
from dspex_runtime.client.requests import Requests, call_arguments
from dspex_runtime.errors import CallTimeoutError, NoProcessError, RuntimeUnreachableError
from dspex_runtime.wire.messages import CALL, CANCEL, REPLY


def holding(release: threading.Event) -> Any:
    def serve(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            if message[0] == CALL:
                release.wait(20)
                pipe.say(REPLY, message[1], message[3][0])

    return serve


def test_a_request_may_be_waited_for_again_after_a_time_out(runtime: Any, session: Any, module: Any) -> None:
    release = threading.Event()
    runtime.start("c", module(holding(release)))
    request = ServerRef(session, "c").send_request("x")
    with pytest.raises(CallTimeoutError):
        request.wait(0.02)
    assert not request.done
    release.set()
    assert request.wait(20) == "x"
    assert request.wait() == "x"


def test_abandoning_a_request_tells_the_server(runtime: Any, session: Any, module: Any) -> None:
    got, cancelled = threading.Event(), threading.Event()

    def serve(pipe: Any) -> None:
        number = pipe.next()[1]
        got.set()
        if pipe.next() == [CANCEL, number]:
            cancelled.set()
        pipe.next()

    runtime.start("c", module(serve))
    request = ServerRef(session, "c").send_request("x")
    assert got.wait(20)
    request.cancel()
    assert cancelled.wait(20)
    with pytest.raises(CallTimeoutError, match="cancelled"):
        request.wait(1)


def test_the_error_of_a_dead_target_comes_as_its_answer(session: Any) -> None:
    request = ServerRef(session, "nobody").send_request("x")
    with pytest.raises(NoProcessError):
        request.wait(20)


def test_results_come_in_completion_order_with_their_labels(runtime: Any, session: Any, module: Any) -> None:
    release = threading.Event()
    runtime.start("slow", module(holding(release)))
    runtime.start("fast", module())
    requests = Requests(timeout=20)
    requests.send(ServerRef(session, "slow"), "tortoise", label="first sent")
    requests.call(ModuleRef(session, "fast"), "ask", "hare")
    results = iter(requests)
    assert next(results) == ("fast", "hare")
    release.set()
    assert next(results) == ("first sent", "tortoise")
    assert list(results) == []


def test_what_is_unanswered_at_the_deadline_is_a_time_out(runtime: Any, session: Any, module: Any) -> None:
    release = threading.Event()
    runtime.start("slow", module(holding(release)))
    runtime.start("fast", module())
    requests = Requests(timeout=0.2)
    for label in "ab":
        requests.send(ServerRef(session, "slow"), "x", label=label)
    requests.send(ServerRef(session, "fast"), "y", label="c")
    results = dict(requests)
    release.set()
    assert results["c"] == "y"
    assert isinstance(results["a"], CallTimeoutError)
    assert isinstance(results["b"], CallTimeoutError)


@pytest.mark.parametrize(
    ("inputs", "arguments"),
    [({"q": 1}, ((), {"q": 1})), ([1, 2], ((1, 2), {})), ((1,), ((1,), {})), ("text", (("text",), {})), (None, ((None,), {}))],
)
def test_inputs_are_keywords_or_positions(inputs: Any, arguments: Any) -> None:
    assert call_arguments(inputs) == arguments


@pytest.mark.process
def test_closing_the_session_leaves_no_thread(runtime: Any, session: Any, module: Any) -> None:
    release = threading.Event()
    runtime.start("c", module(holding(release)))
    request = ServerRef(session, "c").send_request("x")
    session.close()
    release.set()
    assert request.done
    assert "dspex-requests" not in {thread.name for thread in threading.enumerate()}
    runtime.close()


@pytest.mark.process
def test_a_pipe_that_arrives_while_the_session_closes_is_closed(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("c", module())
    links = session.mux(session.background().loop)
    links.close_threadsafe()
    with pytest.raises(RuntimeUnreachableError):
        session.background().submit(links.link(session.pool("c"), None)).result(20)
    session.close()
    runtime.close()
