"""The asyncio twin of `orchestration`: `dx.aio.gather`, `dx.aio.map`, `dx.aio.pipeline`, and the methods of an `aio.Runtime`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

from dspex_runtime.client.ids import Child, Via
from dspex_runtime.client.orchestration import own_session
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import arun

if TYPE_CHECKING:
    from dspex_runtime.client.mapping import OnProgress
    from dspex_runtime.client.pipelines import AsyncPipeline

__all__ = ["AsyncOrchestration", "gather", "map", "pipeline"]


class AsyncOrchestration(ABC):
    """Many children called in one go."""

    @property
    @abstractmethod
    def session(self) -> Session:
        """The connection to the runtime that ids are of."""

    def gather(self, calls: Iterable[tuple[Any, ...]], timeout: float | None = None) -> AsyncIterator[tuple[Any, Any]]:
        """Call many children at once: `async for label, result in ...`; see `Orchestration.gather`. Begun at the first step."""
        from dspex_runtime.client.async_gathering import gather

        return gather(self, calls, timeout)

    async def map(
        self,
        target: Child | Via,
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Call one child, or a group of replicas, with many inputs; see `Orchestration.map`."""
        from dspex_runtime.client.callees import find
        from dspex_runtime.client.mapping import amap_calls

        (callee,) = await arun(find(self, [target], facts=True))
        return await amap_calls(
            callee, inputs, concurrency=concurrency, timeout=timeout, on_progress=on_progress, return_exceptions=return_exceptions
        )

    def pipeline(self, *targets: Child | Via, timeout: float | None = None) -> AsyncPipeline:
        """Return children in a row, to be awaited as one; see `Orchestration.pipeline`."""
        from dspex_runtime.client.pipelines import AsyncPipeline

        return AsyncPipeline(self, targets, timeout)


class _Inside(AsyncOrchestration):
    """In the runtime of this module process."""

    @property
    def session(self) -> Session:
        """The connection to it."""
        return own_session("aio.gather, dx.aio.map or dx.aio.pipeline")


_inside = _Inside()
gather = _inside.gather
map = _inside.map  # it is `dx.aio.map`
pipeline = _inside.pipeline
