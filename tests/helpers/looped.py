"""Running a coroutine of a test in a loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from helpers.waiting import PATIENCE_S


def go(session: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine; the pipes of its loop are closed with it."""

    async def main() -> Any:
        try:
            return await asyncio.wait_for(work, 2 * PATIENCE_S)
        finally:
            session.mux(asyncio.get_running_loop()).close()

    return asyncio.run(main())
