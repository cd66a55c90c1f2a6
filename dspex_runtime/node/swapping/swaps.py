"""The swaps that are under way: who can be swapped, one swap at a time of one child. Hears of what ends a swap, and tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError, SwapError
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder
from dspex_runtime.node.swapping.beside import Beside
from dspex_runtime.node.swapping.driver import Done, Swap
from dspex_runtime.node.swapping.order import Order
from dspex_runtime.types import Kind, State

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["Swaps"]

NO_TIMEOUT_S: Final = 1e8  # three years

Facts: TypeAlias = dict[str, Any]


class Swaps:
    """See the module docstring."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._swaps: dict[str, Swap] = {}  #: by full id of a member, until it is decided
        self.beside = Beside()
        node.registry.on_change.append(self._changed)
        node.relations.on_process_end.append(self._ended)

    def __contains__(self, id: str) -> bool:
        return id in self._swaps

    def shown(self, record: Record) -> Facts | None:
        """Return what `info` says of a child that is being swapped."""
        swap = self._swaps.get(record.id)
        return None if swap is None else swap.shown(record)

    # -- asking -----------------------------------------------------------------------------------------------------

    def swappable(self, id: str) -> Record:
        """Return the record of a child that can be swapped.

        Raises:
            NoProcessError: There is no such child.
            SwapError: It cannot be, or not now.
        """
        node = self._node
        record = node.registry.resolve(id)
        if record.spec.kind is Kind.SUPERVISOR:
            hint = "swap its children; `rt.swap({...})` takes several at once"
            raise SwapError(f"{record.id!r} is a supervisor: it has no code to swap", code="supervisor", id=record.id, hint=hint)
        if record.id in self._swaps:
            hint = f"rt.abort_swap({record.id!r}) gives it up"
            raise SwapError(f"{record.id!r} is being swapped already", code="busy", id=record.id, hint=hint)
        if record.id in node.compiles:
            raise SwapError(f"{record.id!r} is being compiled", code="busy", id=record.id, hint="swap it when that is done")
        if record.id.endswith("$compile"):
            raise SwapError(f"{record.id!r} is the compile of another module", code="refused", id=record.id)
        if record.state is not State.READY or record.process is None or not record.process.serving:
            back = f"`rt.start({record.id!r})` brings it back"
            hint = back if record.gone else f"`rt.wait([{record.id!r}])` returns when it runs"
            text = f"{record.id!r} is {record.state}: only what serves can be swapped"
            raise SwapError(text, code="not_running", id=record.id, hint=hint)
        return record

    def begin(
        self, orders: Sequence[Order], *, drain_s: float | None, timeout_s: float | None, who: str, responder: Responder
    ) -> None:
        """Swap members, all or none; the responder is told how it goes, and gets the results. Its end gives the swap up.

        Raises:
            ConfigError: No members, or one twice.
            SwapError: One of them cannot be swapped.
        """

        def done(results: list[Facts] | None, error: Exception | None) -> None:
            if error is not None:
                responder.fail(error)
            else:
                responder.reply({"members": results})

        swap = self.start(orders, drain_s=drain_s, timeout_s=timeout_s, who=who, tell=responder.tell, done=done)
        responder.on_done = lambda: swap.give_up("whoever asked for it does not wait any more")
        swap.begin()

    def start(
        self,
        orders: Sequence[Order],
        *,
        drain_s: float | None,
        timeout_s: float | None,
        who: str,
        tell: Callable[[Facts], None],
        done: Done,
    ) -> Swap:
        """Return a swap that only has to `begin`; see `begin` for the rest."""
        if not orders:
            raise ConfigError("a swap has at least one member")
        if (drain_s is not None and not 0 <= drain_s < inf) or (timeout_s is not None and timeout_s <= 0):
            raise ConfigError(f"drain is 0 s or more and timeout more than 0 s; got {show(drain_s)} and {show(timeout_s)}")
        records = [self.swappable(order.id) for order in orders]
        if len({record.id for record in records}) < len(records):
            raise ConfigError(f"a swap has each member once; got {', '.join(record.id for record in records)}")
        swap = Swap(
            self._node,
            orders,
            drain_s=None if drain_s is None else min(drain_s, NO_TIMEOUT_S),
            timeout_s=NO_TIMEOUT_S if timeout_s is None else min(timeout_s, NO_TIMEOUT_S),
            who=who,
            tell=tell,
            done=done,
            beside=self.beside,
            over=self._over,
        )
        for record in records:
            self._swaps[record.id] = swap
        return swap

    def abort(self, id: str, why: str | None = None) -> bool:
        """Give up the swap of a child; False when there is none that can be."""
        swap = self._swaps.get(id)
        if swap is not None:
            swap.give_up(why)
        return swap is not None

    def abort_all(self, why: str) -> None:
        """Give up all of them."""
        for swap in dict.fromkeys(self._swaps.values()):
            swap.give_up(why)

    # -- what happens -----------------------------------------------------------------------------------------------

    def _changed(self, record: Record) -> None:
        swap = self._swaps.get(record.id)
        if swap is not None:
            swap.look(record)

    def _ended(self, id: str, incarnation: int) -> None:
        swap = self._swaps.get(id)
        record = self._node.registry.get(id)
        if swap is not None and record is not None:
            swap.ended(id, record.exits.get(incarnation) or "noproc")

    def _over(self, swap: Swap) -> None:
        for id in [id for id, its in self._swaps.items() if its is swap]:
            del self._swaps[id]
