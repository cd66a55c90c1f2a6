"""Monitors, links and exit signals, as functions for code inside a module process: it watches and links for itself.

What they bring arrives in the mailbox: a server's `handle_info`, or that of a module which defines one. Owns nothing: the parent
keeps the tables. Source: erlang:monitor/2, demonitor/2, link/1, unlink/1, exit/2; otp-semantics §2.7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dspex_runtime.core.links import KILL
from dspex_runtime.exit_reason import ExitReason, own_reason
from dspex_runtime.host.context import Process
from dspex_runtime.host.ids import Child, id_of, is_named, of_proxy
from dspex_runtime.host.parent import ask, uplink
from dspex_runtime.types import Down, Exit

__all__ = ["demonitor", "exit", "link", "monitor", "unlink"]


def monitor(id: Child) -> int:
    """Watch the running incarnation of a child, a supervisor too; `dx.Down` comes to handle_info once, when it ends.

    It comes after everything that the process had sent to this one, and when its names are free. Where there is no such
    process it comes at once with the reason "noproc". Each call is a monitor of its own.

    Returns:
        The number that the `Down` carries as `ref`.
    """
    return int(ask("monitor", {"id": _id(id)})["ref"])


def demonitor(ref: int, flush: bool = False) -> bool:
    """Watch no longer: no new `Down` comes from here on. With `flush` one that is still in the mailbox is removed too.

    Returns:
        Whether the monitor was still active. Ending one twice is fine.
    """
    active = bool(ask("demonitor", {"ref": ref}))
    if flush:
        _drop_messages(lambda message: isinstance(message, Down) and message.ref == ref)
    return active


def link(id: Child) -> None:
    """Link this process with a child: when one ends, the other gets an exit signal with its reason. Linking twice is linking once.

    With a process that is not there: a signal with the reason "noproc". A server that traps exits (the default) gets every
    signal as `dx.Exit`; a dspy module ends in order with any reason but "normal"; with `trap_exit: false` either ends at once.
    """
    ask("link", {"id": _id(id)})


def unlink(id: Child, flush: bool = False) -> bool:
    """Remove a link: no exit signal comes through it from here on.

    With `flush` an `Exit` of that child that is still in the mailbox is removed too.

    Returns:
        Whether there was a link.
    """
    found = ask("unlink", {"id": _id(id)})
    if flush:
        _drop_messages(lambda message: isinstance(message, Exit) and message.id == found["id"])
    return bool(found["linked"])


def exit(id: Child, reason: ExitReason = "normal") -> None:
    """Send an exit signal to a child. One that is not there: nothing happens.

    Args:
        id: The child; a supervisor ignores everything but "kill", which ends it and all that is below it.
        reason: "kill" cannot be trapped, its victim ends "killed". "normal" ends nobody but the sender itself. What is no reason
            that code may give (`dx.Stop`) is sent as ("error", "Exit", the term or its repr, "").
    """
    ask("exit", {"id": _id(id), "reason": own_reason(reason, "Exit", KILL)})


def _id(child: Child) -> str:
    target = of_proxy(child)
    socket_path = Process.assignment.socket if Process.assignment is not None else ""  # outside a module `ask` says so
    return id_of(target.current() if is_named(target) else target, socket_path)


def _drop_messages(unwanted: Callable[[Any], bool]) -> None:
    # The notice went out before the answer that we have: it is where these two look, or was handled.
    uplink().drop_messages(unwanted)
    if Process.loop is not None:
        Process.loop.drop_messages(unwanted)
