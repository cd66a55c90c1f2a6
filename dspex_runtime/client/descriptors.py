"""A question to the runtime that is answered with a descriptor."""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from dspex_runtime.client.asking import QUICK_S
from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.errors import RuntimeUnreachableError

if TYPE_CHECKING:
    from dspex_runtime.client.connection import ControlConnection

__all__ = ["descriptor"]


def descriptor(connection: ControlConnection, op: str, args: dict[str, Any]) -> Steps[int | None]:
    """Ask the runtime for a descriptor; None when it has none."""
    answer = connection.request(op, args)
    try:
        found = yield Await(answer, QUICK_S)
    except TimeoutError as exc:
        _close_unused(answer)
        if type(exc) is not TimeoutError:
            raise
        raise RuntimeUnreachableError(f"the runtime has not answered {op!r} for {QUICK_S:g} s") from None
    except BaseException:
        _close_unused(answer)
        raise
    return None if found is None else int(found[1])


def _close_unused(answer: Future[Any]) -> None:
    """Close the descriptor of an answer that came just as its asker gave up; a later one is closed at its arrival."""
    if answer.done() and not answer.cancelled() and answer.exception() is None and answer.result() is not None:
        os.close(answer.result()[1])
