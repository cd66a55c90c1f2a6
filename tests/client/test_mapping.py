"""One callee, many inputs: how many at once, in which order, and what an error or the deadline means for the others."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dspex_runtime.client.callees import Local, Server
from dspex_runtime.client.mapping import amap_calls, map_calls
from dspex_runtime.errors import CallTimeoutError, ConfigError
from helpers.words import Words

PLAIN: dict[str, Any] = {"concurrency": None, "timeout": 20, "on_progress": None, "return_exceptions": False}


def in_loop(callee: Any, inputs: Any, **options: Any) -> Any:
    async def main() -> Any:
        try:
            return await amap_calls(callee, inputs, **options)
        finally:
            if callee.session is not None:
                callee.session.mux(asyncio.get_running_loop()).close()

    return asyncio.run(main())


@pytest.fixture(params=[map_calls, in_loop], ids=["thread", "task"])
def mapped(request: pytest.FixtureRequest) -> Any:
    return request.param


def double(n: int) -> int:
    return 2 * n


def test_results_are_in_the_order_of_the_inputs(mapped: Any) -> None:
    release = [threading.Event() for _ in range(3)]

    def program(n: int) -> int:
        if n < 2:
            assert release[n + 1].wait(20)
        release[n].set()
        return n

    assert mapped(Local(program), [[n] for n in range(3)], **PLAIN) == [0, 1, 2]


def test_no_inputs_are_no_results(mapped: Any) -> None:
    assert mapped(Local(double), [], **PLAIN) == []


def test_so_many_are_under_way_and_no_more_is_read(runtime: Any, session: Any, module: Any, mapped: Any) -> None:
    desk = Words(runtime, module, "a")
    read: list[str] = []

    def words() -> Iterator[str]:
        for n in range(6):
            read.append(f"w{n}")
            yield f"w{n}"

    with ThreadPoolExecutor(1) as pool:
        results = pool.submit(mapped, Server(session, "a"), words(), **{**PLAIN, "concurrency": 2})
        for n in range(6):
            desk.wait(*(f"w{k}" for k in range(min(n + 2, 6))))
            assert desk.begun == [f"w{k}" for k in range(min(n + 2, 6))] == read
            desk.answer(f"w{n}")
        assert results.result(20) == [f"W{n}" for n in range(6)]


def test_by_default_it_is_as_many_as_it_runs_at_once(runtime: Any, session: Any, module: Any, mapped: Any) -> None:
    desk = Words(runtime, module, "a")
    server = Server(session, "a")
    server.know({"at_once": 3, "awaited": False, "takes": None})
    with ThreadPoolExecutor(1) as pool:
        results = pool.submit(mapped, server, (f"w{n}" for n in range(5)), **PLAIN)
        desk.wait("w0", "w1", "w2")
        desk.answer("w1")
        desk.wait("w3")
        assert len(desk.begun) == 4
        for word in ("w0", "w2", "w3", "w4"):
            desk.answer(word)
        assert results.result(20) == ["W0", "W1", "W2", "W3", "W4"]


def test_the_first_error_ends_it_and_gives_up_the_rest(runtime: Any, session: Any, module: Any) -> None:
    desk = Words(runtime, module, "a")
    read: list[int] = []

    def inputs() -> Iterator[Any]:
        for n, each in enumerate(["x", threading.Lock(), "y", "z"]):
            read.append(n)
            yield each
            desk.wait("x")

    with pytest.raises(TypeError, match="lock"):
        map_calls(Server(session, "a"), inputs(), **{**PLAIN, "concurrency": 2})
    desk.wait("x", what="cancelled")
    assert read == [0, 1]


def test_errors_are_results_where_that_is_wanted(mapped: Any) -> None:
    def program(n: int) -> float:
        return 1 / n

    found = mapped(Local(program), [[1], [0], [2]], **{**PLAIN, "return_exceptions": True})
    assert [type(result) for result in found] == [float, ZeroDivisionError, float]


def test_one_deadline_for_all_and_what_is_behind_it_is_not_sent(runtime: Any, session: Any, module: Any, mapped: Any) -> None:
    desk = Words(runtime, module, "a")
    words = ["now", "x", "y", "z"]
    options = {**PLAIN, "concurrency": 2, "timeout": 1.0, "return_exceptions": True}
    found = mapped(Server(session, "a"), words, **options)
    assert found[0] == "NOW"
    assert [type(result) for result in found[1:]] == [CallTimeoutError] * 3
    assert "was not called with inputs 3 before the deadline" in str(found[3])
    assert desk.begun == ["now", "x", "y"]
    with pytest.raises(CallTimeoutError):
        mapped(Server(session, "a"), iter(words), **{**options, "timeout": 0.1, "return_exceptions": False})


def test_progress_is_told_after_each_result(mapped: Any) -> None:
    told: list[Any] = []
    mapped(Local(double), [[1], [2], [3]], **{**PLAIN, "on_progress": lambda *how: told.append(how)})
    assert told == [(1, 3), (2, 3), (3, 3)]
    told.clear()
    mapped(Local(double), iter([[1], [2]]), **{**PLAIN, "on_progress": lambda *how: told.append(how)})
    assert told == [(1, None), (2, None)]


def test_a_progress_that_raises_ends_it(runtime: Any, session: Any, module: Any) -> None:
    desk = Words(runtime, module, "a")

    def told(done: int, total: int | None) -> None:
        desk.wait("x")
        raise KeyError(done)

    with pytest.raises(KeyError):
        map_calls(Server(session, "a"), ["now", "x"], **{**PLAIN, "concurrency": 2, "on_progress": told})
    desk.wait("x", what="cancelled")


def test_inputs_that_raise_end_it(runtime: Any, session: Any, module: Any) -> None:
    desk = Words(runtime, module, "a")

    def words() -> Iterator[str]:
        yield "x"
        desk.wait("x")
        raise KeyError("no more")

    with pytest.raises(KeyError):
        map_calls(Server(session, "a"), words(), **{**PLAIN, "concurrency": 2})


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True])
def test_a_concurrency_that_is_none_is_refused(mapped: Any, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="concurrency is how many calls"):
        mapped(Local(double), [[1]], **{**PLAIN, "concurrency": wrong})


def test_endless_inputs_are_read_as_needed(mapped: Any) -> None:
    def program(n: int) -> int:
        if n == 20:
            raise KeyError(n)
        return n

    with pytest.raises(KeyError):
        mapped(Local(program), ([n] for n in itertools.count()), **{**PLAIN, "concurrency": 4})


def test_inputs_may_be_an_async_iterable() -> None:
    async def inputs() -> AsyncIterator[Any]:
        for n in range(3):
            await asyncio.sleep(0)
            yield [n]

    assert in_loop(Local(double), inputs(), **PLAIN) == [0, 2, 4]


def test_a_task_that_is_cancelled_gives_up_what_is_under_way(runtime: Any, session: Any, module: Any) -> None:
    desk = Words(runtime, module, "a")

    async def main() -> None:
        task = asyncio.ensure_future(amap_calls(Server(session, "a"), ["x", "y", "z"], **{**PLAIN, "concurrency": 2}))
        await asyncio.to_thread(desk.wait, "x", "y")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(lambda: desk.wait("x", "y", what="cancelled"))
        session.mux(asyncio.get_running_loop()).close()

    asyncio.run(main())
    assert desk.begun == ["x", "y"]
