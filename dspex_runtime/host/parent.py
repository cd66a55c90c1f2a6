"""The parent as a client: for the requests that come over the control channel and run as calls (readiness)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dspex_runtime.errors import CallError
from dspex_runtime.host.peer import Peer
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.wire import messages as m


class ParentPeer(Peer):
    """The control channel: its requests are answered with REPLY or FAULT and nothing else."""

    __slots__ = ("_fault",)

    def __init__(self, channel: Channel, fault: Callable[[BaseException], dict[str, Any]]) -> None:
        super().__init__(channel, client="parent")
        self._fault = fault

    def give_back(self, id: int) -> None:
        """Say that it did not run."""
        self.send([m.FAULT, id, self._fault(CallError("the module is stopping; the call did not begin"))])
