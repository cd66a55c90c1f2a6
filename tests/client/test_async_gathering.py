"""The asyncio twin of gather: the same rules for tasks, and the loop is never blocked."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.client import aio
from dspex_runtime.client.async_gathering import AsyncGathering, gather
from dspex_runtime.client.ref import ModuleRef
from dspex_runtime.errors import CallTimeoutError, ConfigError
from helpers.words import Words


@pytest.fixture
def home(session: Any) -> Any:
    return SimpleNamespace(session=session)


def go(session: Any, main: Any) -> Any:
    async def run() -> Any:
        try:
            return await main
        finally:
            session.mux(asyncio.get_running_loop()).close()

    return asyncio.run(run())


def test_responses_come_in_the_order_in_which_calls_end(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a", "b")
    a = aio.ServerRef(session, "a")

    async def main() -> Any:
        found = []
        responses = gather(home, [("one", a, "x"), (ModuleRef(session, "b"), {"word": "y"}), ("three", a, "z")], 20)
        first = asyncio.ensure_future(anext(responses))
        await asyncio.to_thread(desk.wait, "x", "y", "z")
        desk.answer("z")
        found.append(await first)
        for word in ("x", "y"):
            desk.answer(word)
            found.append(await anext(responses))
        return [*found, *[response async for response in responses]]

    assert go(session, main()) == [("three", "Z"), ("one", "X"), ("b", "Y")]


def test_at_the_deadline_each_is_an_error_and_given_up(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a")
    a = aio.ServerRef(session, "a")

    async def main() -> Any:
        return {label: result async for label, result in gather(home, [(word, a, word) for word in ("now", "y", "z")], 0.3)}

    results = go(session, main())
    assert results["now"] == "NOW"
    assert [type(results[word]) for word in "yz"] == [CallTimeoutError] * 2
    desk.wait("y", "z", what="cancelled")


def test_closing_it_gives_up_the_rest(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a")
    a = aio.ServerRef(session, "a")

    async def main() -> None:
        async with aclosing(gather(home, [(word, a, word) for word in ("now", "y", "z")], None)) as responses:
            assert await anext(responses) == ("now", "NOW")
            await asyncio.to_thread(desk.wait, "y", "z")
        await asyncio.to_thread(lambda: desk.wait("y", "z", what="cancelled"))

    go(session, main())


def test_a_task_that_is_cancelled_gives_up_all(runtime: Any, session: Any, module: Any, home: Any) -> None:
    desk = Words(runtime, module, "a")
    a = aio.ServerRef(session, "a")

    async def collect() -> Any:
        return [response async for response in gather(home, [(word, a, word) for word in "xy"], None)]

    async def main() -> None:
        task = asyncio.ensure_future(collect())
        await asyncio.to_thread(desk.wait, "x", "y")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(lambda: desk.wait("x", "y", what="cancelled"))

    go(session, main())


def test_programs_of_this_process_do_not_block_the_loop(home: Any) -> None:
    together = threading.Barrier(2)

    def program(n: int) -> int:
        together.wait(20)
        return n

    async def main() -> Any:
        return sorted([result async for _, result in gather(home, [(n, program, [n]) for n in (1, 2)], 20)])

    assert asyncio.run(main()) == [1, 2]


def test_a_call_that_is_none_is_refused(home: Any) -> None:
    async def main() -> Any:
        return [response async for response in gather(home, [("a",)], 20)]

    with pytest.raises(ConfigError, match="is \\(target, inputs\\)"):
        asyncio.run(main())


def test_nothing_more_comes_of_nothing() -> None:
    async def main() -> Any:
        async with AsyncGathering(20) as gathering:
            return await gathering.responses()

    assert asyncio.run(main()) == []
