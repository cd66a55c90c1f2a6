"""The calls of one dx.Module in this process, as the module itself can read them. A copy, deep or pickled, begins with none.

Of a hosted module the runtime keeps its own record, over all incarnations (`proxy.dx.executions()`, `proxy.dx.metrics()`); this
one also knows the modules inside it, and there is one without a runtime, too.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from dspex_runtime.host.causes import error_text
from dspex_runtime.host.metrics import Metrics

ATTRIBUTE: Final = "_dspex_calls"  # of a module's __dict__, from its first call on


class Calls:
    """Counts and the last 1000 records. Safe from any thread: `batch` calls one module from many."""

    __slots__ = ("_guard", "_metrics")

    def __init__(self) -> None:
        self._metrics = Metrics()
        self._guard = threading.Lock()

    def record(self, began_ns: int, ended_ns: int, exc: BaseException | None) -> None:
        """Count one call that ended; time.monotonic_ns() says when."""
        error = None if exc is None else error_text(exc)
        with self._guard:
            self._metrics.record("__call__", began_ns, ended_ns - began_ns, error)

    def executions(self, n: int) -> list[dict[str, Any]]:
        """Return the last n, newest first."""
        with self._guard:
            return self._metrics.executions(n)

    def summary(self) -> dict[str, Any]:
        """Return count, failures, success rate and latencies."""
        with self._guard:
            return self._metrics.summary()

    def __reduce__(self) -> tuple[Any, ...]:
        return (Calls, ())


def calls_of(module: Any) -> Calls:
    """Return the record of a module, begun now if there is none yet."""
    attributes = object.__getattribute__(module, "__dict__")  # past dspy's own, which is a Python function
    calls: Calls = attributes.get(ATTRIBUTE) or attributes.setdefault(ATTRIBUTE, Calls())
    return calls
