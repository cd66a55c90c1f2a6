"""The sliding restart window of one supervisor (OTP intensity and period). Never reads a clock.

OTP compares whole seconds, so its window is up to a second longer than `period`. Here times are floats and a restart
exactly `max_seconds` ago still counts: `t >= now - max_seconds`.

Source: supervisor.erl add_restart.
"""

from __future__ import annotations

from collections import deque


class RestartWindow:
    """Counts restart decisions; allows `max_restarts` of them within any `max_seconds`."""

    __slots__ = ("_times", "max_restarts", "max_seconds")

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self._times: deque[float] = deque()

    def resize(self, max_restarts: int, max_seconds: float) -> None:
        """Go by another limit from now on; what was counted counts."""
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds

    def record(self, now: float) -> bool:
        """Count one restart decision and return whether it is still within the limit.

        Cost: amortised constant; memory is bounded by max_restarts + 1 times.
        """
        oldest_counted = now - self.max_seconds
        while self._times and self._times[0] < oldest_counted:
            self._times.popleft()
        self._times.append(now)
        return len(self._times) <= self.max_restarts

    def within(self, now: float) -> int:
        """Return how many decisions the limit counts at `now`; counts none itself."""
        return sum(time >= now - self.max_seconds for time in self._times)

    def __len__(self) -> int:
        """Return how many decisions were counted at the last `record`."""
        return len(self._times)
