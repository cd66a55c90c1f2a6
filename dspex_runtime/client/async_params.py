"""`.params` for tasks: the awaitable twin of `params.Params`.

`params["name"]` reads shared memory without a message, as there; only the first read of a module, and of a value over 64 KB, holds
the event loop up for one question to the runtime: `await params.get("name")` never does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dspex_runtime.client import param_ops, part_params
from dspex_runtime.client.async_calls import acall
from dspex_runtime.client.async_watch import AsyncSubscribed, AsyncWatch, subscribed
from dspex_runtime.client.param_ops import GRADIENT, RESET, ROLLBACK, SET, SET_MANY, is_shared
from dspex_runtime.client.params import Reader
from dspex_runtime.client.patterns import known
from dspex_runtime.client.steps import Steps, arun, awaitable
from dspex_runtime.errors import NoProcessError, ParameterNotFoundError
from dspex_runtime.types import Change

__all__ = ["AsyncParams"]


class AsyncParams(Reader):
    """The parameters of one module, for tasks; see `params.Params` for what each method does and raises."""

    __slots__ = ()

    entry = awaitable(param_ops.entry)
    version = awaitable(param_ops.version)
    names = awaitable(param_ops.names)
    meta = awaitable(param_ops.meta)
    history = awaitable(param_ops.history)
    at = awaitable(param_ops.at)

    async def get(self, name: str, default: Any = None) -> Any:
        """Return the value that is published now; the default when there is no parameter of that name."""
        try:
            return await arun(param_ops.value(self, name))
        except ParameterNotFoundError:
            return default

    async def items(self) -> dict[str, Any]:
        """Return all names with their values."""
        found = {}
        for name in await self.names():
            try:
                found[name] = await arun(param_ops.value(self, name))
            except ParameterNotFoundError:
                pass  # taken away in this moment
        return found

    async def set(self, name: str, value: Any, expect: int | None = None) -> int:
        """Set a value and return its version."""
        return int((await self._write(SET, name, value, expect))[0])

    async def update(self, values: Mapping[str, Any]) -> dict[str, int]:
        """Set several values and return their versions; all are checked before the first is set."""
        return {name: int(told[0]) for name, told in (await self._write(SET_MANY, dict(values))).items()}

    async def apply_gradient(self, name: str, gradient: Any) -> int:
        """Take one step of momentum SGD; returns the version."""
        return int((await self._write(GRADIENT, name, gradient))[0])

    async def rollback(self, name: str, version: int) -> int:
        """Set the value that the parameter had at a version; returns the new version."""
        return int((await self._write(ROLLBACK, name, version))[0])

    async def reset(self, name: str) -> int:
        """Set the declared default; returns the version."""
        return int((await self._write(RESET, name))[0])

    async def _write(self, method: str, *args: Any) -> Any:
        try:
            return await self._write_own(method, *args)
        except ParameterNotFoundError:
            if method == SET_MANY:
                of = await arun(part_params.by_owner(self.session, self.id, args[0]))
                if of.keys() <= {self.id}:
                    raise
                return {here: each for id, names in of.items() for here, each in (await self._write_in(id, names, args[0])).items()}
            part = await arun(part_params.in_part(self.session, self.id, args[0]))
            if part is None:
                raise
        return await AsyncParams(self.session, part[0])._write_own(method, part[1], *args[1:])

    async def _write_in(self, id: str, names: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
        told = await AsyncParams(self.session, id)._write_own(SET_MANY, {there: values[here] for there, here in names.items()})
        return {names[there]: each for there, each in told.items()}

    async def _write_own(self, method: str, *args: Any) -> Any:
        missing: NoProcessError | None = None
        while True:
            if not is_shared(self.id):
                try:
                    return await acall(self.session, self.id, method, args, {}, None)
                except NoProcessError as exc:
                    missing = exc
            if (told := await arun(param_ops.kept(self, method, args, missing))) is not None:
                return told

    async def subscribe(self, pattern: str, callback: Callable[[Change], Any]) -> AsyncSubscribed:
        """Call a function, or await a coroutine function, with every change from now on, in a task of its own."""
        return await subscribed(self.watch(pattern), callback)

    def watch(self, pattern: str = "*") -> AsyncWatch:
        """Return an async iterator over changes, from the first `async for` on; `await params.watch(...)` begins at once."""
        return AsyncWatch(self.session, pattern, self.id, first=self._meant(pattern))

    def _meant(self, pattern: str) -> Steps[tuple[str, str]]:
        yield from known(self, pattern)
        return (yield from part_params.pattern_of_part(self.session, self.id, pattern))
