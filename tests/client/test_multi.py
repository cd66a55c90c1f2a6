"""One request to many servers: who answered, who did not, one deadline for all (otp-semantics §2.6)."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from dspex_runtime.client.multi import aabcast, abcast, amulti_call, multi_call
from dspex_runtime.client.ref import ServerRef
from dspex_runtime.errors import ConfigError
from dspex_runtime.wire.messages import CAST
from tests.client.test_requests import holding


def test_multi_call_gives_replies_and_bad_ones_dead_unknown_and_late(runtime: Any, session: Any, module: Any) -> None:
    release = threading.Event()
    runtime.start("a", module())
    runtime.start("b", module())
    runtime.start("late", module(holding(release)))
    replies, bad = multi_call(session, ["a", "nobody", "late", ServerRef(session, "b"), "a"], "ping", 0.3)
    release.set()
    assert replies == [("a", "ping"), ("b", "ping")]
    assert bad == ["nobody", "late"]


def test_multi_call_for_tasks(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("a", module())

    async def main() -> Any:
        try:
            return await amulti_call(session, ["a", "nobody"], "ping", 20)
        finally:
            session.mux(asyncio.get_running_loop()).close()

    assert asyncio.run(main()) == ([("a", "ping")], ["nobody"])


def test_abcast_waits_for_nobody(runtime: Any, session: Any, module: Any) -> None:
    got: dict[str, threading.Event] = {id: threading.Event() for id in "ab"}

    def serving(id: str) -> Any:
        def serve(pipe: Any) -> None:
            while (message := pipe.next()) is not None:
                if message[0] == CAST and message[2:] == ["$cast", ["hello"], {}]:
                    got[id].set()

        return serve

    for id in got:
        runtime.start(id, module(serving(id)))
    abcast(session, [*got, "nobody"], "hello")
    assert all(event.wait(20) for event in got.values())
    got["a"].clear()

    async def main() -> None:
        await aabcast(session, ["a", "nobody"], "hello")
        session.mux(asyncio.get_running_loop()).close()

    asyncio.run(main())
    assert got["a"].wait(20)


@pytest.mark.parametrize("targets", ["abc", None, 5, [5], b"ab"])
def test_targets_are_several_ids_or_references(session: Any, targets: Any) -> None:
    with pytest.raises(ConfigError, match=r"targets are several ids|expected the id of a child"):
        multi_call(session, targets, "ping", 1.0)
