"""Requests that are answered when children reach a state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import ConfigError, NoProcessError
from dspex_runtime.node.groups import Group
from dspex_runtime.node.registry import SETTLED_DOWN, Record
from dspex_runtime.node.session import Responder
from dspex_runtime.types import State

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

SERVING: Final = "serving"  # it takes calls, whatever becomes of them while something is down that it depends on
WORDS: Final = {
    "ready": frozenset({State.READY}),
    "stopped": SETTLED_DOWN,
    **{state.value.lower(): frozenset({state}) for state in State if state not in (State.READY, State.STOPPED)},
}

_OURS: Final = {SERVING: frozenset({State.READY, State.DEGRADED})}

Waited = Record | Group
Entry = tuple[Responder, Callable[[], bool], Callable[[], None]]  # who asked, the condition, the answer


class Waiters:
    """Conditions over registry records, looked at again whenever one of their records changes."""

    def __init__(self) -> None:
        self._by_id: dict[str, list[Entry]] = {}

    def add(self, responder: Responder, records: Sequence[Waited], ready: Callable[[], bool], answer: Callable[[], None]) -> None:
        """Call `answer` as soon as `ready()` is true; dropped when the responder is done."""
        if ready():
            answer()
            return
        entry = (responder, ready, answer)
        for record in records:
            self._by_id.setdefault(record.id, []).append(entry)
        responder.on_done = lambda: self._drop(entry, records)

    def changed(self, record: Waited) -> None:
        """A record changed: look at what waits for it."""
        for responder, ready, answer in list(self._by_id.get(record.id, ())):
            if not responder.done and ready():
                answer()

    def _drop(self, entry: Entry, records: Sequence[Waited]) -> None:
        for record in records:
            waiting = self._by_id[record.id]
            waiting.remove(entry)
            if not waiting:
                del self._by_id[record.id]


def wait_for(
    node: Node, records: Sequence[Waited], word: str, timeout_s: float | None, responder: Responder, result: Callable[[], Any]
) -> None:
    """Answer with `result()` when every record is in the named state.

    Waiting for "ready" (or "serving") ends early with NoProcessError when one of them is down for good.
    """
    word = word.lower()
    states = WORDS.get(word) or _OURS.get(word)
    if states is None:
        raise ConfigError(f"unknown state {word!r} to wait for; there are {', '.join(sorted(WORDS))}")

    def settled() -> bool:
        return all(r.in_state(states) for r in records) or (State.READY in states and any(r.gone for r in records))

    def answer() -> None:
        down = [r for r in records if r.gone and r.state not in states]
        if down:
            responder.fail(NoProcessError(f"{down[0].id!r} is {down[0].state} and will not become ready", id=down[0].id))
        else:
            responder.reply(result())

    pending = ", ".join(r.id for r in records if not r.in_state(states))
    responder.give_up_after(timeout_s, f"not {word} after {timeout_s} s: {pending}")
    node.waiters.add(responder, records, settled, answer)
