"""Overload protection of our own log lines, which clients can cause (a full mailbox, messages nobody handles)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from dspex_runtime.core.burst_limit import BurstLimit


class BurstFilter(logging.Filter):
    """Of a flood so many lines a second are written, then one that says how many were not. The user's lines are never dropped.

    Args:
        write: Writes a line of the filter's own.
    """

    def __init__(self, write: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._write = write
        self._burst = BurstLimit()

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 (logging's own signature)
        """Return whether the line is written; before the first of a new window say what was dropped in the one before."""
        now = monotonic()
        dropped = self._burst.take_dropped(now)
        if dropped:
            text = f"{dropped} lines were dropped: more than {self._burst.limit} in {self._burst.window_s:g} s"
            self._write(logging.LogRecord("dspex_runtime.log", logging.WARNING, "", 0, text, None, None))
        return self._burst.allow(now)
