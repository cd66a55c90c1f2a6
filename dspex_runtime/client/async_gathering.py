"""The asyncio twin of `gathering`: calls are tasks of the running loop. Never starts a thread, but for programs of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from math import inf
from types import TracebackType
from typing import Any, Self

from dspex_runtime.client.async_request import Request
from dspex_runtime.client.async_requests import Requests
from dspex_runtime.client.callees import Callee, Home, find
from dspex_runtime.client.collection import Response
from dspex_runtime.client.deadline import deadline_scope
from dspex_runtime.client.gathering import parted
from dspex_runtime.client.steps import arun

__all__ = ["AsyncGathering", "gather", "prepare"]


class AsyncGathering:
    """Calls under way; see `gathering.Gathering`. Give it up with `close` where a `break` may leave it."""

    def __init__(self, timeout: float | None) -> None:
        self._requests = Requests(timeout)

    def begin(self, callee: Callee, inputs: Any, label: Any = None) -> None:
        """Begin a call; it is labelled with its id where no label is given."""
        self._requests.add(Request(callee.id, _arun(callee, inputs, self._requests.deadline)), label=label)

    @property
    def deadline(self) -> float:
        """The moment of `time.monotonic()` at which it ends, infinity for none."""
        return inf if self._requests.deadline is None else self._requests.deadline

    async def responses(self) -> list[Response]:
        """Wait for the next response, and return it alone; at the deadline the errors of all that are left; [] at the end."""
        return await self._requests.responses() if len(self._requests) else []

    def close(self) -> None:
        """Give up what has not ended. Closing twice is fine."""
        self._requests.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


async def _arun(callee: Callee, inputs: Any, deadline: float | None) -> Any:
    with deadline_scope(deadline):
        return await callee.arun(inputs)


async def prepare(callees: Iterable[Callee]) -> None:
    """Send what was edited on proxies of them."""
    for callee in dict.fromkeys(callees):
        if callee.has_edits:
            await asyncio.to_thread(callee.prepare)


async def gather(home: Home, calls: Iterable[Sequence[Any]], timeout: float | None) -> AsyncIterator[Response]:
    """Make many calls: yields (label, result or exception) in completion order; see `Runtime.gather`."""
    async with AsyncGathering(timeout) as gathering:
        triples = [parted(call) for call in calls]
        callees = await arun(find(home, [target for _, target, _ in triples]))
        await prepare(callees)
        for callee, (label, _, inputs) in zip(callees, triples, strict=True):
            gathering.begin(callee, inputs, label)
        while responses := await gathering.responses():
            for response in responses:
                yield response
