"""The commit of one member: one process takes the place of another, between two turns of the loop: nobody sees a half of it.

What is bound to the incarnation (names, links, who monitors it, clients' open pipes) is not touched. What names the process itself
is made to name the new one: the record and the tree, its session, what it listens for and follows, what is kept of it. Then the new
one serves, gets what was kept back, and does what it has asked for; the old one leaves.

Never fails: whether it may be was looked at before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.swapping.asking import AfterSwap
from dspex_runtime.node.swapping.beside import Beside
from dspex_runtime.node.swapping.leaving import Leaving
from dspex_runtime.node.swapping.member import Member

__all__ = ["flip"]

Facts: TypeAlias = dict[str, Any]


def flip(member: Member, served: Callable[[Any, Facts | None], None], beside: Beside) -> Callable[[], None]:
    """Put the new process in the place of the old one, and have it serve.

    Args:
        member: Both are there, and the new one has all of the old one.
        served: Gets the answer of the new one.
        beside: Knows of the processes that are no child's: from here on the old one.

    Returns:
        What is left: to be called when all members are in their places. Then callers are let in again. The old one leaves when
        the new one serves: its end is 2 ms of a core, for which callers would wait.
    """
    node, record, old, new = member.node, member.record, member.old, member.new.process
    held, old.held_back = old.held_back, None
    tree = node.supervision
    assert held is not None
    assert tree is not None

    def gone(process: ModuleProcess) -> None:
        beside.remove(process)
        if new.serving:  # not before: callers have waited, and for this their calls would wait once more
            saving = node.checkpointing
            saving.take(new, "swapped", lambda _, fault: None if fault is None else saving.failed(new, fault))

    leaving = Leaving(node, old, gone)
    beside.add(old)
    beside.remove(new)
    member.new.takes_place(tree.replaced(record, new))
    before = node.relations.swapped(old, new, member.new.session)
    before.instead = AfterSwap(node, before)
    node.naming.swapped(old, new, before.endpoint)
    new.keeper, new.on_changed = node.keeping, node.subscriptions.changed
    record.kind, record.version = new.kind, member.version
    base = node.keeping.swapped(old)

    def has_served(value: Any, fault: Facts | None) -> None:
        served(value, fault)
        node.loop.call_soon(leaving.begin)  # not now: an answer that came at once is from within this

    new.request("serve", {"base": base}, None, has_served)
    node.keeping.ready(new)  # what is configured otherwise it has taken over
    node.subscriptions.swapped(record.id)
    node.subscriptions.move(old.peer, new.peer)
    node.subscriptions.move(held.peer, new.peer)
    held.release(new)

    def finish() -> None:
        member.number = node.versions.swapped(record, member.order.spec, member.order.why, of=member.order.of)
        tree.swapped(record, member.order.spec)
        member.new.does_what_it_asked()
        leaving.begin_later()

    return finish
