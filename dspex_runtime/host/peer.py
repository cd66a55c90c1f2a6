"""One client's channel as the loop sees it: how to answer, how it wants to hear of its requests, which of them run."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.mailbox import Request
    from dspex_runtime.host.send_order import Sender

# A client that reads nothing for this long (stopped, swapped out) loses its channel: it must not hold up the module for
# everybody else. Bounded by this, not by the call's deadline, which may be an hour away.
SEND_TIMEOUT_S: Final = 10.0


class Peer:
    """One client channel."""

    __slots__ = ("channel", "client", "greeted", "mux", "open", "running", "sender")
    is_parent = False  #: it is the runtime itself

    def __init__(self, channel: Channel, *, client: str = "", mux: bool = False) -> None:
        self.channel = channel
        self.client = client
        self.mux = mux
        self.greeted = False
        self.open = True
        self.sender: Sender | None = None  # whose pipes' numbers are one row with this one's; set where order matters
        self.running: dict[int, Request] = {}  # by request id: what CANCEL and CREDIT look up

    def send(self, message: list[Any]) -> bool:
        """Send one frame; False when the client is gone.

        Raises:
            UnserialisableError: The value cannot cross, or is too large; nothing was sent.
        """
        try:
            self.channel.send(message, monotonic() + SEND_TIMEOUT_S)
        except OSError:  # gone, or it does not read: what comes next on this channel is its EOF
            self.open = False
            return False
        return True

    def send_many(self, messages: list[list[Any]]) -> bool:
        """Send frames with one system call; False when the client is gone."""
        try:
            self.channel.send_many(messages, monotonic() + SEND_TIMEOUT_S)
        except OSError:
            self.open = False
            return False
        return True

    def give_back(self, id: int) -> None:
        """Tell that a request was not begun and never will be, here."""
        self.send([m.RETRY, id])


def unserialisable(exc: BaseException) -> UnserialisableError:
    """Return the error for a result that could not be encoded, whatever its own code raised meanwhile."""
    if isinstance(exc, UnserialisableError):
        return exc
    return UnserialisableError(f"the result cannot be sent: {type(exc).__name__}: {exc}", path="result")
