"""The loop thread: where `async` methods run, all of them on one asyncio loop, started with the first.

One loop per process, because cached LM clients belong to the loop they were made on. Takes no call thread; how many run
is bounded by the mailbox limit, which they share.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from dspex_runtime.host.context import CallCancelledError, current_request
from dspex_runtime.host.hosted import Entry
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.streams import LoopWindow, is_stream, needs_stream, send_async_items

if TYPE_CHECKING:
    import asyncio

    from dspex_runtime.host.calls import Calls


class AsyncSide:
    """Runs coroutines for the call threads."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting = threading.Lock()
        self._over = False

    def submit(self, request: Request, entry: Entry, result: Any = None) -> None:
        """Run a method on the loop; `result` is what it returned when it was called already and turned out to be awaitable."""
        self._ensure_started().call_soon_threadsafe(self._start, request, entry, result)

    def cancel_all(self) -> None:
        """Cancel whatever runs: the drain is over. The callers learn of it from the end of the process, as those of sync calls."""
        self._over = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel_tasks)

    def _cancel_tasks(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    def _ensure_started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                import asyncio

                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._run, args=(self._loop,), name="dspex-loop", daemon=True).start()
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        asyncio.set_event_loop(loop)
        loop.run_forever()

    def _start(self, request: Request, entry: Entry, result: Any) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._serve(request, entry, result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        request.cancel = lambda: self._cancel(task)
        if request.cancelled:  # between the hand-over and here. Not at once: a task that never began could not end the request
            self._cancel(task)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(task.cancel)

    async def _serve(self, request: Request, entry: Entry, result: Any) -> None:
        import asyncio

        current_request.set(request)
        try:
            if result is None:
                result = entry.function(*request.args, **request.kwargs)
            value = await self._value(request, entry, result)
        except asyncio.CancelledError as exc:
            # The client's wish, the end of the drain, or the user's own: only then the caller still waits for an answer.
            given_up = request.cancelled or self._over
            self._calls.failed(request, CallCancelledError("the client gave the call up") if given_up else exc)
        except SystemExit as exc:
            self._calls.system_exit(request, exc)
        except BaseException as exc:
            self._calls.failed(request, exc)
        else:
            self._calls.succeeded(request, value)

    async def _value(self, request: Request, entry: Entry, result: Any) -> Any:
        if not hasattr(type(result), "__anext__"):
            assert isinstance(result, Awaitable)
            result = await result
            if not is_stream(result):
                return result
        if not request.credit:
            raise needs_stream(entry.name, result)
        assert self._loop is not None
        request.stream = window = LoopWindow(request.credit, self._loop)
        items = result if hasattr(type(result), "__anext__") else _each(result)
        await send_async_items(request, items, window)
        return None


async def _each(items: Any) -> Any:
    for item in items:
        yield item
