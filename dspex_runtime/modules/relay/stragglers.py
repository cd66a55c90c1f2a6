"""Items of a parallel run that dspy has started twice: when one is through, the other is cancelled in its process. Client side.

dspy's ParallelExecutor starts a straggling item again and takes the first result, but cannot end the other. Where a proxy's call is
the item (`batch`, `dspy.Parallel`, `dspy.Evaluate`), its end is the item's. Knows the frames of dspy's own functions; where they
are not found, nothing is cancelled.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import CodeType
from typing import Any, Final

from dspy.evaluate.evaluate import Evaluate
from dspy.predict.parallel import Parallel
from dspy.utils.parallelizer import ParallelExecutor

_MOST_FRAMES: Final = 24  # between a proxy's forward and the worker of the executor


def _inner(function: Any, name: str) -> CodeType | None:
    code = getattr(function, "__wrapped__", function).__code__
    return next((const for const in code.co_consts if isinstance(const, CodeType) and const.co_name == name), None)


_WORKER: Final = _inner(ParallelExecutor._execute_parallel, "worker")
_ITEMS: Final = (_inner(Parallel.forward, "process_pair"), _inner(Evaluate.__call__, "process_item"))


def item_of_caller() -> tuple[int, Any] | None:
    """Return which item of which run the calling thread works at, if a proxy's call is all of it; None elsewhere."""
    if threading.get_ident() == threading.main_thread().ident:
        return None
    frame, is_item, depth = sys._getframe(1), False, 0
    calls = 0
    while frame is not None and depth < _MOST_FRAMES:
        code = frame.f_code
        if code in _ITEMS:
            is_item = True
        elif code is _WORKER:
            known = frame.f_locals
            return (id(known["start_time_map"]), known["index"]) if is_item and calls == 1 else None
        elif code.co_name == "forward" and not is_item:
            calls += 1  # another module around the proxy: its call is not the item
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    return None


class Racer:
    """One of the calls that are made for an item.

    Attributes:
        stream: Over which the call is made.
        lost: Another one was through first, `value` is what that returned.
    """

    __slots__ = ("lost", "stream", "value")

    def __init__(self) -> None:
        self.stream: Any = None
        self.lost = False
        self.value: Any = None


_running: Final[dict[tuple[int, Any], list[Racer]]] = {}
_lock: Final = threading.Lock()


def run(item: tuple[int, Any], call: Callable[[Racer], Any]) -> Any:
    """Return what a call for an item returns, or the value of the other call for it when that is through first.

    Args:
        item: As `item_of_caller` has it.
        call: Makes the call; puts its stream into the racer.
    """
    racer = Racer()
    with _lock:
        _running.setdefault(item, []).append(racer)
    try:
        value = call(racer)
    except Exception:
        if not racer.lost:
            raise
        return racer.value  # an error would count as one of the run, which has this value already
    finally:
        with _lock:
            losers = _leave(item, racer)
    for loser in losers:
        loser.value, loser.lost = value, True
        if loser.stream is not None:
            loser.stream.close()
    return value


def _leave(item: tuple[int, Any], racer: Racer) -> list[Racer]:
    rest = [other for other in _running[item] if other is not racer]
    if rest:
        _running[item] = rest
    else:
        del _running[item]
    return rest
