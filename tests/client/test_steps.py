"""One generator, two drivers, the same outcome."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from dspex_runtime.client.steps import Await, Pause, Steps, arun, awaitable, blocking, run
from dspex_runtime.host.context import CallCancelledError, current_request
from dspex_runtime.host.mailbox import Request

DRIVERS: list[Callable[[Steps[Any]], Any]] = [run, lambda steps: asyncio.run(arun(steps))]
both = pytest.mark.parametrize("drive", DRIVERS, ids=["thread", "loop"])


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(value, BaseException):
        future.set_exception(value)
    else:
        future.set_result(value)
    return future


@both
def test_the_value_of_a_future_is_what_the_yield_returns(drive: Any) -> None:
    def steps() -> Steps[int]:
        first = yield Await(done(1))
        yield Pause(0)
        second = yield Await(done(2))
        return first + second

    assert drive(steps()) == 3


@both
def test_an_error_is_raised_inside_and_may_be_handled(drive: Any) -> None:
    def steps() -> Steps[str]:
        try:
            yield Await(done(ValueError("x")))
        except ValueError:
            return (yield Await(done("handled")))
        return "not raised"

    assert drive(steps()) == "handled"


@both
@pytest.mark.parametrize("keep", [False, True])
def test_a_wait_that_takes_too_long_gives_the_future_up_unless_it_is_to_be_kept(drive: Any, keep: bool) -> None:
    future: Future[Any] = Future()

    def steps() -> Steps[None]:
        yield Await(future, 0.01, keep=keep)

    with pytest.raises(TimeoutError):
        drive(steps())
    assert future.cancelled() is not keep


def test_cancelling_the_task_gives_the_future_up() -> None:
    future: Future[Any] = Future()

    def steps() -> Steps[None]:
        yield Await(future)

    async def main() -> None:
        task = asyncio.ensure_future(arun(steps()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert future.cancelled()


def test_an_answer_after_the_loop_was_closed_disturbs_nobody() -> None:
    future: Future[Any] = Future()

    def steps() -> Steps[None]:
        yield Await(future, 0.01, keep=True)

    with pytest.raises(TimeoutError):
        asyncio.run(arun(steps()))
    future.set_result(1)


def test_a_method_of_either_kind_keeps_the_words_of_its_operation() -> None:
    class Thing:
        def double(self, n: int) -> Steps[int]:
            """Say it twice."""
            value: int = yield Await(done(n))
            return 2 * value

        now = blocking(double)
        soon = awaitable(double)

    assert Thing().now(2) == 4
    assert asyncio.run(Thing().soon(n=3)) == 6
    assert Thing.now.__doc__ == Thing.soon.__doc__ == "Say it twice."


def test_a_wait_ends_when_the_call_that_is_served_is_given_up() -> None:
    request, future, waits, ended = Request(None, 1, "forward", [], {}), Future[Any](), threading.Event(), []

    def steps() -> Steps[None]:
        waits.set()
        yield Await(future)

    def serve() -> None:
        current_request.set(request)
        try:
            run(steps())
        except BaseException as exc:
            ended.append(type(exc))
        ended.append(run(later()))

    def later() -> Steps[Any]:
        return (yield Await(done("tidied up"), 20))

    thread = threading.Thread(target=serve)
    thread.start()
    assert waits.wait(20)
    request.give_up()
    thread.join(20)
    assert ended == [CallCancelledError, "tidied up"]
    assert future.cancelled()


def test_one_that_was_given_up_before_does_not_begin_to_wait_but_for_tidying_up() -> None:
    request, tidied = Request(None, 1, "forward", [], {}), Future[str]()
    request.give_up()

    def steps(future: Future[Any]) -> Steps[Any]:
        return (yield Await(future))

    token = current_request.set(request)
    try:
        with pytest.raises(CallCancelledError):
            run(steps(Future()))
        threading.Timer(0.01, tidied.set_result, ["tidied up"]).start()
        assert run(steps(tidied)) == "tidied up"
    finally:
        current_request.reset(token)
