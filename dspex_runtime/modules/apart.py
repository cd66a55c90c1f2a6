"""A call of a proxy on another thread than its caller's, with the caller's settings."""

from __future__ import annotations

from typing import Any

import dspy

__all__ = ["acall"]


async def acall(proxy: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a proxy in a task of a loop that the caller does not run on.

    Nothing is streamed to the caller meanwhile: what takes its chunks belongs to its own loop.
    """
    if dspy.settings.send_stream is None:
        return await proxy.acall(*args, **kwargs)
    with dspy.context(send_stream=None):
        return await proxy.acall(*args, **kwargs)
