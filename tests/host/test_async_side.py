"""Coroutines run side by side on one loop thread, and every one of them ends its request exactly once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from dspex_runtime.host.async_side import AsyncSide
from dspex_runtime.host.context import CallCancelledError, cancelled
from dspex_runtime.host.hosted import Entry
from dspex_runtime.host.mailbox import Request
from dspex_runtime.wire import messages as m
from helpers.waiting import PATIENCE_S, wait_until


class Board:
    """Takes what a call comes to; as `Calls`. Waiting for it is waiting for the event that it is."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, str, Any]] = []
        self._changed = threading.Condition()

    def _put(self, request: Request, how: str, what: Any) -> None:
        with self._changed:
            self.ended.append((request.id, how, what))
            self._changed.notify_all()

    def succeeded(self, request: Request, value: Any) -> None:
        self._put(request, "value", value)

    def failed(self, request: Request, exc: BaseException) -> None:
        self._put(request, "error", exc)

    def system_exit(self, request: Request, exc: SystemExit) -> None:
        self._put(request, "exit", exc.code)

    def wait(self, n: int = 1) -> list[tuple[int, str, Any]]:
        """Return what has ended, once that many have."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ended) >= n, PATIENCE_S), self.ended
            return list(self.ended)


class Reader:
    """Keeps the items of a stream; as a `Peer`."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def send(self, message: list[Any]) -> bool:
        assert message[0] == m.ITEM
        self.items.append(message[2])
        return True


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def side(board: Board) -> Iterator[AsyncSide]:
    side = AsyncSide(board)  # type: ignore[arg-type]
    yield side
    loop = side._loop
    if loop is not None:  # in a module process it ends with the process
        (thread,) = (t for t in threading.enumerate() if t.name == "dspex-loop")
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()


def submit(side: AsyncSide, function: Callable[..., Any], id: int = 1, *args: Any, credit: int = 0, result: Any = None) -> Request:
    request = Request(Reader(), id, function.__name__, list(args), {}, credit=credit)  # type: ignore[arg-type]
    side.submit(request, Entry(function.__name__, function, on_loop=True), result)
    return request


async def echo(value: Any) -> Any:
    return value


def test_the_loop_starts_with_the_first_call(side: AsyncSide, board: Board) -> None:
    assert not [t for t in threading.enumerate() if t.name == "dspex-loop"]
    submit(side, echo, 1, "a")
    submit(side, echo, 2, "b")
    assert sorted(board.wait(2)) == [(1, "value", "a"), (2, "value", "b")]
    assert len([t for t in threading.enumerate() if t.name == "dspex-loop"]) == 1


def test_many_are_in_flight_and_end_in_their_own_order(side: AsyncSide, board: Board) -> None:
    opened: list[asyncio.Event] = []

    async def waits(turn: int) -> int:
        opened.append(asyncio.Event())
        if len(opened) == 50:  # all are here: so none waited for another one's end
            for event in opened:
                event.set()
        await opened[turn].wait()
        return turn

    for turn in range(50):
        submit(side, waits, turn + 1, turn)
    assert sorted(board.wait(50)) == [(turn + 1, "value", turn) for turn in range(50)]


def test_what_it_raises_is_its_callers(side: AsyncSide, board: Board) -> None:
    async def fails() -> None:
        raise LookupError("inside")

    submit(side, fails)
    ((_, how, exc),) = board.wait()
    assert (how, type(exc), str(exc)) == ("error", LookupError, "inside")


def test_an_exit_is_the_processs(side: AsyncSide, board: Board) -> None:
    async def leaves() -> None:
        raise SystemExit(3)

    submit(side, leaves)
    assert board.wait() == [(1, "exit", 3)]
    submit(side, echo, 2, "the loop goes on until the process ends")
    assert board.wait(2)[1][1] == "value"


def running(side: AsyncSide, *, then: Callable[[], None] = lambda: None) -> Request:
    """Return the request of a call that waits on the loop for ever."""
    began = threading.Event()

    async def waits() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            then()

    request = submit(side, waits)
    assert began.wait(PATIENCE_S)
    return request


def test_a_cancelled_call_runs_its_clean_up_and_is_given_up(side: AsyncSide, board: Board) -> None:
    seen: list[bool] = []
    request = running(side, then=lambda: seen.append(cancelled()))
    request.cancelled = True
    assert request.cancel is not None
    request.cancel()
    ((_, how, exc),) = board.wait()
    assert (how, type(exc)) == ("error", CallCancelledError)
    assert seen == [True]


def test_a_call_cancelled_before_the_loop_took_it_ends_too(side: AsyncSide, board: Board) -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    request = Request(None, 1, "waits", [], {})
    request.cancelled = True  # as `Intake` does where there is no way to reach it yet
    side.submit(request, Entry("waits", waits, on_loop=True))
    ((_, how, exc),) = board.wait()
    assert (how, type(exc)) == ("error", CallCancelledError)


def test_a_task_that_cancels_itself_is_an_error_of_its_own(side: AsyncSide, board: Board) -> None:
    async def gives_up() -> None:
        raise asyncio.CancelledError("my own")

    submit(side, gives_up)
    ((_, how, exc),) = board.wait()
    assert (how, type(exc)) == ("error", asyncio.CancelledError)


def test_the_end_of_the_drain_cancels_all_and_answers_none(side: AsyncSide, board: Board) -> None:
    running(side)
    running(side)
    side.cancel_all()
    assert [type(exc) for _, _, exc in board.wait(2)] == [CallCancelledError] * 2


def test_the_end_of_the_drain_starts_no_loop(side: AsyncSide) -> None:
    side.cancel_all()
    assert side._loop is None


def test_an_awaitable_that_was_made_already_is_awaited(side: AsyncSide, board: Board) -> None:
    submit(side, echo, 1, result=echo("from a plain method"))
    assert board.wait() == [(1, "value", "from a plain method")]


async def ticks(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


async def makes_a_list_iterator(n: int) -> Iterator[int]:
    return iter(range(n))


@pytest.mark.parametrize("function", [ticks, makes_a_list_iterator])
def test_items_are_streamed(side: AsyncSide, board: Board, function: Callable[..., Any]) -> None:
    request = submit(side, function, 1, 3, credit=9)
    assert board.wait() == [(1, "value", None)]
    assert request.peer.items == [0, 1, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize("function", [ticks, makes_a_list_iterator])
def test_items_without_credit_are_an_error_that_names_stream(side: AsyncSide, board: Board, function: Callable[..., Any]) -> None:
    submit(side, function, 1, 3)
    ((_, how, exc),) = board.wait()
    assert how == "error"
    assert "use .stream" in str(exc)


def test_credit_that_comes_later_lets_a_stream_go_on(side: AsyncSide, board: Board) -> None:
    request = submit(side, ticks, 1, 3, credit=1)
    wait_until(lambda: request.stream).add(2)
    assert board.wait() == [(1, "value", None)]
    assert request.peer.items == [0, 1, 2]  # type: ignore[union-attr]
