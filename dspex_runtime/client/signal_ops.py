"""Monitors, links and exit signals: what is asked of the runtime. The notices themselves are `downs`' affair."""

from __future__ import annotations

from typing import Any

from dspex_runtime.client.asking import QUICK_S, Client, ask
from dspex_runtime.client.downs import Notice
from dspex_runtime.client.ids import Child, looked_up
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.core.links import KILL
from dspex_runtime.exit_reason import ExitReason, own_reason
from dspex_runtime.types import Down


def told_of(session: Session, op: str, asked: dict[str, Any]) -> Steps[Notice]:
    """Ask for what is told of by a notice; it may come before the answer that says under which number."""
    with session.connection.downs.expecting() as claim:
        return claim(int((yield from ask(session, op, asked, QUICK_S))["ref"]))


def monitored(self: Client, id: Child) -> Steps[tuple[str, Notice]]:
    """Watch a child's running incarnation; where there is none its notice, "noproc", comes at once. Returns id and notice."""
    wanted = yield from looked_up(self.session, id)
    return wanted, (yield from told_of(self.session, "monitor", {"id": wanted}))


def linked(self: Client, a: Child, b: Child | None) -> Steps[tuple[str, Notice] | None]:
    """Link two children, or (b None) a child with this client; then its id and the notice of its end."""
    asked = yield from _pair(self, a, b)
    if b is None:
        return asked["id"], (yield from told_of(self.session, "link", asked))
    yield from ask(self.session, "link", asked, QUICK_S)
    return None


def _pair(self: Client, a: Child, b: Child | None) -> Steps[dict[str, Any]]:
    other = None if b is None else (yield from looked_up(self.session, b))
    return {"id": (yield from looked_up(self.session, a)), "with": other}


def unlink(self: Client, a: Child, b: Child | None = None) -> Steps[bool]:
    """Remove the link of two children, or (b None) of a child with this client; no signal comes through it any more.

    Returns:
        Whether there was one.
    """
    answer = yield from ask(self.session, "unlink", (yield from _pair(self, a, b)), QUICK_S)
    return bool(answer["linked"])


def exit(self: Client, id: Child, reason: ExitReason = "normal") -> Steps[None]:
    """Send an exit signal to a child, as erlang:exit/2; ends when it is sent. One that is not there: nothing happens.

    Args:
        self: The runtime.
        id: The child; a supervisor ignores everything but "kill", which ends it and all that is below it. The root supervisor is
            not to be killed: `rt.shutdown()` ends it.
        reason: A server that traps exits (the default) gets `dx.Exit`; a dspy module ends in order, unless it is "normal"; with
            `trap_exit: false` either ends at once. "kill" cannot be trapped, its victim ends "killed". What is no reason that
            code may give (`dx.Stop`) is sent as ("error", "Exit", the term or its repr, "").
    """
    asked = {"id": (yield from looked_up(self.session, id)), "reason": own_reason(reason, "Exit", KILL)}
    yield from ask(self.session, "exit", asked, QUICK_S)


def awaited_down(session: Session, notice: Notice, timeout: float | None) -> Steps[Down | None]:
    """Wait for a notice; None when it has not come in time, or its monitor was ended.

    Raises:
        RuntimeUnreachableError: The runtime is gone, and with it whoever would tell.
    """
    connection = session.connection
    if connection.closed and not notice.down.done():
        raise connection.unreachable()  # claimed when those that waited had been told, or in a process forked from ours
    try:
        down: Down | None = yield Await(notice.down, timeout, keep=True)
    except TimeoutError:
        return None
    return down


def demonitored(session: Session, ref: int) -> Steps[bool]:
    """End a monitor; after this no notice comes. Returns whether it was still active."""
    answer = session.connection.demonitor(ref)
    return answer is not None and bool((yield Await(answer, QUICK_S)))
