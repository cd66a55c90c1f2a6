"""Changes of parameters for tasks: an async iterator, and callbacks in a task of their own. The twins of `param_watch`.

Never holds the event loop up: what has to be asked for is awaited.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dspex_runtime.client.param_watch import Watching, callback_of, is_over, tell_of_callback
from dspex_runtime.client.steps import Steps, arun
from dspex_runtime.types import Change

if TYPE_CHECKING:
    from dspex_runtime.client.session import Session

__all__ = ["AsyncSubscribed", "AsyncWatch", "subscribed"]


class AsyncWatch(Watching, AsyncIterator[Change]):
    """`Watch` for tasks: `async for change in ...`; the subscription begins with the first `async for`, or with `await`.

    Args:
        session: Of the runtime.
        pattern: What is watched.
        id: Whose; None: of the whole runtime.
        first: What is to be asked before: it may give another id, and the pattern there.
    """

    def __init__(
        self, session: Session, pattern: str, id: str | None = None, *, first: Steps[tuple[str, str] | None] | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._first = first
        self._begun = asyncio.Lock()
        self._is_begun = False
        self._of = (id, pattern)
        super().__init__(session)

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:
            pass  # the loop was closed: nobody iterates

    async def ready(self) -> Self:
        """Return when every change from now on is told."""
        async with self._begun:
            if not self._is_begun:
                try:
                    if self._first is not None:
                        meant = await arun(self._first)
                        self._of = meant or self._of
                    id, pattern = self._of
                    await arun(self.begun(pattern, id, self._wake))
                except BaseException:
                    self.close()
                    raise
                self._is_begun = True
        return self

    def __await__(self) -> Any:
        return self.ready().__await__()

    async def __anext__(self) -> Change:
        await self.ready()
        while True:
            self._woken.clear()
            try:
                change = await arun(self.taking())
            except EOFError:
                raise StopAsyncIteration from None
            if change is not None:
                return change
            await self._woken.wait()

    async def aclose(self) -> None:
        """Watch no longer. Closing twice is fine."""
        self.close()
        self._woken.set()

    async def __aenter__(self) -> Self:
        return await self.ready()

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()


async def subscribed(watch: AsyncWatch, callback: Callable[[Change], Any]) -> AsyncSubscribed:
    """Begin a subscription with a callback, a function or a coroutine function."""
    callback_of(watch, callback)
    return AsyncSubscribed(await watch, callback)


class AsyncSubscribed:
    """A callback with a task of its own; what `subscribe` returns."""

    def __init__(self, watch: AsyncWatch, callback: Callable[[Change], Any]) -> None:
        self._watch = watch
        self._task = asyncio.get_running_loop().create_task(self._run(callback))

    async def _run(self, callback: Callable[[Change], Any]) -> None:
        while True:
            try:
                change = await anext(self._watch)
            except Exception as exc:
                if is_over(exc):
                    return
                continue
            try:
                told = callback(change)
                if inspect.isawaitable(told):
                    await told
            except Exception as exc:
                tell_of_callback(change, exc)

    @property
    def active(self) -> bool:
        """Whether it is still called."""
        return not self._task.done()

    async def close(self) -> None:
        """Call it no longer; one that runs is cancelled, unless this is called in it. Closing twice is fine."""
        await self._watch.aclose()
        if self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()
