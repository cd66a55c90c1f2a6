"""Who is linked with whom, and what an exit signal does to whoever it reaches.

Never knows what is alive, and delivers nothing: whoever links with something that is gone sends the signal "noproc" itself.

Source: OTP links and exit signals (erlang:link/1, erlang:exit/2); otp-semantics §2.7.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeAlias, TypeVar, assert_never

from dspex_runtime.exit_reason import ExitReason

Endpoint = TypeVar("Endpoint", bound=Hashable)  # one incarnation of a child, a client's connection

KILL: Final = "kill"  # the reason of exit(id, reason) that nothing can trap; through a link it is a reason as any other


class Receiver(StrEnum):
    """What an exit signal reaches."""

    SERVER = "server"  # it has handle_info
    MODULE = "module"  # a dspy module: it has no mailbox for a signal
    SUPERVISOR = "supervisor"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing happens."""


@dataclass(frozen=True, slots=True)
class Message:
    """The receiver is told."""


@dataclass(frozen=True, slots=True)
class Stops:
    """It ends in order: drained, `terminate(reason)`."""

    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Dies:
    """It ends at once, in the middle of whatever it does."""

    reason: ExitReason


Effect: TypeAlias = Ignored | Message | Stops | Dies


def effect(reason: ExitReason, receiver: Receiver, *, trap_exit: bool, via_link: bool, from_self: bool = False) -> Effect:
    """Return what an exit signal does.

    Args:
        reason: The signal's reason.
        receiver: What it reaches.
        trap_exit: Whether the receiver traps exits. Supervisors always do.
        via_link: It came because a linked process ended, not by exit(id, reason).
        from_self: The receiver sent it to itself.
    """
    if reason == KILL and not via_link and receiver is not Receiver.CLIENT:
        return Dies("killed")
    harmless = reason == "normal" and not from_self
    match receiver:
        case Receiver.SUPERVISOR:
            return Ignored()  # supervisor.erl: a signal of a stranger is dropped
        case Receiver.CLIENT:
            return Message()
        case Receiver.SERVER if trap_exit:
            return Message()
        case Receiver.MODULE if trap_exit:
            return Ignored() if harmless else Stops(reason)
        case Receiver.SERVER | Receiver.MODULE:
            return Ignored() if harmless else Dies(reason)
        case _:
            assert_never(receiver)


@dataclass(frozen=True, slots=True)
class Signal(Generic[Endpoint]):
    """An exit signal under way."""

    sender: Endpoint
    receiver: Endpoint
    reason: ExitReason


class LinkTable(Generic[Endpoint]):
    """All links of a runtime: one per pair, the same from both ends. Costs what the endpoint has, not what there is."""

    __slots__ = ("_peers",)

    def __init__(self) -> None:
        # Dicts as ordered sets: signals go out in the order the links were made.
        self._peers: dict[Endpoint, dict[Endpoint, None]] = {}

    def __len__(self) -> int:
        return sum(len(peers) for peers in self._peers.values()) // 2

    def link(self, a: Endpoint, b: Endpoint) -> bool:
        """Link two endpoints; False when they were linked already, or are one and the same."""
        if a == b or b in self._peers.get(a, ()):
            return False
        self._peers.setdefault(a, {})[b] = None
        self._peers.setdefault(b, {})[a] = None
        return True

    def unlink(self, a: Endpoint, b: Endpoint) -> bool:
        """Remove a link; the end of one makes no signal for the other any more. Returns whether there was one."""
        if b not in self._peers.get(a, ()):
            return False
        self._forget(a, b)
        self._forget(b, a)
        return True

    def exited(self, endpoint: Endpoint, reason: ExitReason) -> list[Signal[Endpoint]]:
        """An endpoint ended: return the signals to be delivered, and forget its links."""
        peers = self._peers.pop(endpoint, {})
        for peer in peers:
            self._forget(peer, endpoint)
        return [Signal(endpoint, peer, reason) for peer in peers]

    def _forget(self, of: Endpoint, peer: Endpoint) -> None:
        peers = self._peers[of]
        del peers[peer]
        if not peers:
            del self._peers[of]
