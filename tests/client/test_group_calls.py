"""Calls under the id of a group: what becomes of them when the group does not stay what it was."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from dspex_runtime.client import aio
from dspex_runtime.client.calls import call
from dspex_runtime.client.ref import ModuleRef
from dspex_runtime.wire.messages import CALL, EVENT, ITEM, REPLY, RETRY
from helpers.group_facts import group_facts
from helpers.waiting import PATIENCE_S, wait_until


@pytest.fixture
def becomes(runtime: Any, session: Any) -> Any:
    """Has "qa" be one module from now on, and the client know it."""

    def begin(module: Any) -> None:
        runtime.start("qa", module)
        runtime.push(EVENT, 0, {"type": "group", "id": "qa", "members": None, "seq": 9})
        wait_until(lambda: session.pool("qa").group is None)

    return begin


def item_of(pipe: Any) -> None:
    number = pipe.next()[1]
    pipe.say(ITEM, number, "item")
    pipe.say(REPLY, number, "end")
    pipe.next()


def test_a_stream_given_back_by_what_took_the_place_of_its_group(
    runtime: Any, session: Any, module: Any, grouped: Any, becomes: Any
) -> None:
    def replica(pipe: Any) -> None:
        message = pipe.next()
        becomes(module(drains))
        pipe.say(RETRY, message[1])

    def drains(pipe: Any) -> None:
        message = pipe.next()
        runtime.start("qa", module(item_of, incarnation=2))
        pipe.say(RETRY, message[1])

    grouped(replica)
    stream = ModuleRef(session, "qa").stream("words", timeout=PATIENCE_S)
    assert list(stream) == ["item"]
    assert stream.value == "end"


def test_a_task_s_call_given_back_by_what_took_the_place_of_its_group(
    runtime: Any, session: Any, module: Any, grouped: Any
) -> None:
    def drains(pipe: Any) -> None:
        message = pipe.next()
        runtime.start("qa", module(incarnation=2))
        pipe.say(RETRY, message[1])

    grouped(None)
    assert ModuleRef(session, "qa").call("ask", 1) == 1
    session.changed({"type": "group", **group_facts(seq=5)})  # none serves, as far as is known
    runtime.start("qa", module(drains))

    async def main() -> Any:
        try:
            return await aio.ModuleRef(session, "qa").call("ask", 2, timeout=PATIENCE_S)
        finally:
            session.mux(asyncio.get_running_loop()).close()

    assert asyncio.run(main()) == 2


def test_its_time_counts_from_its_beginning(session: Any, module: Any, grouped: Any, becomes: Any) -> None:
    deadlines: list[float] = []

    def replica(pipe: Any) -> None:
        message = pipe.next()
        deadlines.append(message[5])
        becomes(module(noting))
        pipe.say(RETRY, message[1])

    def noting(pipe: Any) -> None:
        message = pipe.next()
        deadlines.append(message[5])
        pipe.say(REPLY, message[1], "done")
        pipe.next()

    grouped(replica)
    assert ModuleRef(session, "qa").call("ask", timeout=PATIENCE_S) == "done"
    assert deadlines == [deadlines[0]] * 2


@pytest.mark.parametrize("timeout", [inf, 1e9])
def test_an_edit_without_a_time_out_has_none_in_the_other_replicas_either(session: Any, grouped: Any, timeout: float) -> None:
    deadlines: list[float | None] = []

    def serve(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            if message[0] == CALL:
                deadlines.append(message[5])
                pipe.say(REPLY, message[1], {"versions": {}, "edits": 1})

    grouped(serve, serve)
    call(session.pool("qa"), "$edit", ({"parts": {}, "cells": {}, "replaced": {}},), {}, timeout)
    assert deadlines == [None, None]
