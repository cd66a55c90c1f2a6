"""Patterns of parameters to watch: what is none, and what nothing fits yet."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from dspex_runtime.client import aio
from dspex_runtime.client.runtime import Runtime
from dspex_runtime.client.runtime_core import RuntimeCore
from dspex_runtime.client.session import Session
from dspex_runtime.errors import ConfigError
from dspex_runtime.wire.messages import EVENT
from helpers.descriptor import Descriptor
from helpers.param_tables import Tables, tables

if TYPE_CHECKING:
    from client.conftest import FakeRuntime

R = TypeVar("R", bound=RuntimeCore)


@pytest.fixture
def made() -> Iterator[Tables]:
    with tables() as made:
        yield made


def of(cls: type[R], session: Session) -> R:
    client = cls.__new__(cls)
    client._session = session
    return client


@pytest.mark.parametrize("wrong", [5, None])
def test_what_is_no_text_is_no_pattern(session: Session, wrong: Any) -> None:
    for client in (of(Runtime, session), of(aio.Runtime, session)):
        with pytest.raises(ConfigError, match=f"expected a pattern as text, got {wrong}"):
            client.watch(wrong)


@pytest.mark.parametrize(
    ("pattern", "warned"),
    [
        ("grp/qa.temperature", None),
        ("qa.temperature", None),
        ("qa", None),
        ("$shared.temperature", None),
        ("nope.*", None),
        ("qa.temperatur", "nothing matches 'qa.temperatur' yet; did you mean 'qa.temperature'?"),
        ("qaa.temperature", "nothing matches 'qaa.temperature' yet; did you mean 'qa.temperature'?"),
        ("grp/qaa", "nothing matches 'grp/qaa' yet; did you mean 'grp/qa'?"),
        ("nowhere.x", "nothing matches 'nowhere.x' yet"),
        ("new.x", "nothing matches 'new.x' yet"),
        ("grp", "nothing matches 'grp' yet; did you mean 'grp/qa'?"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_name_in_the_runtime_that_nothing_has_is_warned_of(
    runtime: FakeRuntime,
    made: Tables,
    caplog: pytest.LogCaptureFixture,
    pattern: str,
    warned: str | None,
    is_async: bool,
) -> None:
    table = made.new()
    made.put(table, "temperature", 0.2)
    infos = [{"id": "grp", "kind": "supervisor"}, {"id": "grp/qa", "kind": "module"}, {"id": "new", "kind": "server"}]
    runtime.handlers["modules"] = lambda args: infos
    runtime.handlers["param_table"] = lambda args: None if args["id"] == "new" else Descriptor(os.dup(table.fd), {})

    subscribed: list[str] = []

    def subscribe(number: int, topic: str, args: dict[str, Any]) -> list[list[Any]]:
        subscribed.append(args["pattern"])
        return [[EVENT, number, {"type": "subscribed"}]]

    runtime.on_subscribe = subscribe

    async def begin(client: aio.Runtime) -> None:
        async with client.watch(pattern):
            pass

    session = runtime.session()
    with contextlib.closing(session):
        if is_async:
            asyncio.run(begin(of(aio.Runtime, session)))
        else:
            of(Runtime, session).watch(pattern).close()
    assert caplog.messages == ([] if warned is None else [warned])
    assert all(record.name.startswith("dspex_runtime") for record in caplog.records)
    assert subscribed == [pattern]
