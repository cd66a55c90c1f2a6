"""Overload protection for reports and log lines: so many in a window, the rest is counted and said. Reads no clock.

Source: the burst limit of OTP's logger (burst_limit_max_count, burst_limit_window_time; otp-semantics §2.11).
"""

from __future__ import annotations

from typing import Final

BURST_LIMIT: Final = 500  # as OTP's logger
BURST_WINDOW_S: Final = 1.0


class BurstLimit:
    """At most `limit` in a window; a window begins with the first after the one before has ended."""

    __slots__ = ("_allowed", "_dropped", "_ends", "limit", "window_s")

    def __init__(self, limit: int = BURST_LIMIT, window_s: float = BURST_WINDOW_S) -> None:
        self.limit = limit
        self.window_s = window_s
        self._ends = float("-inf")
        self._allowed = 0
        self._dropped = 0

    def allow(self, now: float) -> bool:
        """Return whether one more is let through at `now`; one that is not counts as dropped."""
        if now >= self._ends:
            self._ends = now + self.window_s
            self._allowed = 0
        if self._allowed < self.limit:
            self._allowed += 1
            return True
        self._dropped += 1
        return False

    def take_dropped(self, now: float) -> int:
        """Return how many were dropped, once, when the window they were dropped in is over; 0 otherwise."""
        if not self._dropped or now < self._ends:
            return 0
        dropped, self._dropped = self._dropped, 0
        return dropped
