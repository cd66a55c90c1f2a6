"""One request over a borrowed pipe: what is answered, what is sent again, and what its caller is told."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.client.calls import call, cast
from dspex_runtime.client.deadline import deadline_scope
from dspex_runtime.client.ref import ModuleRef, ServerRef
from dspex_runtime.errors import (
    CallTimeoutError,
    ConfigError,
    NoProcessError,
    OverloadedError,
    ProcessDownError,
    ProtocolError,
    RemoteError,
    RuntimeUnreachableError,
    UnserialisableError,
)
from dspex_runtime.host.context import CallCancelledError, Process, current_request
from dspex_runtime.host.mailbox import Request
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.messages import BEGUN, CALL, CANCEL, CAST, EVENT, FAULT, OVERLOADED, REFUSED, REPLY, RETRY, SUBSCRIBE
from helpers.waiting import wait_until


def test_a_call_returns_what_the_module_replied(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module())
    assert ModuleRef(session, "qa").call("ask", "why") == "why"


def test_a_thread_uses_the_same_pipe_again(runtime: Any, session: Any, module: Any) -> None:
    qa = runtime.start("qa", module())
    for n in range(10):
        assert ModuleRef(session, "qa").call("ask", n) == n
    assert len(qa.pipes) == 1


def test_eight_threads_get_their_own_answers(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module())
    ref = ModuleRef(session, "qa")
    wrong: list[Any] = []

    def ask(thread: int) -> None:
        for n in range(200):
            answer = ref.call("ask", [thread, n])
            if answer != [thread, n]:
                wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(session.pool("qa").idle) <= 4


def test_what_the_module_raised_is_raised_as_its_own_type(runtime: Any, session: Any, module: Any) -> None:
    def fail(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            try:
                raise ZeroDivisionError("by nought")
            except ZeroDivisionError as exc:
                pipe.say(FAULT, message[1], to_fault(exc, id="qa", incarnation=1, codec=Codec(pickle=True)))

    qa = runtime.start("qa", module(fail))
    ref = ModuleRef(session, "qa")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="by nought") as caught:
            ref.call("divide")
        assert isinstance(caught.value.__cause__, RemoteError)
        assert caught.value.__cause__.id == "qa"
    assert len(qa.pipes) == 1


def test_a_full_mailbox_is_an_error_that_names_the_limit(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module(lambda pipe: pipe.say(OVERLOADED, pipe.next()[1], 1000)))
    with pytest.raises(OverloadedError, match="1000") as caught:
        ModuleRef(session, "qa").call("ask")
    assert caught.value.limit == 1000
    assert caught.value.retryable


def test_an_unknown_id_is_no_process(session: Any) -> None:
    with pytest.raises(NoProcessError, match="nobody"):
        ModuleRef(session, "nobody").call("ask")


def test_a_request_that_died_unread_runs_in_the_next_incarnation(runtime: Any, session: Any, module: Any) -> None:
    first = module(lambda pipe: None, incarnation=1)
    first.serve = lambda pipe: (unread.wait(20), pipe.die())
    unread = threading.Event()
    runtime.start("qa", first)
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(ModuleRef(session, "qa").call("ask", "again")))
    caller.start()
    # The pipe's hello and the call lie unread in the socket when the module dies.
    wait_until(lambda: first.pipes)
    unread.set()
    runtime.parked("qa")
    runtime.start("qa", module(incarnation=2))
    caller.join(20)
    assert answers == ["again"]


def test_a_request_that_was_read_fails_at_once_with_the_exit_reason(runtime: Any, session: Any, module: Any) -> None:
    runtime.handlers["exit_of"] = lambda args: ("signal", "SEGV")
    runtime.start("qa", module(lambda pipe: (pipe.next(), pipe.die())))
    with pytest.raises(ProcessDownError) as caught:
        ModuleRef(session, "qa").call("ask", timeout=20)
    assert caught.value.reason == ("signal", "SEGV")
    assert caught.value.incarnation == 1
    assert not caught.value.retryable


def test_the_caller_is_told_although_the_runtime_does_not_know_the_reason(
    runtime: Any, session: Any, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dspex_runtime.client.exits.REASON_WAIT_S", 0.01)
    del runtime.handlers["exit_of"]
    runtime.start("qa", module(lambda pipe: (pipe.next(), pipe.die())))
    with pytest.raises(ProcessDownError, match="no exit"):
        ModuleRef(session, "qa").call("ask", timeout=20)


def test_a_request_that_only_waited_in_the_mailbox_runs_in_the_next_incarnation(runtime: Any, session: Any, module: Any) -> None:
    def queue_and_die(pipe: Any) -> None:
        pipe.say(BEGUN, pipe.next()[1], False)
        pipe.die()
        runtime.start("qa", module(incarnation=2))

    runtime.start("qa", module(queue_and_die))
    assert ModuleRef(session, "qa").call("ask", "later", timeout=20) == "later"


def test_a_request_that_waited_and_then_began_is_not_sent_again(runtime: Any, session: Any, module: Any) -> None:
    def begin_and_die(pipe: Any) -> None:
        number = pipe.next()[1]
        pipe.say(BEGUN, number, False)
        pipe.say(BEGUN, number, True)
        pipe.die()

    runtime.start("qa", module(begin_and_die))
    with pytest.raises(ProcessDownError):
        ModuleRef(session, "qa").call("ask", timeout=20)


def test_an_idempotent_request_is_sent_again_with_the_same_key(runtime: Any, session: Any, module: Any) -> None:
    keys: list[Any] = []

    def read_and_die(pipe: Any) -> None:
        keys.append(pipe.next()[6])
        pipe.die()
        runtime.start("qa", module(answer, incarnation=2, idempotent=("ask",)))

    def answer(pipe: Any) -> None:
        message = pipe.next()
        keys.append(message[6])
        pipe.say(REPLY, message[1], "done")

    runtime.start("qa", module(read_and_die, idempotent=("ask",)))
    assert ModuleRef(session, "qa").call("ask", timeout=20) == "done"
    assert keys[0] is not None
    assert keys[0] == keys[1]


def test_a_method_that_is_not_idempotent_carries_no_key(runtime: Any, session: Any, module: Any) -> None:
    keys: list[Any] = []

    def note(pipe: Any) -> None:
        message = pipe.next()
        keys.append(message[6])
        pipe.say(REPLY, message[1], None)

    runtime.start("qa", module(note, idempotent=("other",)))
    ModuleRef(session, "qa").call("ask")
    assert keys == [None]


def test_a_request_given_back_runs_where_the_runtime_says_it_is_ready(runtime: Any, session: Any, module: Any) -> None:
    def give_back(pipe: Any) -> None:
        number = pipe.next()[1]
        runtime.start("qa", module(incarnation=2))
        pipe.say(RETRY, number)

    runtime.start("qa", module(give_back))
    assert ModuleRef(session, "qa").call("ask", 7, timeout=20) == 7


def test_a_request_given_back_may_run_in_the_same_incarnation(runtime: Any, session: Any, module: Any) -> None:
    # A swap that failed: the old version goes on serving.
    given_back: list[Any] = []

    def serve(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            if not given_back:
                given_back.append(message)
                pipe.say(RETRY, message[1])
            else:
                pipe.say(REPLY, message[1], "served")

    runtime.start("qa", module(serve))
    assert ModuleRef(session, "qa").call("ask", timeout=20) == "served"


def test_a_stale_pooled_pipe_is_found_dead_and_the_call_goes_to_the_next_incarnation(
    runtime: Any, session: Any, module: Any
) -> None:
    first = runtime.start("qa", module())
    ref = ModuleRef(session, "qa")
    assert ref.call("ask", 1) == 1
    runtime.start("qa", module(incarnation=2))
    first.pipes[0].sock.shutdown(2)
    assert ref.call("ask", 2, timeout=20) == 2
    assert session.pool("qa").after == 1


def test_all_idle_pipes_of_a_dead_incarnation_are_dropped_at_once(runtime: Any, session: Any, module: Any) -> None:
    first = runtime.start("qa", module())
    pool = session.pool("qa")
    links = [pool.borrow(None) for _ in range(3)]
    for link in links:
        pool.give_back(link)
    assert len(pool.idle) == 3
    runtime.start("qa", module(incarnation=2))
    for pipe in first.pipes:
        pipe.sock.shutdown(2)
    assert call(pool, "ask", (1,), {}, 20.0) == 1
    assert [link.incarnation for link in pool.idle] == [2]


def test_a_deadline_that_passes_cancels_the_call_and_hints_at_the_runtime(runtime: Any, session: Any, module: Any) -> None:
    seen: list[Any] = []
    ended = threading.Event()

    def ignore(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            seen.append(message)
        ended.set()

    runtime.start("qa", module(ignore))
    with pytest.raises(CallTimeoutError, match=r"'qa'\.ask") as caught:
        ModuleRef(session, "qa").call("ask", timeout=0.5)
    assert isinstance(caught.value, TimeoutError)
    assert ended.wait(20)
    assert [message[0] for message in seen] == [CALL, CANCEL]
    assert seen[1][1] == seen[0][1]
    hint = runtime.heard(lambda message: message[2:3] == ["unanswered"])
    assert hint[3] == {"id": "qa", "incarnation": 1}


def test_a_late_reply_is_never_given_to_another_call(runtime: Any, session: Any, module: Any) -> None:
    def late(pipe: Any) -> None:
        first = pipe.next()
        while (message := pipe.next()) is not None:
            try:
                pipe.say(REPLY, first[1], "late")
                pipe.say(REPLY, message[1], "right")
            except OSError:
                return  # the client has closed the pipe: nobody can get the late reply

    runtime.start("qa", module(late))
    ref = ModuleRef(session, "qa")
    with pytest.raises(CallTimeoutError):
        ref.call("ask", timeout=0.5)
    runtime.modules["qa"].serve = lambda pipe: pipe.say(REPLY, pipe.next()[1], "right")
    assert ref.call("ask", timeout=20) == "right"


def test_no_time_at_all_fails_without_asking(runtime: Any, session: Any, module: Any) -> None:
    qa = runtime.start("qa", module())
    with pytest.raises(CallTimeoutError):
        ModuleRef(session, "qa").call("ask", timeout=0)
    assert qa.pipes == []


class Deadlines(list[Any]):
    """A module that notes by when each answer is wanted."""

    def __call__(self, pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            self.append(message[5])
            pipe.say(REPLY, message[1], None)


def test_without_a_time_out_the_modules_own_holds(runtime: Any, session: Any, module: Any) -> None:
    deadlines = Deadlines()
    runtime.start("qa", module(deadlines, call_timeout_s=300.0))
    before = monotonic()
    ModuleRef(session, "qa").call("ask")
    ModuleRef(session, "qa").call("ask")
    ServerRef(session, "qa").call("ask", timeout=None)
    after = monotonic()
    assert all(before + 300 <= deadline <= after + 300 for deadline in deadlines[:2])
    assert deadlines[2] is None


def test_a_call_made_inside_a_call_ends_with_it(runtime: Any, session: Any, module: Any) -> None:
    deadlines: list[Any] = []

    def note(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            deadlines.append(message[5])
            pipe.say(REPLY, message[1], None)

    runtime.start("qa", module(note))
    own = monotonic() + 30
    with deadline_scope(own):
        ModuleRef(session, "qa").call("ask", timeout=1000)
    assert deadlines == [own]


def test_waiting_for_an_incarnation_ends_at_the_deadline_and_is_given_up(runtime: Any, session: Any) -> None:
    runtime.modules["qa"] = None
    with pytest.raises(CallTimeoutError, match="not ready"):
        ModuleRef(session, "qa").call("ask", timeout=0.5)
    runtime.heard(lambda message: message[0] == CANCEL)


def test_an_interrupt_in_the_middle_closes_the_pipe(runtime: Any, session: Any, module: Any) -> None:
    cancelled = threading.Event()

    def serve(pipe: Any) -> None:
        number = pipe.next()[1]
        message = pipe.next()
        if message is not None and message[:2] == [CANCEL, number]:
            cancelled.set()

    runtime.start("qa", module(serve))
    pool = session.pool("qa")
    link = pool.borrow(None)

    def interrupted(deadline: float | None) -> Any:
        raise KeyboardInterrupt

    link.recv = interrupted  # as if Ctrl-C came while it waited
    pool.give_back(link)
    with pytest.raises(KeyboardInterrupt):
        call(pool, "ask", (), {}, 20.0)
    assert cancelled.wait(20)
    assert pool.idle == []


def test_an_argument_that_cannot_be_sent_leaves_the_pipe_as_it_was(runtime: Any, session: Any, module: Any) -> None:
    qa = runtime.start("qa", module())
    ref = ModuleRef(session, "qa")
    with pytest.raises(UnserialisableError):
        ref.call("ask", threading.Lock())
    assert ref.call("ask", 3) == 3
    assert len(qa.pipes) == 1


def test_garbage_with_a_call_in_flight_is_the_end_of_the_process(runtime: Any, session: Any, module: Any) -> None:
    def babble(pipe: Any) -> None:
        pipe.next()
        pipe.sock.sendall(b"\xff" * 100)

    runtime.start("qa", module(babble))
    for ask in (lambda ref: ref.call("ask"), lambda ref: list(ref.stream("ask"))):
        with pytest.raises(ProcessDownError) as caught:
            ask(ModuleRef(session, "qa"))
        assert (caught.value.reason, type(caught.value.__cause__)) == ("killed", ProtocolError)


@pytest.mark.parametrize("timeout", ["5", [1], float("nan")])
def test_a_time_out_that_is_no_number_is_refused(runtime: Any, session: Any, module: Any, timeout: Any) -> None:
    runtime.start("qa", module())
    with pytest.raises(ConfigError, match="a time-out is a number of seconds"):
        ModuleRef(session, "qa").call("ask", timeout=timeout)


def test_a_module_of_another_protocol_is_a_protocol_error(runtime: Any, session: Any, module: Any) -> None:
    def refuse(pipe: Any) -> None:
        pipe.next()
        pipe.say(REFUSED, 0, {"message": "I speak 7 to 9", "protocol": [7, 9]})

    runtime.start("qa", module(refuse))
    with pytest.raises(ProtocolError, match="7 to 9"):
        ModuleRef(session, "qa").call("ask")


def test_a_cast_and_a_later_call_of_one_thread_arrive_in_that_order(runtime: Any, session: Any, module: Any) -> None:
    seen: list[tuple[Any, Any]] = []

    def note(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            seen.append((message[0], pipe))
            if message[0] == CALL:
                pipe.say(REPLY, message[1], None)

    runtime.start("qa", module(note))
    pool = session.pool("qa")
    spare = pool.borrow(None)
    cast(pool, "note", (1,), {})
    pool.give_back(spare)  # the most recently used idle pipe is now another one
    call(pool, "ask", (), {}, 20.0)
    assert [kind for kind, _ in seen] == [CAST, CALL]
    assert seen[0][1] is seen[1][1]


def test_a_cast_to_nobody_is_silent(session: Any) -> None:
    ModuleRef(session, "nobody").cast("note")


def test_calls_fail_clearly_when_the_runtime_is_gone(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module())
    runtime.hang_up()
    with pytest.raises(RuntimeUnreachableError):
        ModuleRef(session, "qa").call("ask")


def test_a_call_in_flight_when_this_process_closes_the_session_ends(runtime: Any, session: Any, module: Any) -> None:
    reading = threading.Event()
    runtime.start("qa", module(lambda pipe: (pipe.next(), reading.set(), pipe.next())))
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            ModuleRef(session, "qa").call("ask", timeout=20)
        except BaseException as exc:
            errors.append(exc)

    caller = threading.Thread(target=ask)
    caller.start()
    assert reading.wait(20)
    session.close()
    caller.join(20)
    assert [type(error) for error in errors] == [RuntimeUnreachableError]


def test_2_2_a_call_reads_its_own_answer_and_nothing_else_however_much_its_caller_has_not_read(
    runtime: Any, session: Any, module: Any
) -> None:
    runtime.start("qa", module())
    pool = session.pool("qa")
    unread = session.connection.subscribe("events", {"since": None})
    number = runtime.heard(lambda message: message[0] == SUBSCRIBE)[1]
    for n in range(1000):
        runtime.push(EVENT, number, {"n": n})
    link, reads = pool.borrow(None), []
    receive = link.recv

    def counted(deadline: float | None) -> Any:
        reads.append(deadline)
        return receive(deadline)

    link.recv = counted
    pool.give_back(link)
    assert [call(pool, "ask", (n,), {}, 20.0) for n in range(3)] == [0, 1, 2]
    assert len(reads) == 3
    assert wait_until(unread.take) == (True, {"n": 0})


def test_2_2_a_call_of_a_server_waits_five_seconds_unless_told_otherwise_and_for_ever_if_told_so(
    runtime: Any, session: Any, module: Any
) -> None:
    deadlines = Deadlines()
    runtime.start("qa", module(deadlines, call_timeout_s=300.0))
    before = monotonic()
    ServerRef(session, "qa").call("ask")
    ServerRef(session, "qa").call("ask", timeout=None)
    assert before + 5 <= deadlines[0] <= monotonic() + 5
    assert deadlines[1] is None


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Any:
    """This thread serves a request of the module "a", which was called by another one."""
    monkeypatch.setattr(Process, "assignment", SimpleNamespace(id="a", socket="/elsewhere", incarnation=1))
    request = Request(None, 1, "forward", [], {}, chain=[["z", 3]])
    token = current_request.set(request)
    yield request
    current_request.reset(token)


@pytest.mark.parametrize("how", ["call", "stream", "acall", "astream", "send_request"])
def test_a_call_says_who_waits_for_it(runtime: Any, session: Any, module: Any, served: Request, how: str) -> None:
    chains: list[Any] = []

    def note(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            if message[0] == CALL:
                chains.append(message[8])
                pipe.say(REPLY, message[1], None)

    runtime.start("qa", module(note))
    ref = ModuleRef(session, "qa")

    async def awaited() -> None:
        if how == "acall":
            await ref.acall("ask")
        else:
            async for _ in ref.astream("ask"):
                pass
        session.mux(asyncio.get_running_loop()).close()

    if how in ("acall", "astream"):
        asyncio.run(awaited())
    elif how == "send_request":
        ServerRef(session, "qa").send_request("x").wait(20)
        assert chains == [None]  # nobody waits for it, or not at once
        return
    elif how == "stream":
        list(ref.stream("ask"))
    else:
        ref.call("ask")
    ((above, own),) = chains
    assert (above, own[0]) == (["z", 3], "a")
    assert chains == [served.onward]


def test_outside_a_module_nobody_waits(runtime: Any, session: Any, module: Any) -> None:
    chains: list[Any] = []

    def note(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            chains.append(message[8])
            pipe.say(REPLY, message[1], None)

    runtime.start("qa", module(note))
    ModuleRef(session, "qa").call("ask")
    assert chains == [None]


@pytest.mark.parametrize("how", ["call", "stream"])
def test_a_thread_that_waits_wakes_when_its_own_call_is_given_up(runtime: Any, session: Any, module: Any, how: str) -> None:
    asked, closed = threading.Event(), threading.Event()

    def silent(pipe: Any) -> None:
        if pipe.next()[3] == ["answer"]:
            pipe.say(REPLY, 2, "x")
            return
        asked.set()
        while pipe.next() is not None:
            pass
        closed.set()

    request, ended = Request(None, 1, "forward", [], {}), []
    runtime.start("qa", module(silent))
    ref = ModuleRef(session, "qa")

    def serve() -> None:
        current_request.set(request)
        try:
            ref.call("ask") if how == "call" else list(ref.stream("ask"))
        except BaseException as exc:
            ended.append(type(exc))

    thread = threading.Thread(target=serve)
    thread.start()
    assert asked.wait(20)
    request.give_up()
    thread.join(20)
    assert ended == [CallCancelledError]
    assert closed.wait(20)  # that is how the module learns it
    assert request.wakers == set()
    pool = session.pool("qa")
    assert (pool.after, pool.idle) == (0, [])  # it is not taken for dead, and nobody gets that pipe
    assert ref.call("ask", "answer") == "x"


def test_what_is_asked_for_a_call_that_is_given_up_is_not_sent(runtime: Any, session: Any, module: Any, served: Request) -> None:
    qa = runtime.start("qa", module())
    served.give_up()
    with pytest.raises(CallCancelledError):
        ModuleRef(session, "qa").call("ask", 1)
    assert qa.pipes == []
