"""Forked processes that nobody has become yet, by how much they have rehearsed. Asks for none, assigns none."""

from __future__ import annotations

import socket
from collections import deque
from dataclasses import dataclass

from dspex_runtime.osproc.warmth import Warmth

__all__ = ["Pool", "Spare"]


@dataclass(frozen=True, slots=True)
class Spare:
    """A forked process that waits to become a module. It exits when its control pipe ends."""

    pid: int
    sock: socket.socket


class Pool:
    """Idle processes of one warmth; `size` is how many to keep in store, `asked` counts forks that are under way."""

    def __init__(self, warmth: Warmth, size: int) -> None:
        self.warmth = warmth
        self.size = size
        self.asked = 0
        self._idle: deque[Spare] = deque()

    def __len__(self) -> int:
        """Return how many are idle."""
        return len(self._idle)

    @property
    def missing(self) -> int:
        """How many more to ask for."""
        return max(0, self.size - len(self._idle) - self.asked)

    def arrived(self) -> None:
        """Note that one that was asked for is here, or will not come."""
        self.asked = max(0, self.asked - 1)

    def put(self, spare: Spare) -> None:
        """Keep one."""
        self._idle.append(spare)

    def take(self) -> Spare | None:
        """Return the one that waited longest, None when there is none."""
        return self._idle.popleft() if self._idle else None

    def lost(self, pid: int) -> bool:
        """Forget one that died; False if it is not here."""
        for spare in self._idle:
            if spare.pid == pid:
                self._idle.remove(spare)
                spare.sock.close()
                return True
        return False

    def trim(self, keep: int) -> None:
        """Let go of all but so many."""
        while len(self._idle) > keep:
            self._idle.pop().sock.close()

    def clear(self) -> None:
        """Let go of all, and expect none: who was asked is gone."""
        self.trim(0)
        self.asked = 0
