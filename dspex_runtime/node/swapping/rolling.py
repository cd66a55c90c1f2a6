"""A swap of a group: its replicas one after the other, so that all but one serve at any time. All of them in the end, or none.

Each is a swap of its own. When one is not swapped, those before it are swapped back, the last one first, and serve as they were;
the error says which it was, and whether one could not be brought back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.errors import DspexError, SwapError
from dspex_runtime.node.groups import Group
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder
from dspex_runtime.node.swapping.order import Order
from dspex_runtime.node.versions import Version

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.swapping.driver import Swap

__all__ = ["Rolling"]

Facts: TypeAlias = dict[str, Any]


class Rolling:
    """One such swap.

    Args:
        node: The runtime.
        group: What is swapped.
        order_of: What is wanted of each replica.
        drain_s: As of any swap, of each.
        timeout_s: For all of it; None: as long as it takes.
        who: Who asked.
        responder: Is told how it goes, and gets the result. Its end gives up what is under way, and brings back what was done.
        done: Called when all is over.
    """

    def __init__(
        self,
        node: Node,
        group: Group,
        order_of: Callable[[Record], Order],
        *,
        drain_s: float | None,
        timeout_s: float | None,
        who: str,
        responder: Responder,
        done: Callable[[], None],
    ) -> None:
        self._node = node
        self._group = group
        self._order_of = order_of
        self._drain_s = drain_s
        self._until = None if timeout_s is None else node.loop.now() + timeout_s
        self._who = who
        self._responder = responder
        self._done = done
        self._left: list[Record] = []
        self._orders: dict[str, Order] = {}
        self._swapped: list[tuple[Record, Version | None]] = []  #: with what they were
        self._results: list[Facts] = []
        self._swap: Swap | None = None
        self._settling: Record | None = None  #: is swapped, and callers are not sent to it yet
        self._goes_back = False
        self._given_up: str | None = None

    def begin(self) -> None:
        """Look whether all can be swapped, and begin with the first."""
        if self._responder.done:  # while it waited for its turn
            self._done()
            return
        try:
            self._left = [self._node.swaps.swappable(record.id) for record in self._group.records]
            if not self._left:
                raise SwapError(f"{self._group.id!r} has no replicas", code="not_running", id=self._group.id)
            self._orders = {record.id: self._order_of(record) for record in self._left}
        except DspexError as exc:
            self._end(exc)
            return
        self._responder.on_done = lambda: self.give_up("whoever asked for it does not wait any more")
        self._next()

    def give_up(self, why: str) -> None:
        """Bring back what was swapped, and swap no more; nothing where that is under way, or all are swapped."""
        if self._given_up is not None or self._goes_back:
            return
        self._given_up = why
        if self._swap is not None:
            self._swap.give_up(why)
        elif self._settling is not None:
            self._settled(self._settling)

    def _next(self) -> None:
        if not self._left:
            self._end(None)
            return
        record = self._left[0]
        before = self._node.versions.current(record)
        if self._given_up is not None:
            self._back(SwapError(f"the swap of {self._group.id!r} was given up: {self._given_up}", code="aborted", id=record.id))
            return
        try:
            self._start(self._orders[record.id], self._left_s(), lambda results, error: self._came(record, before, results, error))
        except DspexError as exc:
            self._back(exc)

    def _left_s(self) -> float | None:
        return None if self._until is None else max(0.001, self._until - self._node.loop.now())

    def _start(self, order: Order, timeout_s: float | None, done: Callable[[list[Facts] | None, DspexError | None], None]) -> None:
        node = self._node
        tell = self._responder.tell
        self._swap = node.swaps.start([order], drain_s=self._drain_s, timeout_s=timeout_s, who=self._who, tell=tell, done=done)
        self._swap.begin()

    def _came(self, record: Record, before: Version | None, results: list[Facts] | None, error: DspexError | None) -> None:
        self._swap = None
        if error is not None:
            self._back(error)
            return
        self._results += results or []
        self._swapped.append((record, before))
        del self._left[0]
        self._settling = record
        self._node.replicas.when_settled(self._group, record, lambda: self._settled(record))

    def _settled(self, record: Record) -> None:
        if self._settling is record:  # else it was given up before
            self._settling = None
            self._next()

    # -- back -------------------------------------------------------------------------------------------------------

    def _back(self, error: DspexError, failed: Sequence[str] = ()) -> None:
        """Swap the last one back that was swapped, then those before it; then answer with what it was for."""
        which, self._goes_back = self._left[0].id, True
        if not self._swapped:
            self._end(_explained(error, which, failed))
            return
        record, before = self._swapped.pop()

        def came(_results: list[Facts] | None, again: DspexError | None) -> None:
            self._swap = None
            self._back(error, failed if again is None else [*failed, f"{record.id} could not be brought back: {again.message}"])

        try:
            if before is None:
                raise SwapError("it is not known what it was", code="refused", id=record.id)
            spec = self._node.versions.again(record, before)
            order = Order(record.id, spec, down=True, down_to=before.version, why=f"{which} was not swapped", of=before.of)
            self._start(order, None, came)
        except DspexError as exc:
            came(None, exc)

    def _end(self, error: DspexError | None) -> None:
        self._responder.on_done = None
        self._done()
        if error is not None:
            self._responder.fail(error)
        else:
            self._responder.reply({"members": [_as_one(self._group.id, self._results)]})


def _as_one(id: str, results: Sequence[Facts]) -> Facts:
    """Return the fields of `types.SwapResult` of a group: times one after the other, the longest pause of any."""
    moved: dict[str, int] = {}
    for each in results:
        for name, n in each["moved"].items():
            moved[name] = moved.get(name, 0) + n
    sums = {name: sum(each[name] for each in results) for name in ("seconds", "rehearsal_s", "drain_s")}
    pause_s = max(each["pause_s"] for each in results)
    migrated = any(each["migrated"] for each in results)
    return {**results[-1], "id": id, **sums, "pause_s": pause_s, "migrated": migrated, "moved": moved}


def _explained(error: DspexError, which: str, failed: Sequence[str]) -> DspexError:
    serve = "; ".join(failed) if failed else "all of them serve as they were"
    text = f"{which!r} was not swapped: {error.message}; {serve}"
    if not isinstance(error, SwapError):
        return SwapError(text, code="swap", id=which)
    again = SwapError(text, code=error.code, id=which, remote_traceback=error.remote_traceback, reason=error.reason)
    again.hint = error.hint
    return again
