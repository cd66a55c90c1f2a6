"""Whoever takes the chunks of a streamed call that runs in a worker thread of a loop, as `dspy.streamify` runs it. Client side.

Owns how that thread notices that its consumer is gone: the loop has ended, or the scope that waits for the thread (dspy's task
group) was cancelled. A consumer that is slow is waited for, and so is a loop that only stands still.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from anyio import from_thread

# A loop that is closed says nothing to those who wait for it. asyncio's own then drops its handles, whose end could be heard of;
# another's (qasync's) keeps them.
_LOOK_S: Final = 0.25


def send(chunk: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run a send on the loop of this worker thread.

    Raises:
        BaseException: What the send raises; CancelledError when nobody takes chunks any more.
    """
    loop = _loop()
    if loop is None:
        from_thread.run(chunk)  # raises: this is no worker thread
        return
    from_thread.check_cancelled()
    work = chunk()
    sending = _on(loop, work)
    while True:
        done, _ = concurrent.futures.wait((sending,), _LOOK_S)
        if done:
            sending.result()
            return
        if loop.is_closed():
            work.close()  # the loop never came to it
            raise asyncio.CancelledError("the event loop that the stream was read on is closed")


@contextmanager
def watched(close: Callable[[], None]) -> Iterator[None]:
    """Call `close` as soon as the loop of this worker thread ends; elsewhere do nothing."""
    loop = _loop()
    if loop is None:
        yield
        return
    watch = _on(loop, _until_cancelled(close))
    try:
        yield
    finally:
        watch.cancel()


async def _until_cancelled(close: Callable[[], None]) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        close()


def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
    try:
        return asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError as exc:
        work.close()
        raise asyncio.CancelledError("the event loop that the stream was read on is closed") from exc


def _loop() -> asyncio.AbstractEventLoop | None:
    # No public name of anyio's says which loop a worker thread is of; without it a send waits as dspy's own does.
    token = getattr(getattr(from_thread, "threadlocals", None), "current_token", None)
    loop = getattr(token, "native_token", None)
    return loop if isinstance(loop, asyncio.AbstractEventLoop) else None
