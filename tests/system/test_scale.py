"""A thousand at once, as a matter of course."""

from __future__ import annotations

import asyncio

import pytest

import dspex_runtime as dx
from helpers.system import PROGRAMS

pytestmark = [pytest.mark.process, pytest.mark.slow]

N = 1000


def test_a_thousand_run_at_once_and_all_answer() -> None:
    async def main() -> None:
        async with dx.aio.Runtime({"version": 1, "name": "thousand", "tree": {"children": []}}, preload=[]) as rt:
            gate = asyncio.Semaphore(32)

            async def start(number: int) -> int:
                async with gate:
                    server = await rt.start(f"{PROGRAMS}:Counter", id=f"s{number}", start=number)
                    return int(await server.call(0, timeout=60))

            assert await asyncio.gather(*(start(number) for number in range(N))) == list(range(N))
            infos = await rt.modules()
            assert len({info.pid for info in infos if info.state == "READY"}) == N

    asyncio.run(main())
