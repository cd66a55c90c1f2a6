"""`.params` for tasks: awaited twins over the same table; what needs the runtime never holds up the loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from dspex_runtime.client.async_params import AsyncParams
from dspex_runtime.client.session import Session
from dspex_runtime.errors import ConfigError, NoProcessError, ParameterNotFoundError
from dspex_runtime.params import values
from dspex_runtime.state.protocol import SHARED
from dspex_runtime.wire.messages import CALL, REPLY
from helpers.descriptor import Descriptor
from helpers.param_tables import CODEC, Tables, tables

if TYPE_CHECKING:
    from client.conftest import FakeModule, FakePipe, FakeRuntime


@pytest.fixture
def made(runtime: FakeRuntime) -> Iterator[Tables]:
    with tables() as made:
        table = made.new()
        made.put(table, "temperature", 0.2)
        made.put(table, "text", "a" * 100_000)

        def blob(args: dict[str, Any]) -> Descriptor | None:
            fd = made.fetch(args["name"], args["at"])
            return None if fd is None else Descriptor(fd, {})

        runtime.handlers["param_table"] = lambda args: Descriptor(os.dup(table.fd), {})
        runtime.handlers["param_blob"] = blob
        yield made


def test_everything_that_is_read_can_be_awaited(session: Session, made: Tables) -> None:
    async def main() -> None:
        params = AsyncParams(session, "qa")
        assert await params.get("temperature") == params["temperature"] == 0.2
        assert await params.get("nothing", 5) == 5
        assert await params.names() == ["temperature", "text"]
        assert await params.items() == {"temperature": 0.2, "text": "a" * 100_000}
        assert await params.version("temperature") == 1
        assert (await params.entry("temperature")).who == "test"
        assert await params.meta("temperature") == {}
        with pytest.raises(ParameterNotFoundError):
            params["nothing"]

    asyncio.run(main())


def test_everything_that_is_written_can_be_awaited(
    session: Session, made: Tables, runtime: FakeRuntime, module: type[FakeModule]
) -> None:
    heard: list[Any] = []

    def serve(pipe: FakePipe) -> None:
        while (message := pipe.next()) is not None:
            if message[0] == CALL:
                heard.append((message[2], message[3]))
                many = message[2] == "$set_many"
                pipe.say(REPLY, message[1], {name: [5, 1.0] for name in message[3][0]} if many else [5, 1.0])

    runtime.start("qa", module(serve))

    async def main() -> None:
        params = AsyncParams(session, "qa")
        assert await params.set("temperature", 0.7) == 5
        assert await params.update({"a": 1}) == {"a": 5}
        assert await params.apply_gradient("bias", 1.0) == 5
        assert await params.rollback("temperature", 1) == 5
        assert await params.reset("temperature") == 5

    asyncio.run(main())
    assert heard == [
        ("$set", ["temperature", 0.7, None]),
        ("$set_many", [{"a": 1}]),
        ("$gradient", ["bias", 1.0]),
        ("$rollback", ["temperature", 1]),
        ("$reset", ["temperature"]),
    ]


def test_where_no_module_runs_the_runtime_writes(session: Session, runtime: FakeRuntime) -> None:
    asked: list[Any] = []
    runtime.handlers["param_write"] = lambda args: asked.append(args) or [9, 5.0]

    async def main() -> None:
        assert await AsyncParams(session, "qa").set("temperature", 0.7) == 9
        assert await AsyncParams(session, SHARED).set("style", "full") == 9
        with pytest.raises(NoProcessError):
            await AsyncParams(session, "qa").apply_gradient("bias", 1.0)

    asyncio.run(main())
    data = bytes(values.encode(CODEC, 0.7))
    assert asked[0] == {"id": "qa", "how": "set", "name": "temperature", "value": data, "expect": None}
    assert [args["id"] for args in asked] == ["qa", SHARED]


def test_the_past_can_be_awaited(session: Session, runtime: FakeRuntime) -> None:
    data = bytes(values.encode(CODEC, 0.3))
    runtime.handlers["param_history"] = lambda args: [{"version": 1, "when": 5.0, "who": "me", "value": data, "old": None}]
    runtime.handlers["param_value_at"] = lambda args: data

    async def main() -> None:
        params = AsyncParams(session, "qa")
        assert await params.history("k") == [{"version": 1, "when": 5.0, "who": "me", "new": 0.3, "old": None}]
        assert await params.at("k", 1) == 0.3

    asyncio.run(main())


def test_a_callback_is_a_function(session: Session, made: Tables) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="is a function of one change"):
            await AsyncParams(session, "qa").subscribe("temperature", 5)  # type: ignore[arg-type]

    asyncio.run(main())
