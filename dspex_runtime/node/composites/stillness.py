"""An owner and its parts at rest, all at the same time: nothing begins, nothing runs, no client is heard, until `release`.

    hold    the owner, and when nothing runs in it any more its parts, callers before those they call: what runs can finish
    seal    all of them at once, when the last one is quiet: from here on nothing of any of them changes
    release every one goes on with what came meanwhile

What is meant for one of them is kept back (`node.swapping.holding_back`); one that is being swapped, or saved with others, is
waited for. All of it within a time: callers wait. Never asks for a state: who does says that it is "held".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.errors import CheckpointError, DspexError
from dspex_runtime.node.checkpointing import BUSY
from dspex_runtime.node.event_loop import Timer
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.swapping.holding_back import QUICK, HoldingBack

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["Stillness", "callers_first"]

ANSWER_GRACE_S: Final = 5.0  # beyond the drain, for the answer
SEAL_TIMEOUT_S: Final = 15.0  # what had begun to be written is waited for

Facts: TypeAlias = dict[str, Any]
#: None: all of them are at rest, and `release` is to be called; else why not, and all go on.
Done: TypeAlias = Callable[[DspexError | None], None]


def callers_first(owner: Record, below: Sequence[Record]) -> list[Record]:
    """Return an owner and what is below it, each owner before its parts, and parts that were started later before earlier ones."""
    found = [owner]
    for part in reversed([each for each in below if each.id.rpartition("/")[0] == owner.id]):
        found += callers_first(part, [each for each in below if each.id.startswith(f"{part.id}/")])
    return found


class Stillness:
    """See the module docstring.

    Attributes:
        processes: Of the members, by full id, once they are held; without those that are no parts any more.

    Args:
        node: The runtime.
        records: Of the members, in the order in which they are to be held.
        drain_s: How long what runs in them has to finish, all together.
        done: Called once, unless it is released before that.
        over: Called once, before `done`, or when it is released: changes of records are of no use to it any more.
    """

    def __init__(
        self, node: Node, records: Sequence[Record], *, drain_s: float, done: Done, over: Callable[[Stillness], None]
    ) -> None:
        self.processes: dict[str, ModuleProcess] = {}
        self._node = node
        self._records = list(records)
        self._drain_s = drain_s
        self._until = node.loop.now() + drain_s
        self._done = done
        self._over = over
        self._held: dict[str, HoldingBack] = {}
        self._is_over = False  #: decided, or released
        self._waits_for: Record | None = None  #: to serve
        self._last = ""  #: who was asked, or waited for, last
        self._unsealed = 0
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Hold the first one; the rest follows."""
        self._timer = self._node.loop.call_later(self._drain_s + ANSWER_GRACE_S, self._too_late)
        self._next()

    def changed(self, record: Record) -> None:
        """The record of a child changed: it may serve again, or be gone."""
        if self._waits_for is not None and record.id == self._waits_for.id:
            self._waits_for = None
            self._next()

    def release(self) -> None:
        """Let all of them go on, those that are called before their callers. Idempotent."""
        self._decided()
        held, self._held = self._held, {}
        for id, holding_back in reversed(held.items()):
            process = self.processes[id]
            process.held_back = None
            process.request("unhold", {}, None, lambda _value, _fault: None)
            holding_back.release(process)

    # -- hold

    def _next(self) -> None:
        """Hold the next one, as soon as that can be; seal all when there is none."""
        if self._is_over:
            return
        record = self._coming()
        if record is None:
            self._seal()
            return
        process, self._last = record.process, record.id
        if process is None or not process.serving:
            self._wait_for(record)
        elif process.held_back is not None:
            process.held_back.then(self._next)
        else:
            self._hold(record, process)

    def _coming(self) -> Record | None:
        """Return who is to be held next; what is no part any more is left out."""
        owner = self._records[0]
        now = {each.id: each for each in (owner, *self._node.parts.below(owner.id))}
        self._records = [now.get(each.id, each) for each in self._records if each.id in now or each.id in self._held]
        return self._records[len(self._held)] if len(self._held) < len(self._records) else None

    def _wait_for(self, record: Record) -> None:
        if record.gone or self._node.registry.get(record.id) is not record:
            owner = self._records[0].id
            hint = f"`rt.start({record.id!r})` brings it back"
            text = f"{record.id!r} is {record.state}: {owner!r} can be saved with all of its parts only"
            self._fail(CheckpointError(text, id=record.id, hint=hint))
        else:
            self._waits_for = record

    def _hold(self, record: Record, process: ModuleProcess) -> None:
        held = process.held_back = HoldingBack(self._node.loop, "it is held, to be saved together with others")
        self.processes[record.id], self._held[record.id] = process, held

        def quiet() -> None:
            if process.held_back is held:  # else it was given up meanwhile
                left_s = max(0.0, self._until - self._node.loop.now())
                process.request_now("hold", {"drain_s": left_s}, left_s + ANSWER_GRACE_S, answered)

        def answered(value: Any, fault: Facts | None) -> None:
            if self._is_over:
                return
            running = 0 if fault is not None else int(value["running"])
            if fault is not None:
                self._fail(self._busy(f"{record.id!r} could not be held: {fault.get('message')}"))
            elif running:
                self._fail(self._busy(f"{record.id!r} still runs {running} call{'s' if running > 1 else ''}"))
            else:
                self._next()

        process.when_answered(QUICK, quiet)

    # -- seal

    def _seal(self) -> None:
        self._unsealed = len(self._held)

        def answered(id: str, _value: Any, fault: Facts | None) -> None:
            if self._is_over:
                return
            if fault is not None:
                self._fail(self._busy(f"{id!r} could not be brought to a stand: {fault.get('message')}"))
                return
            self._unsealed -= 1
            if not self._unsealed:
                self._decided()
                self._done(None)

        for id, process in self.processes.items():
            process.request_now("seal", {}, SEAL_TIMEOUT_S, partial(answered, id))

    # -- the end

    def _too_late(self) -> None:
        record = self._waits_for
        self._fail(self._busy(f"{record.id!r} is {record.state}" if record is not None else f"{self._last!r} is not at rest"))

    def _busy(self, why: str) -> CheckpointError:
        owner = self._records[0].id
        text = f"{owner!r} and its parts did not come to rest within {self._drain_s:g} s: {why}"
        return CheckpointError(text, code=BUSY, id=owner)

    def _fail(self, error: DspexError) -> None:
        self.release()
        self._done(error)

    def _decided(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._waits_for = None
        if self._timer is not None:
            self._timer.cancel()
        self._over(self)
