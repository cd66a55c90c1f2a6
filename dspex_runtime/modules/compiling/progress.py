"""How a compile goes, told while it runs: dspy's callbacks and its log of errors as small maps.

    {"type": "started", "optimizer"}                     from `driver`
    {"type": "evaluating", "number", "examples"}         an evaluation of a whole set began
    {"type": "evaluated", "number", "score", "seconds"}  ... and ended; score None: it failed
    {"type": "calls", "lm_calls"}                        twice a second at most, while an LM is called
    {"type": "error", "message"}                         an example failed; the first few of them

Called from every thread that dspy runs examples in. Changes nothing of what an optimizer does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Self

import dspy
from dspy.utils.callback import BaseCallback

__all__ = ["Progress", "Tell"]

Tell = Callable[[dict[str, Any]], None]

CALLS_EVERY_S: Final = 0.5
ERRORS_TOLD: Final = 5
ERROR_CHARACTERS: Final = 4000


class Progress(BaseCallback):  # type: ignore[misc] # dspy has no types
    """See the module docstring; a context manager, active within its block.

    Attributes:
        lm_calls: Calls of LMs that ended.
        evaluations: Evaluations that were begun.
        errors: Errors that dspy has logged.
    """

    def __init__(self, tell: Tell) -> None:
        self.lm_calls = self.evaluations = self.errors = 0
        self._tell = tell
        self._lock = threading.Lock()
        self._told_at = 0.0
        self._running: dict[str, tuple[int, int, float]] = {}  # by call: number, examples, when it began
        self._best: tuple[int, float] | None = None  # examples and score
        self._last_error = ""
        self._handler = _Errors(self._failed)
        self._context: AbstractContextManager[Any] | None = None

    def __enter__(self) -> Self:
        # With the traceback of a failed example: else dspy's log is all that is known, and it has not even that.
        self._context = dspy.context(callbacks=[*(dspy.settings.callbacks or ()), self], provide_traceback=True)
        self._context.__enter__()
        logging.getLogger("dspy").addHandler(self._handler)
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger("dspy").removeHandler(self._handler)
        if self._context is not None:
            self._context.__exit__(None, None, None)

    def best(self) -> float | None:
        """Return the best score of those evaluations that had the most examples: minibatches say less."""
        return None if self._best is None else self._best[1]

    def last_error(self) -> str:
        """Return what dspy logged last as an error, "" for nothing."""
        return self._last_error

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:  # noqa: ARG002
        """Count a call."""
        with self._lock:
            self.lm_calls += 1
            now = time.monotonic()
            if now - self._told_at < CALLS_EVERY_S:
                return
            self._told_at, count = now, self.lm_calls
        self._tell({"type": "calls", "lm_calls": count})

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Tell of an evaluation."""
        devset = inputs.get("devset") or getattr(instance, "devset", None) or ()
        with self._lock:
            self.evaluations += 1
            number = self.evaluations
            self._running[call_id] = (number, len(devset), time.monotonic())
        self._tell({"type": "evaluating", "number": number, "examples": len(devset)})

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:  # noqa: ARG002
        """Tell what it came to."""
        score = getattr(outputs, "score", None)
        score = float(score) if isinstance(score, int | float) else None
        with self._lock:
            number, examples, began = self._running.pop(call_id, (0, 0, time.monotonic()))
            if score is not None and (self._best is None or (examples, score) > self._best):
                self._best = (examples, score)
        self._tell({"type": "evaluated", "number": number, "score": score, "seconds": time.monotonic() - began})

    def _failed(self, message: str) -> None:
        with self._lock:
            self.errors += 1
            self._last_error = message[-ERROR_CHARACTERS:]
            is_told = self.errors <= ERRORS_TOLD
        if is_told:
            self._tell({"type": "error", "message": self._last_error})


class _Errors(logging.Handler):
    """Takes what dspy logs as an error: a metric or a program that failed on an example shows nowhere else."""

    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(record.getMessage())
