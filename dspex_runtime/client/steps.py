"""One body, two drivers: an operation is a generator that yields what it waits for; a thread or an event loop drives it.

The synchronous and the asyncio client differ only in how they wait. `blocking` and `awaitable` turn the same generator function
into a method of either, so that no operation is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import update_wrapper
from threading import Event
from time import sleep
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from dspex_runtime.host.context import current_request, waking

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Await:
    """Wait for a future; a wait longer than `timeout_s` raises TimeoutError inside the generator.

    A wait that ends early gives the future up (the connection tells the runtime), unless it is one to `keep`.
    """

    future: Future[Any]
    timeout_s: float | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


Step: TypeAlias = Await | Pause
Steps: TypeAlias = Generator[Step, Any, R]


def run(steps: Steps[R]) -> R:
    """Drive an operation in this thread; interrupting it (Ctrl-C) gives up the request it waits for."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = steps.send(value) if error is None else steps.throw(error)
        except StopIteration as stop:
            result: R = stop.value
            return result
        value, error = None, None
        try:
            match step:
                case Await():
                    value = _result(step)
                case Pause():
                    sleep(step.seconds)
        except BaseException as exc:
            error = exc


def _result(step: Await) -> Any:
    try:
        return result_of(step.future, step.timeout_s)
    except BaseException:
        if not step.keep:
            step.future.cancel()  # a no-op on one that is done
        raise


def result_of(future: Future[R], timeout_s: float | None) -> R:
    """Wait for a future, in a module no longer than anybody waits for the request being served.

    Raises:
        CallCancelledError: That was given up, before or meanwhile; the future goes on. What a `finally` asks then is waited for.
    """
    request = current_request.get()
    if request is None or request.told or future.done():
        return future.result(timeout_s)
    settled = Event()
    future.add_done_callback(lambda _: settled.set())
    with waking(request, settled.set):
        settled.wait(timeout_s)
    return future.result(0)


async def arun(steps: Steps[R]) -> R:
    """Drive an operation in the running event loop; cancelling the task gives up the request it waits for."""
    import asyncio

    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = steps.send(value) if error is None else steps.throw(error)
        except StopIteration as stop:
            result: R = stop.value
            return result
        value, error = None, None
        try:
            match step:
                case Await():
                    value = await _aresult(step)
                case Pause():
                    await asyncio.sleep(step.seconds)
        except BaseException as exc:
            error = exc


async def _aresult(step: Await) -> Any:
    """Wait as `_result` does. asyncio.wrap_future would always cancel, and complain when its loop is closed before the answer."""
    import asyncio

    loop = asyncio.get_running_loop()
    settled = asyncio.Event()

    def wake(_: Future[Any]) -> None:
        try:
            loop.call_soon_threadsafe(settled.set)
        except RuntimeError:
            pass  # the loop was closed: nobody waits

    try:
        if not step.future.done():
            step.future.add_done_callback(wake)
            await asyncio.wait_for(settled.wait(), step.timeout_s)
        return step.future.result(0)
    except BaseException:
        if not step.keep:
            step.future.cancel()
        raise


def blocking(function: Callable[Concatenate[S, P], Steps[R]]) -> Callable[Concatenate[S, P], R]:
    """Return the operation as a method that blocks the calling thread."""

    def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return run(function(self, *args, **kwargs))

    return update_wrapper(method, function)


def awaitable(function: Callable[Concatenate[S, P], Steps[R]]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Return the operation as a coroutine method."""

    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await arun(function(self, *args, **kwargs))

    return update_wrapper(method, function)
