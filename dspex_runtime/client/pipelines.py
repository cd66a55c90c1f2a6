"""Calls in a row: what one gives is what the next one takes. Owns how outputs become inputs; each stage is called as by itself."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from time import monotonic
from typing import Any

from dspex_runtime.client.async_gathering import prepare
from dspex_runtime.client.callees import Callee, Home, Server, fields_of, find
from dspex_runtime.client.deadline import deadline_after, deadline_scope
from dspex_runtime.client.mapping import OnProgress, amap_calls, map_calls
from dspex_runtime.client.steps import Steps, arun, run
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError

__all__ = ["AsyncPipeline", "Pipeline"]


class Row(Callee):
    """Callees in a row, as one. It runs as many at once as all of them together: so each has something to do."""

    def __init__(self, stages: Sequence[Callee]) -> None:
        self._stages = stages
        self.id = " -> ".join(stage.id for stage in stages)
        self.session = stages[0].session if all(stage.session is not None for stage in stages) else None
        self.at_once = sum(stage.at_once for stage in stages)

    @property
    def has_edits(self) -> bool:
        """Whether there is something to `prepare`."""
        return any(stage.has_edits for stage in self._stages)

    def prepare(self) -> None:
        """Send what was edited on proxies of any of them."""
        for stage in self._stages:
            stage.prepare()

    def given(self, args: tuple[Any, ...], inputs: dict[str, Any]) -> Any:
        """Return what was given as the inputs of the first."""
        if args and inputs:
            raise ConfigError(f"the inputs of {self.id} are keywords or positions; got both: {show(args)} and {show(inputs)}")
        if not isinstance(self._stages[0], Server):
            return list(args) if args else inputs
        if len(args) > 1:
            raise ConfigError(f"{self._stages[0].id!r} is a server, it takes one request; got {len(args)}")
        return args[0] if args else inputs

    def run(self, inputs: Any) -> Any:
        """Call the first with the inputs, each other with what the one before it gave; return what the last one gives."""
        value = self._stages[0].run(inputs)
        for stage in self._stages[1:]:
            value = stage.run(_fed(stage, value))
        return value

    async def arun(self, inputs: Any) -> Any:
        """`run` for tasks."""
        value = await self._stages[0].arun(inputs)
        for stage in self._stages[1:]:
            value = await stage.arun(_fed(stage, value))
        return value


def _fed(stage: Callee, value: Any) -> Any:
    """Return the inputs that a stage gets for what the one before it gave."""
    if isinstance(stage, Server):
        return value
    fields = fields_of(value)
    if fields is not None:
        return fields if stage.takes is None else {name: fields[name] for name in fields if name in stage.takes}
    return {stage.takes[0]: value} if stage.takes is not None and len(stage.takes) == 1 else [value]


class _Stages:
    """What both pipelines share."""

    def __init__(self, home: Home, targets: Sequence[Any], timeout: float | None) -> None:
        if not targets:
            raise ConfigError("a pipeline has at least one stage")
        self._home = home
        self._targets = targets
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' -> '.join(str(getattr(each, 'id', each)) for each in self._targets)}>"

    def _row(self) -> Steps[Row]:
        """Ask what the stages take now: a swap may have changed it."""
        return Row((yield from find(self._home, self._targets, facts=True)))

    def _deadline(self) -> float | None:
        return deadline_after(self._timeout, monotonic())


class Pipeline(_Stages):
    """Modules and servers in a row; see `Runtime.pipeline`."""

    def __call__(self, /, *args: Any, **inputs: Any) -> Any:
        """Call the first with these inputs, and each other with what the one before it gave; return what the last one gives.

        Args:
            *args: Positions of a module, or the one request of a server.
            **inputs: Keywords of a module.
        """
        with deadline_scope(self._deadline()):
            row = run(self._row())
            return row.run(row.given(args, inputs))

    def map(
        self,
        inputs: Iterable[Any],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Send many inputs through, all stages at work at once; see `Runtime.map`. `timeout` is for all of them together."""
        return map_calls(
            run(self._row()), inputs, concurrency=concurrency, timeout=timeout, on_progress=on_progress,
            return_exceptions=return_exceptions,
        )  # fmt: skip


class AsyncPipeline(_Stages):
    """`Pipeline` for tasks."""

    async def __call__(self, /, *args: Any, **inputs: Any) -> Any:
        """Call the stages one after the other; see `Pipeline`."""
        with deadline_scope(self._deadline()):
            row = await arun(self._row())
            given = row.given(args, inputs)
            await prepare([row])
            return await row.arun(given)

    async def map(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Send many inputs through; see `Pipeline.map`."""
        return await amap_calls(
            await arun(self._row()), inputs, concurrency=concurrency, timeout=timeout, on_progress=on_progress,
            return_exceptions=return_exceptions,
        )  # fmt: skip
