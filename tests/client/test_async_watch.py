"""Changes of parameters for tasks: as an iterator and with callbacks, to the end of the subscription."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from dspex_runtime.client.async_params import AsyncParams
from dspex_runtime.client.async_watch import AsyncWatch, subscribed
from dspex_runtime.client.session import Session
from dspex_runtime.errors import ConfigError, ParameterNotFoundError
from dspex_runtime.types import Change
from dspex_runtime.wire.messages import SUBSCRIBE
from helpers.param_tables import Tables, tables
from helpers.subscription import Told, attach
from helpers.waiting import PATIENCE_S

if TYPE_CHECKING:
    from client.conftest import FakeRuntime


@pytest.fixture
def told(runtime: FakeRuntime) -> Told:
    return Told(runtime)


@pytest.fixture
def made() -> Iterator[Tables]:
    with tables() as made:
        yield made


def test_tasks_iterate_over_changes(session: Session, told: Told) -> None:
    async def main() -> list[int]:
        async with AsyncWatch(session, "*", "qa") as watch:
            for version in (1, 2, 3):
                told.change(version)
            told.end()
            return [change.version async for change in watch]

    assert asyncio.run(main()) == [1, 2, 3]


def test_tasks_begin_at_once_with_await_else_with_the_first_change(session: Session, told: Told) -> None:
    async def main() -> None:
        watch = await AsyncWatch(session, "*", "qa")
        told.change(1)
        assert (await anext(watch)).version == 1
        other = AsyncWatch(session, "*", "qa")
        first = told.number
        assert len(told.asked) == 1
        change = asyncio.ensure_future(anext(other))
        await asyncio.to_thread(told.runtime.heard, lambda m: m[0] == SUBSCRIBE and m[1] != first)
        told.change(2)
        assert (await change).version == 2
        await watch.aclose()
        await other.aclose()
        assert [change async for change in watch] == []

    asyncio.run(main())


@pytest.mark.parametrize("is_async", [False, True])
def test_tasks_have_callbacks_too(session: Session, told: Told, runtime: FakeRuntime, made: Tables, is_async: bool) -> None:
    made.put(attach(runtime, made), "k", 1)

    async def main() -> list[int]:
        got: asyncio.Queue[int] = asyncio.Queue()

        async def acallback(change: Change) -> None:
            await got.put(change.version)

        def callback(change: Change) -> None:
            got.put_nowait(change.version)

        async with await AsyncParams(session, "qa").subscribe("k", acallback if is_async else callback) as handle:
            told.change(1)
            told.change(2)
            seen = [await asyncio.wait_for(got.get(), PATIENCE_S) for _ in range(2)]
            assert handle.active
        assert not handle.active
        return seen

    assert asyncio.run(main()) == [1, 2]


def test_a_name_that_is_not_there_is_told_to_tasks_as_well(
    session: Session, told: Told, runtime: FakeRuntime, made: Tables
) -> None:
    made.put(attach(runtime, made), "temperature", 0.2)

    async def main() -> None:
        with pytest.raises(ParameterNotFoundError):
            await AsyncParams(session, "qa").watch("temperatur")

    asyncio.run(main())
    assert not [message for message in runtime.asked if message[0] == SUBSCRIBE]


def test_whose_changes_are_meant_is_asked_without_holding_the_loop_up(
    session: Session, told: Told, runtime: FakeRuntime, made: Tables
) -> None:
    made.put(attach(runtime, made), "k", 1)
    asked = runtime.handlers["param_table"]
    looked_up: list[str] = []
    runtime.handlers["param_table"] = lambda args: (looked_up.append(args["id"]), asked(args))[1]

    async def main() -> None:
        watch = AsyncParams(session, "qa").watch("part.*")
        assert not looked_up
        await watch
        assert looked_up == ["qa", "qa/part"]
        await watch.aclose()

    asyncio.run(main())
    assert runtime.heard(lambda message: message[0] == SUBSCRIBE)[3] == {"id": "qa/part", "pattern": "*"}


def test_one_that_is_closed_before_it_begins_never_does(session: Session, told: Told, runtime: FakeRuntime) -> None:
    async def main() -> None:
        watch = AsyncWatch(session, "*", "qa")
        await watch.aclose()
        assert [change async for change in watch] == []

    asyncio.run(main())
    assert not [message for message in runtime.asked if message[0] == SUBSCRIBE]


def test_a_callback_that_raises_is_logged_and_called_again(session: Session, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        got: asyncio.Queue[int] = asyncio.Queue()

        async def callback(change: Change) -> None:
            if change.version == 1:
                raise ValueError("odd")
            await got.put(change.version)

        async with await subscribed(AsyncWatch(session, "*"), callback):
            told.change(1)
            told.change(2)
            return await asyncio.wait_for(got.get(), PATIENCE_S)

    assert asyncio.run(main()) == 2
    assert "callback raised at qa.k, version 1" in caplog.text


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_the_end_of_the_runtime_ends_a_callback(
    session: Session, told: Told, runtime: FakeRuntime, caplog: pytest.LogCaptureFixture, killed: bool
) -> None:
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        handle = await subscribed(AsyncWatch(session, "*"), lambda change: None)
        if killed:
            runtime.hang_up()
        else:
            told.end()
        await asyncio.wait([handle._task], timeout=PATIENCE_S)
        assert not handle.active

    asyncio.run(main())
    assert ("a subscription to parameters ended" in caplog.text) == killed


def test_a_callback_is_a_function(session: Session, told: Told, runtime: FakeRuntime) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="is a function of one change; got 5"):
            await subscribed(AsyncWatch(session, "*"), 5)  # type: ignore[arg-type]

    asyncio.run(main())
    assert not [message for message in runtime.asked if message[0] == SUBSCRIBE]
