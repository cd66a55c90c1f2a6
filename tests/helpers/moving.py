"""A move of one hosted process to another, with the test as the parent of both."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from helpers.hosted_process import HostedProcess, pass_through


def make_packing_wait(patch: pytest.MonkeyPatch) -> None:
    """From now on forked processes wait at a gate before they pack their state, where `extra` is the path of one."""
    from dspex_runtime.host.moving import state

    real = state.pack_state

    def pack_state(hosted: Any, parameters: Any, loop: Any, stream: Any, way: Any) -> None:
        if way.extra is not None:
            pass_through(way.extra)
        real(hosted, parameters, loop, stream, state.Way())

    patch.setattr(state, "pack_state", pack_state)


class Move:
    """One swap as the parent does it, step by step."""

    def __init__(self, old: HostedProcess, new: HostedProcess) -> None:
        self.old, self.new = old, new

    def rehearse(self) -> dict[str, Any]:
        self.old.ask("checkpoint", kind="before_swap")
        image = self.old.control.take_fd()
        try:
            found: dict[str, Any] = self.new.ask("rehearse", image, old_version=None, migrate=None, extra=None, verify=None)
        finally:
            os.close(image)
        return found

    def hold(self, drain_s: float = 20.0) -> dict[str, Any]:
        found: dict[str, Any] = self.old.ask("hold", drain_s=drain_s)
        return found

    def begin(self, **args: Any) -> tuple[int, int]:
        """Begin to pack; return the numbers of both operations."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            packing = self.old.begin("pack", ours.fileno(), **args)
            return packing, self.new.begin("prepare", theirs.fileno())

    def pack(self, **args: Any) -> dict[str, Any]:
        """Copy everything; return what the old process says of it."""
        packing, preparing = self.begin(**args)
        sent: dict[str, Any] = self.old.answer(packing)
        taken = self.new.answer(preparing)
        assert (taken["queued"], taken["channels"]) == (sent["queued"], sent["channels"])
        return sent

    def commit(self, **base: Any) -> None:
        """Have the new one serve and the old one leave."""
        serving = self.new.begin("serve", base=base)
        self.old.tell("leave", reason=("shutdown", "swapped"))
        self.new.answer(serving)

    def whole(self, **base: Any) -> dict[str, Any]:
        """Do all of it, behind the rehearsal."""
        assert self.hold()["running"] == 0
        sent = self.pack()
        self.commit(**base)
        return sent

    def ended(self) -> None:
        """Check that the old process ended as it should."""
        assert self.old.bye() == ("shutdown", "swapped")
        assert self.old.wait() == 0
