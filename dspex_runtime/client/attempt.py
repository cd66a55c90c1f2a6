"""At-most-once: what may be sent again after its pipe was lost. Pure decisions, no I/O.

*In flight* means the module has read the request. What was certainly not begun waits for the next incarnation; what may have
begun fails with the exit reason, unless its method is idempotent. Source: DESIGN §10, `wire.messages`, and unix(7): a peer that
dies with unread bytes gives ECONNRESET, one that had read them gives end of file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RETRY_PAUSES_S: Final = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)  # before asking again after RETRY from one incarnation


@dataclass(frozen=True, slots=True)
class Lost:
    """What is known of one request at the moment its pipe ended.

    Attributes:
        sent: Whether the whole frame was handed to the kernel.
        reset: Whether the pipe ended with ECONNRESET, that is with bytes the module never read.
        begun: The last BEGUN (an item of a stream counts as True); None when none came.
        multiplexed: Whether the pipe carried many requests. There a reset says nothing about one of them, but each is announced.
    """

    sent: bool
    reset: bool
    begun: bool | None
    multiplexed: bool = False

    def certainly_not_begun(self) -> bool:
        """Return whether the module cannot have run any of it."""
        if not self.sent or self.begun is False:
            return True
        if self.begun is True:
            return False
        return self.multiplexed or self.reset


def may_resend(lost: Lost, *, idempotent: bool) -> bool:
    """Return whether the request goes to the next incarnation; otherwise its caller learns the exit reason."""
    # An idempotent stream that already gave items cannot start over unseen: its caller passes idempotent=False.
    return idempotent or lost.certainly_not_begun()


def retry_pause_s(times: int) -> float:
    """Return how long to wait before the `times`-th request after RETRY; the parent may not know yet that the module drains."""
    return RETRY_PAUSES_S[min(times, len(RETRY_PAUSES_S)) - 1] if times else 0.0
