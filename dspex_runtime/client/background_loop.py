"""An event loop in a thread of its own, for requests that were sent and are not waited for yet. One per session, at first use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any


class BackgroundLoop:
    """Owns the thread and the loop; `close` cancels what runs and ends both."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="dspex-requests", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        if self._abandoned:
            self.loop.close()  # nobody joins this thread

    def submit(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Start a coroutine in the loop; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def wait(self, event: threading.Event, timeout_s: float) -> None:
        """Wait for something that the loop does; not in its own thread, where it could never come."""
        if threading.current_thread() is not self._thread:
            event.wait(timeout_s)

    def abandon(self) -> None:
        """End the loop and its thread as soon as what was handed to it has run; from any thread, without waiting."""
        self._abandoned = True
        try:
            self.loop.call_soon_threadsafe(self.loop.stop)
        except RuntimeError:
            pass  # it was closed

    def close(self) -> None:
        """Cancel what runs, stop the loop and join its thread."""
        asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()
            self.loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
