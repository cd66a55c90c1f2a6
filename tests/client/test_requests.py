"""Requests that are sent now and waited for later."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from dspex_runtime.client.collection import call_arguments
from dspex_runtime.client.ref import ModuleRef, ServerRef
from dspex_runtime.client.requests import Requests
from dspex_runtime.errors import CallTimeoutError, ConfigError, NoProcessError, RuntimeUnreachableError
from dspex_runtime.wire.messages import BEGUN, CALL, CANCEL, REPLY


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
    assert ServerRef(session, "fast").call("before") == "before"  # its pipe is there: the time is that of the requests
    requests = Requests(timeout=1.0)
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
    session.mux(session.background().loop).close_threadsafe()
    with pytest.raises(RuntimeUnreachableError):
        ServerRef(session, "c").send_request("x").wait(20)
    session.close()
    runtime.close()


class TestOrder:
    """Signals between a pair are delivered in order (otp-semantics §4): the sender's part of it."""

    def test_it_is_written_when_send_request_returns(self, runtime: Any, session: Any, module: Any) -> None:
        read, look = threading.Event(), threading.Event()
        heard: list[Any] = []

        def serve(pipe: Any) -> None:
            look.wait(20)
            pipe.sock.setblocking(False)  # whatever is not here now comes too late
            heard.append(pipe.next()[3])
            pipe.sock.settimeout(20)
            read.set()
            pipe.next()

        for n in range(20):
            read.clear()
            look.clear()
            fresh = f"c{n}"
            runtime.start(fresh, module(serve))
            request = ServerRef(session, fresh).send_request(n)
            look.set()
            assert read.wait(20)
            request.cancel()
        assert heard == [[n] for n in range(20)]

    def test_a_target_that_is_not_ready_holds_up_nobody_who_sends(self, runtime: Any, session: Any, module: Any) -> None:
        runtime.modules["c"] = None
        requests = [ServerRef(session, "c").send_request(n) for n in range(3)]  # the later ones wait behind the first
        assert not any(request.done for request in requests)
        runtime.start("c", module())
        assert [request.wait(20) for request in requests] == [0, 1, 2]

    def test_what_one_thread_sends_is_numbered_in_one_row_whichever_pipe_it_takes(
        self, runtime: Any, session: Any, module: Any
    ) -> None:
        seen: list[tuple[int, Any]] = []
        full = threading.Event()

        def serve(pipe: Any) -> None:
            while (message := pipe.next()) is not None:
                seen.append((message[1], message[3][0]))
                if message[0] == CALL:
                    pipe.say(REPLY, message[1], message[3][0])
                if len(seen) == 12:
                    full.set()

        runtime.start("c", module(serve))
        ref = ServerRef(session, "c")
        for n in range(0, 12, 4):
            ref.cast(n)
            ref.send_request(n + 1)
            ref.info_message(n + 2)
            ref.call(n + 3)
        assert full.wait(20)
        assert [what for _, what in sorted(seen)] == list(range(12))


class TestOneRequest:
    """OTP's wait_response, receive_response and check_response (otp-semantics §2.6)."""

    def test_receive_abandons_at_the_time_out(self, runtime: Any, session: Any, module: Any) -> None:
        release = threading.Event()
        runtime.start("c", module(holding(release)))
        request = ServerRef(session, "c").send_request("x")
        with pytest.raises(CallTimeoutError, match="did not answer"):
            request.receive(0.02)
        release.set()
        with pytest.raises(CallTimeoutError, match="cancelled"):
            request.wait(20)

    def test_check_does_not_wait(self, runtime: Any, session: Any, module: Any) -> None:
        release = threading.Event()
        runtime.start("c", module(holding(release)))
        request = ServerRef(session, "c").send_request("x")
        assert request.check() == "no_reply"
        assert request.check(None) is None
        release.set()
        assert request.wait(20) == request.check() == request.receive() == "x"

    def test_check_raises_the_error_that_came(self, session: Any) -> None:
        request = ServerRef(session, "nobody").send_request("x")
        with pytest.raises(NoProcessError):
            request.wait(20)
        with pytest.raises(NoProcessError):
            request.check()
        assert not request.answered


class TestCollections:
    """OTP's request id collections (otp-semantics §2.6)."""

    def test_an_empty_one_is_no_request(self) -> None:
        requests = Requests()
        assert [requests.wait(), requests.receive(), requests.check()] == ["no_request"] * 3

    def test_a_request_is_added_once(self, runtime: Any, session: Any, module: Any) -> None:
        runtime.start("c", module())
        requests = Requests()
        request = requests.add(ServerRef(session, "c").send_request("x"), label="mine")
        with pytest.raises(ConfigError, match="already"):
            requests.add(request, label="again")
        with pytest.raises(ConfigError, match="takes no inputs"):
            requests.add(request, "inputs")
        with pytest.raises(ConfigError, match="and its inputs"):
            requests.add(ServerRef(session, "c"))
        assert requests.wait(20) == ("mine", "x")
        assert len(requests) == 0

    def test_responses_come_in_completion_order_errors_among_them(self, runtime: Any, session: Any, module: Any) -> None:
        release = threading.Event()
        runtime.start("slow", module(holding(release)))
        requests = Requests()
        requests.send(ServerRef(session, "slow"), "tortoise")
        requests.send(ServerRef(session, "nobody"), "?", label="dead")
        label, error = requests.wait(20)
        assert (label, type(error)) == ("dead", NoProcessError)
        assert requests.check() == "no_reply"
        release.set()
        assert requests.wait(20) == ("slow", "tortoise")
        assert requests.check() == "no_request"

    def test_wait_goes_on_after_a_time_out_and_receive_abandons_all(self, runtime: Any, session: Any, module: Any) -> None:
        release = threading.Event()
        runtime.start("slow", module(holding(release)))
        requests = Requests()
        sent = [requests.send(ServerRef(session, "slow"), n) for n in range(2)]
        with pytest.raises(CallTimeoutError):
            requests.wait(0.02)
        assert len(requests) == 2
        with pytest.raises(CallTimeoutError):
            requests.receive(0.02)
        assert requests.wait() == "no_request"
        release.set()
        assert all(request.done and not request.answered for request in sent)

    def test_with_delete_false_handled_requests_stay_and_are_not_given_again(self, runtime: Any, session: Any, module: Any) -> None:
        runtime.start("c", module())
        requests = Requests()
        for label in "ab":
            requests.send(ServerRef(session, "c"), label, label=label)
        assert {requests.wait(20, delete=False), requests.wait(20, delete=False)} == {("a", "a"), ("b", "b")}
        assert len(requests) == 2
        assert requests.check() == "no_reply"
        with pytest.raises(CallTimeoutError):
            requests.wait()  # none will ever come

    def test_a_deadline_may_be_a_moment(self, runtime: Any, session: Any, module: Any) -> None:
        release = threading.Event()
        runtime.start("slow", module(holding(release)))
        requests = Requests(timeout=3600, deadline=time.monotonic() + 0.05)
        requests.add(ServerRef(session, "slow").send_request("x"))
        with pytest.raises(CallTimeoutError):
            requests.wait(3600)
        requests.close()
        release.set()


def test_2_6_an_error_has_its_reason_and_the_server_it_is_about(runtime: Any, session: Any, module: Any) -> None:
    def read_and_die(pipe: Any) -> None:
        pipe.say(BEGUN, pipe.next()[1], True)
        pipe.die()

    runtime.handlers["exit_of"] = lambda args: ("signal", "SEGV")
    runtime.start("c", module(read_and_die))
    requests = Requests()
    requests.send(ServerRef(session, "c"), "x", label="mine")
    label, error = requests.wait(20)
    assert (label, error.id, error.reason) == ("mine", "c", ("signal", "SEGV"))
