"""How long a restart waits. Never reads a clock; the randomness is passed in.

The first restart of a crash loop is at once, the n-th waits initial * factor**(n-2), at most max_s, then spread by
+- jitter so that children that crash together do not start together for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from dspex_runtime.core.child_spec import Backoff


def delay_s(backoff: Backoff | None, attempt: int, random: Callable[[], float]) -> float:
    """Return the delay before restart number `attempt` (1 is the first of the loop).

    Args:
        backoff: None is OTP's: never a delay.
        attempt: Restarts in a row, this one included.
        random: Uniform in [0, 1); called only when there is a delay to spread.
    """
    if backoff is None or attempt <= 1:
        return 0.0
    try:
        delay = min(backoff.initial_s * backoff.factor ** (attempt - 2), backoff.max_s)
    except OverflowError:  # a loop of over a thousand restarts
        delay = backoff.max_s
    return delay * (1.0 + backoff.jitter * (2.0 * random() - 1.0))


def is_stable(backoff: Backoff | None, ready_for_s: float) -> bool:
    """Return whether a child that was ready for so long has left its crash loop: its next restart is a first one."""
    return backoff is not None and ready_for_s >= backoff.stable_after_s
