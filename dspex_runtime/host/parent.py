"""The parent as somebody to ask, from any thread of a module process; and as a client, for its own calls (readiness)."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import CallError
from dspex_runtime.host import context
from dspex_runtime.host.peer import Peer
from dspex_runtime.host.uplink import Uplink, timed_out
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    import asyncio

__all__ = ["ASK_TIMEOUT_S", "ParentPeer", "aask", "ask", "ask_for_fd"]

ASK_TIMEOUT_S: Final = 5.0  # as OTP's calls; the parent answers from memory, what waits for others says so


def ask(op: str, args: dict[str, Any], *, timeout_s: float | None = ASK_TIMEOUT_S) -> Any:
    """Ask the parent to carry out an operation (`node.operations.TABLE`) on behalf of this process; return its value.

    From any thread, in `init` too. The parent serves a process until it is gone, so also one that is stopping (`terminate`).

    Args:
        op: The operation's name.
        args: Its arguments.
        timeout_s: Seconds to wait, None for ever; the deadline of the request being served caps it.

    Raises:
        CallTimeoutError: No answer in time; it may have been done all the same. The parent is told, and stops waiting for what it
            was waiting for; an answer that comes late is dropped.
        RuntimeUnreachableError: The parent is gone, or this is a process that user code forked.
        RuntimeError: This is no module process.
        DspexError: What the operation failed with.
    """
    context.check_cancelled()
    return uplink().ask(op, args, _deadline(timeout_s))


def ask_for_fd(op: str, args: dict[str, Any], *, timeout_s: float | None = ASK_TIMEOUT_S) -> int | None:
    """Ask the parent for a descriptor, the caller's to close; None when it has none. Otherwise as `ask`."""
    context.check_cancelled()
    return uplink().ask_for_fd(op, args, _deadline(timeout_s))


async def aask(op: str, args: dict[str, Any], *, timeout_s: float | None = ASK_TIMEOUT_S) -> Any:
    """Ask as `ask` does without holding up the event loop; cancelling the task gives the question up."""
    import asyncio

    context.check_cancelled()
    link, deadline = uplink(), _deadline(timeout_s)
    if not link.served:  # an event loop that user code runs in `init`: somebody has to read
        return await asyncio.to_thread(link.ask, op, args, deadline)
    if deadline is not None and deadline <= monotonic():
        raise timed_out(op)
    loop = asyncio.get_running_loop()
    settled = asyncio.Event()
    question = link.begin(op, args, lambda: _call_soon(loop, settled.set))
    try:
        await asyncio.wait_for(settled.wait(), None if deadline is None else deadline - monotonic())
    except TimeoutError:
        if question.answer is None:  # one that came at that very moment wins
            raise timed_out(op) from None
    finally:
        link.give_up(question)
    return question.result()


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        pass  # the loop was closed: nobody waits


def uplink() -> Uplink:
    """Return this process's way to the parent.

    Raises:
        RuntimeError: This is no module process.
    """
    found = context.Process.parent
    if found is None:
        raise RuntimeError("this works only inside a module process")
    return found


def _deadline(timeout_s: float | None) -> float | None:
    own, cap = None if timeout_s is None else monotonic() + timeout_s, context.deadline()
    return cap if own is None or (cap is not None and cap < own) else own


class ParentPeer(Peer):
    """The control channel: its requests are answered with REPLY or FAULT and nothing else.

    Args:
        channel: The control channel.
        fault: Makes a fault of an exception.
        answered: Told the number of each request before its answer is sent.
    """

    __slots__ = ("_answered", "_fault")
    is_parent = True

    def __init__(self, channel: Channel, fault: Callable[[BaseException], dict[str, Any]], answered: Callable[[int], None]) -> None:
        super().__init__(channel, client="parent")
        self._fault = fault
        self._answered = answered

    def named(self, client: str) -> ParentPeer:
        """Return the same under another name: what it writes is written by that."""
        other = ParentPeer(self.channel, self._fault, self._answered)
        other.client = client
        return other

    def send(self, message: list[Any]) -> bool:
        """Send one frame; see `Peer.send`."""
        self._answered(message[1])
        return super().send(message)

    def give_back(self, id: int) -> None:
        """Say that it did not run."""
        self.send([m.FAULT, id, self._fault(CallError("the module is stopping; the call did not begin"))])
