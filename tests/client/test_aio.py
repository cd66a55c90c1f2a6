"""The asyncio client has everything the synchronous one has, from the same operations."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from dspex_runtime.client import aio, ref, runtime

SERVERS = str(Path(__file__).parent / "servers.py")
COUNTER = f"{SERVERS}:Counter"
EMPTY: dict[str, Any] = {"runtime": {"preload": [], "spares": 1}, "tree": {"children": []}}


def names(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(
    "pair", [(runtime.Runtime, aio.Runtime), (ref.ServerRef, aio.ServerRef)], ids=lambda pair: pair[0].__name__
)
def test_every_method_has_a_twin_with_the_same_arguments(pair: tuple[type, type]) -> None:
    blocking, awaitable = pair
    assert names(blocking) <= names(awaitable)
    for name in names(blocking) & names(awaitable):
        one, other = getattr(blocking, name), getattr(awaitable, name)
        if inspect.isfunction(one):
            assert list(inspect.signature(one).parameters) == list(inspect.signature(other).parameters), name


def test_a_module_reference_has_them_too() -> None:
    # Its `call` and `stream`; proxies have the other kind.
    others = {"acall", "astream", "raw", "track", "push_edits", "has_edits", "part"}
    assert names(ref.ModuleRef) - others <= names(aio.ModuleRef)


@pytest.mark.process
def test_a_tree_runs_end_to_end_in_a_loop(short_dir: Path) -> None:
    async def main() -> None:
        async with dx.aio.Runtime(EMPTY, name="t") as rt:
            counter = await rt.start(COUNTER, 5, id="c")
            assert isinstance(counter, aio.ServerRef)
            assert sorted(await asyncio.gather(*[counter.call("next") for _ in range(100)])) == list(range(5, 105))
            monitor = await rt.monitor("c")
            assert await monitor.wait(0) is None
            await rt.kill("c")
            assert await monitor.wait(20) == dx.Down("c", 1, "killed")
            assert await counter.call("next", timeout=20) == 5
            await counter.cast(10)
            assert await counter.call("next") == 16
            assert await counter.get_state() == 17
            events = rt.events()
            assert (await anext(events))["type"] == "snapshot"
            await events.aclose()
            assert [line async for line in rt.logs("c", n=1)]
            assert await (await rt.server("c")).send_request("next").wait(20) == 17
            calls = [("x", counter, "next"), ("c", "next"), ("nobody", {})]
            results = {label: result async for label, result in rt.gather(calls, timeout=20)}
            assert {results["x"], results["c"]} == {18, 19}
            assert [event["type"] async for event in rt.events(follow=False)] == ["snapshot"]
            assert isinstance(results["nobody"], dx.NoProcessError)
            other = await dx.aio.connect("t")
            assert (await other.info("c")).restarts == 1
            await other.close()

    asyncio.run(main())
    assert list(short_dir.glob("*.sock")) == []


@pytest.mark.process
def test_a_key_and_a_reference_are_addresses_in_a_loop_too(short_dir: Path) -> None:
    async def main() -> None:
        async with dx.aio.Runtime(EMPTY, name="t") as rt:
            counter = await rt.start(COUNTER, 5, id="c")
            await rt.register("k", counter)
            named = await rt.server(dx.Via("k"))
            assert (await named.call("next"), (await named.info()).id) == (5, "c")
            assert await named.send_request("next").wait(20) == 6
            await named.cast(10)
            assert await named.get_state() == 17
            assert await rt.server(counter) == counter
            with pytest.raises(dx.ConfigError, match="a server, not a module"):
                await (await rt.ref(dx.Via("k"))).call()
            with pytest.raises(AttributeError, match="current"):
                named.id  # noqa: B018 - it has none of its own
            monitor = await rt.monitor(named)
            await rt.exit(named, "kill")
            assert await monitor.wait(20) == dx.Down("c", 1, "killed")
            with pytest.raises(dx.NoProcessError, match="nobody is registered"):
                await named.call("next")

    asyncio.run(main())


@pytest.mark.process
def test_a_call_in_flight_at_a_death_gets_the_exit_reason(short_dir: Path) -> None:
    async def main() -> Any:
        async with dx.aio.Runtime(EMPTY, name="t") as rt:
            counter = await rt.start(COUNTER, id="c")
            with pytest.raises(dx.ProcessDownError) as caught:
                await counter.call("die", timeout=20)
            return caught.value.reason

    assert asyncio.run(main()) == ("exit_status", 3)


@pytest.mark.process
def test_cancelling_the_start_leaves_nothing(short_dir: Path) -> None:
    slow = {"id": "slow", "server": f"{SERVERS}:Slow", "shutdown": "brutal_kill"}  # its init would use up the usual five seconds

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(dx.aio.Runtime({**EMPTY, "tree": {"children": [slow]}}, name="t")._begun(), 1.0)

    asyncio.run(main())
    assert list(short_dir.glob("*.sock")) == []
