"""Calls of tasks over one multiplexed pipe: the rules of the synchronous ones, many in flight."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from dspex_runtime.client import aio
from dspex_runtime.errors import CallTimeoutError, NoProcessError, OverloadedError, ProcessDownError, RuntimeUnreachableError
from dspex_runtime.wire.messages import BEGUN, CALL, CANCEL, CAST, OVERLOADED, REPLY, RETRY
from helpers.looped import go


def mux_echo(pipe: Any) -> None:
    while (message := pipe.next()) is not None:
        if message[0] == CALL:
            pipe.say(BEGUN, message[1], True)
            pipe.say(REPLY, message[1], message[3][0])


def test_many_calls_share_one_pipe(runtime: Any, session: Any, module: Any) -> None:
    qa = runtime.start("qa", module(mux_echo))
    ref = aio.ModuleRef(session, "qa")

    async def main() -> Any:
        return await asyncio.gather(*[ref.call("ask", n) for n in range(500)])

    assert go(session, main()) == list(range(500))
    assert len(qa.pipes) == 1
    assert qa.pipes[0].hello[2]["mux"] is True


def test_answers_may_come_in_any_order(runtime: Any, session: Any, module: Any) -> None:
    def serve(pipe: Any) -> None:
        calls = [pipe.next() for _ in range(3)]
        for message in reversed(calls):
            pipe.say(REPLY, message[1], message[3][0])
        pipe.next()

    runtime.start("qa", module(serve))
    ref = aio.ModuleRef(session, "qa")

    async def main() -> Any:
        return await asyncio.gather(*[ref.call("ask", n) for n in range(3)])

    assert go(session, main()) == [0, 1, 2]


def test_cancelling_the_task_cancels_the_call_and_its_late_reply_is_dropped(runtime: Any, session: Any, module: Any) -> None:
    got_it, cancelled = threading.Event(), threading.Event()

    def serve(pipe: Any) -> None:
        first = pipe.next()
        got_it.set()
        assert pipe.next() == [CANCEL, first[1]]
        cancelled.set()
        pipe.say(REPLY, first[1], "late")
        mux_echo(pipe)

    runtime.start("qa", module(serve))
    ref = aio.ModuleRef(session, "qa")

    async def main() -> Any:
        task = asyncio.ensure_future(ref.call("ask", 1))
        await asyncio.to_thread(got_it.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(cancelled.wait, 20)
        return await ref.call("ask", 2)

    assert go(session, main()) == 2


def test_each_call_has_its_own_deadline(runtime: Any, session: Any, module: Any) -> None:
    def serve(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            if message[0] == CALL and message[3][0] == "answer":
                pipe.say(REPLY, message[1], "answered")

    runtime.start("qa", module(serve))
    ref = aio.ModuleRef(session, "qa")

    async def main() -> Any:
        slow = asyncio.ensure_future(ref.call("ask", "ignore", timeout=1.0))
        slower = asyncio.ensure_future(ref.call("ask", "ignore", timeout=0.5))
        assert await ref.call("ask", "answer", timeout=20) == "answered"
        results = await asyncio.gather(slow, slower, return_exceptions=True)
        return [type(result) for result in results], await ref.call("ask", "answer")

    assert go(session, main()) == ([CallTimeoutError, CallTimeoutError], "answered")
    runtime.heard(lambda message: message[2:3] == ["unanswered"])


def test_at_a_death_what_had_begun_fails_and_what_had_not_runs_again(runtime: Any, session: Any, module: Any) -> None:
    def serve(pipe: Any) -> None:
        calls = [pipe.next() for _ in range(3)]
        pipe.say(BEGUN, calls[0][1], True)
        pipe.say(BEGUN, calls[1][1], False)
        pipe.die()
        runtime.start("qa", module(mux_echo, incarnation=2))

    runtime.start("qa", module(serve))
    ref = aio.ModuleRef(session, "qa")

    async def main() -> Any:
        return await asyncio.gather(*[ref.call("ask", n, timeout=20) for n in range(3)], return_exceptions=True)

    begun, queued, unannounced = go(session, main())
    assert isinstance(begun, ProcessDownError)
    assert begun.reason == "killed"
    assert (queued, unannounced) == (1, 2)


def test_an_idempotent_call_runs_again_with_its_key(runtime: Any, session: Any, module: Any) -> None:
    keys: list[Any] = []

    def serve(pipe: Any) -> None:
        message = pipe.next()
        keys.append(message[6])
        pipe.say(BEGUN, message[1], True)
        pipe.die()
        runtime.start("qa", module(again, incarnation=2, idempotent=("ask",)))

    def again(pipe: Any) -> None:
        message = pipe.next()
        keys.append(message[6])
        pipe.say(REPLY, message[1], "done")
        pipe.next()

    runtime.start("qa", module(serve, idempotent=("ask",)))
    assert go(session, aio.ModuleRef(session, "qa").call("ask", timeout=20)) == "done"
    assert keys[0] is not None
    assert keys[0] == keys[1]


def test_a_call_given_back_waits_and_the_answers_still_due_come(runtime: Any, session: Any, module: Any) -> None:
    def serve(pipe: Any) -> None:
        first, second = pipe.next(), pipe.next()
        runtime.start("qa", module(mux_echo, incarnation=2))
        pipe.say(RETRY, second[1])
        pipe.say(REPLY, first[1], "old")
        assert pipe.next() is None  # the client closes a pipe of a module that drains when nothing is due on it

    runtime.start("qa", module(serve))
    ref = aio.ModuleRef(session, "qa")

    async def main() -> Any:
        return await asyncio.gather(ref.call("ask", 1, timeout=20), ref.call("ask", 2, timeout=20))

    assert go(session, main()) == ["old", 2]


def test_refusals_are_raised(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("full", module(lambda pipe: (pipe.say(OVERLOADED, pipe.next()[1], 9), pipe.next())))

    async def main() -> None:
        with pytest.raises(OverloadedError, match="9"):
            await aio.ModuleRef(session, "full").call("ask")
        with pytest.raises(NoProcessError):
            await aio.ModuleRef(session, "nobody").call("ask")
        await aio.ModuleRef(session, "nobody").cast("ask")
        with pytest.raises(CallTimeoutError):
            await aio.ServerRef(session, "full").call("ask", timeout=0)

    go(session, main())


def test_callers_that_wait_for_the_same_incarnation_share_its_pipe_and_keep_their_own_deadlines(
    runtime: Any, session: Any, module: Any
) -> None:
    runtime.modules["qa"] = None
    ref = aio.ModuleRef(session, "qa")

    async def main() -> Any:
        impatient = asyncio.ensure_future(ref.call("ask", 1, timeout=0.5))
        patient = [asyncio.ensure_future(ref.call("ask", n, timeout=20)) for n in (2, 3)]
        with pytest.raises(CallTimeoutError):
            await impatient
        await asyncio.to_thread(runtime.heard, lambda message: message[0] == CANCEL)
        await asyncio.to_thread(runtime.parked, "qa")
        qa = runtime.start("qa", module(mux_echo))
        return await asyncio.gather(*patient), len(qa.pipes)

    assert go(session, main()) == ([2, 3], 1)


def test_a_cast_goes_before_a_later_call(runtime: Any, session: Any, module: Any) -> None:
    seen: list[Any] = []

    def serve(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            seen.append(message[0])
            if message[0] == CALL:
                pipe.say(REPLY, message[1], None)

    runtime.start("c", module(serve))
    ref = aio.ServerRef(session, "c")

    async def main() -> None:
        await ref.cast(1)
        await ref.call(2)

    go(session, main())
    assert seen == [CAST, CALL]


def test_a_request_larger_than_the_pipe_arrives_whole_before_the_next(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module(mux_echo))
    ref = aio.ModuleRef(session, "qa")
    large = bytes(range(256)) * 8192

    async def main() -> Any:
        return await asyncio.gather(ref.call("ask", large), ref.call("ask", 1), ref.call("ask", large), ref.call("ask", 2))

    assert go(session, main()) == [large, 1, large, 2]


def test_a_retired_pipe_closes_when_the_last_cancel_is_out(runtime: Any, session: Any, module: Any) -> None:
    ended = threading.Event()

    def serve(pipe: Any) -> None:
        first, second = pipe.next(), pipe.next()
        pipe.say(RETRY, first[1])
        assert pipe.next() == [CANCEL, second[1]]
        assert pipe.next() is None
        ended.set()

    runtime.start("qa", module(serve))
    ref = aio.ModuleRef(session, "qa")

    async def main() -> bool:
        first, second = (asyncio.ensure_future(ref.call("ask", n)) for n in range(2))
        link = None
        while link is None or not link.retired:
            await asyncio.sleep(0)
            link = link or session.mux(asyncio.get_running_loop()).ready(session.pool("qa"))
        runtime.start("qa", module(mux_echo, incarnation=2))
        second.cancel()
        first.cancel()
        return await asyncio.to_thread(ended.wait, 20)

    assert go(session, main())


def test_closing_the_session_from_another_thread_ends_calls_in_flight(runtime: Any, session: Any, module: Any) -> None:
    reading = threading.Event()
    runtime.start("qa", module(lambda pipe: (pipe.say(BEGUN, pipe.next()[1], True), reading.set(), pipe.next())))

    async def main() -> None:
        call = asyncio.ensure_future(aio.ModuleRef(session, "qa").call("ask", timeout=20))
        await asyncio.to_thread(reading.wait, 20)
        await asyncio.to_thread(session.close)
        with pytest.raises(RuntimeUnreachableError):
            await call

    asyncio.run(main())
