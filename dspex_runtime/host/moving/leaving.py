"""The old process of a swap: it is held, packed, and then leaves or goes on; what the parent says of that.

    hold {drain_s}  -> {"running": n, "open": m}   nothing begins; answered when n is 0, or after drain_s. m of the n are calls
                                                   whose answer a callback kept back, and whose `from_` is in nothing that moves
    pack {...} + socket -> {"channels", "queued", "timers", "bytes"}   the new process has a copy of everything, and has said so
    seal {}         -> None                        what is held is as still as a copy needs it, without one: until `unhold`
    unhold {}       -> None                        go on as if nothing had happened, be it in the middle of a pack
    leave {reason, drain_s}                        the new process is who we were: let go of everything without a word, and stop

Between pack and its outcome the parent keeps back what is meant for this module; what came all the same waits here. A request that
has no answer when we leave is given back: its fault says `retryable`, it did not begin and is to be asked of the new process.
A process that is saved with others is held and sealed; what is asked of it then, and is to see that, says so ("held").
A stop of the parent's ends a hold like everything else. So does SIGTERM until all is packed; which of the two processes goes on
then only the parent knows, so it waits for that.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import CallError, RuntimeUnreachableError, SwapError
from dspex_runtime.exit_reason import is_exit_reason, own_reason
from dspex_runtime.host import context, parent
from dspex_runtime.host.deferred import as_from, question
from dspex_runtime.host.moving import freight, state
from dspex_runtime.host.moving.holding import Holding
from dspex_runtime.host.moving.stream import Outgoing
from dspex_runtime.host.sys_functions import shielded
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.host.mailbox import Request
    from dspex_runtime.host.operations import MovingDesk
    from dspex_runtime.host.parameters import Parameters
    from dspex_runtime.host.server_loop import ServerLoop
    from dspex_runtime.host.stopping import Stopping
    from dspex_runtime.wire.codec import Codec

__all__ = ["Leaving"]

log = logging.getLogger("dspex_runtime.host")

# What is served although we are packed: what decides or ends that, and what touches nothing that was copied. "kept", "restore" and
# "compile" bring descriptors, which whoever serves them has to take out of the pipe in their order.
_SERVED: Final = frozenset(
    {"hold", "seal", "pack", "unhold", "leave", "stop", "terminate", "ping", "metrics", "executions", "statistics", "check_log"}
    | {"kept", "kept_part", "restore", "compile"}
)


class Leaving:
    """Serves `hold`, `seal`, `pack`, `unhold` and `leave` for one process, again and again until one of those swaps is made.

    Args:
        desk: The control pipe.
        loop: What is held and packed.
        hosted: What it runs.
        stopping: Ends the process.
        codec: Packs values of users.
        parameters: They stay ours until we leave.
        serve: Serves an operation that had to wait.
    """

    def __init__(
        self,
        desk: MovingDesk,
        loop: ServerLoop,
        hosted: Hosted,
        stopping: Stopping,
        codec: Codec,
        parameters: Parameters,
        serve: Callable[[int, str, dict[str, Any]], None],
    ) -> None:
        self._desk = desk
        self._loop = loop
        self._hosted = hosted
        self._stopping = stopping
        self._codec = codec
        self._parameters = parameters
        self._serve = serve
        self._holding: Holding | None = None
        self._stream: Outgoing | None = None
        self._holds: list[tuple[int, float | None]] = []  # to be answered: number, until when
        self._postponed: list[tuple[int, str, dict[str, Any]]] = []

    def serve_op(self, id: int, op: str, args: dict[str, Any]) -> None:
        """Carry out one of them; on the control thread."""
        match op:
            case "hold":
                self._hold(id, args.get("drain_s"))
            case "pack":
                self._pack(id, args)
            case "seal":
                self._seal(id)
            case "unhold":
                self._unhold(id)
            case _:
                self._leave(id, args.get("reason", ("shutdown", "swapped")), args.get("drain_s"))

    @property
    def undecided(self) -> bool:
        """Whether another process has a copy of all, and the parent has not said which of the two goes on."""
        holding = self._loop.holding
        return holding is not None and holding.packed

    def postpones(self, id: int, op: str, args: dict[str, Any]) -> bool:
        """Keep back what would change, or tell, what is being copied; it is served when we go on."""
        if op in _SERVED or args.get("held") or not (self._loop.sealed or self._postponed):  # what waits is served first
            return False
        self._postponed.append((id, op, args))
        return True

    def times(self) -> list[float]:
        """Return the moments at which `look` has something to do."""
        return [until for _, until in self._holds if until is not None]

    def look(self) -> None:
        """Answer the holds that are quiet, or have waited long enough; serve what was postponed when a hold has ended."""
        if self._holds:
            self._answer_holds()
        if self._holding is not None and self._loop.holding is None:  # a stop has ended it
            self._undo()
        if self._postponed and not self._loop.sealed:
            postponed, self._postponed = self._postponed, []
            for each in postponed:
                self._serve(*each)

    # -- hold

    def _hold(self, id: int, drain_s: float | None) -> None:
        if self._loop.holding is None:
            holding = Holding(self._loop, self._hosted, self._codec, self._over)
            try:
                holding.begin()
            except SwapError as exc:
                self._fault(id, exc)
                return
            self._holding = holding
        self._holds.append((id, None if drain_s is None else monotonic() + drain_s))

    def _answer_holds(self) -> None:
        holding = self._loop.holding
        if holding is None:
            self._end_holds(SwapError("the process is about to end", code="old_ended"))
            return
        running, now, waiting = holding.running(), monotonic(), []
        for id, until in self._holds:
            if running == 0 or (until is not None and now >= until):
                self._desk.reply([m.REPLY, id, {"running": running, "open": holding.open_calls}])
            else:
                waiting.append((id, until))
        self._holds = waiting

    def _end_holds(self, why: SwapError) -> None:
        holds, self._holds = self._holds, []
        for id, _ in holds:
            self._fault(id, why)

    # -- seal

    def _seal(self, id: int) -> None:
        holding = self._loop.holding
        if (why := self._not_to_be_sealed()) is not None or holding is None:
            self._fault(id, SwapError(f"what is to be sealed {why}", code="move"))
            return
        holding.seal()
        self._loop.run_on_main(lambda: self._settle(id, holding))

    def _settle(self, id: int, holding: Holding) -> None:
        try:
            shielded("seal", holding.settle)
            if self._loop.holding is not holding:
                raise SwapError("the hold was given up", code="aborted")
        except Exception as exc:
            self._fault(id, exc)
        else:
            self._desk.reply([m.REPLY, id, None])

    def _not_to_be_sealed(self) -> str | None:
        holding = self._loop.holding
        if holding is None:
            return "is not held"
        if self._loop.sealed:
            return "was packed already"
        running = holding.running()
        return f"still runs {running} calls" if running else None

    # -- pack

    def _pack(self, id: int, args: dict[str, Any]) -> None:
        sock = socket.socket(fileno=self._desk.take_fd())
        holding = self._loop.holding
        if (why := self._not_to_be_sealed()) is not None or holding is None:
            sock.close()
            self._fault(id, SwapError(f"what is to be packed {why}", code="move"))
            return
        self._stream = stream = Outgoing(sock, self._codec)
        holding.seal()
        self._loop.run_on_main(lambda: self._run_pack(id, holding, stream, args))

    def _run_pack(self, id: int, holding: Holding, stream: Outgoing, args: dict[str, Any]) -> None:
        try:
            with stream:
                sent = shielded("pack", lambda: self._packed(holding, stream, args))
            if not holding.is_packed():
                raise SwapError("the move was given up", code="aborted")
        except Exception as exc:
            if self._loop.holding is not holding:  # it ended before the parameters were sealed, perhaps
                self._break_seal()
            self._fault(id, exc)
        else:
            self._desk.reply([m.REPLY, id, sent])

    def _packed(self, holding: Holding, stream: Outgoing, args: dict[str, Any]) -> dict[str, int]:
        holding.settle()
        state.pack_state(self._hosted, self._parameters, self._loop, stream, state.Way.of(args))
        sent = freight.pack(self._loop, self._codec, stream)
        stream.end()
        return {**sent, "bytes": stream.bytes}

    # -- the outcome

    def _unhold(self, id: int) -> None:
        if self._loop.holding is not None:
            self._loop.holding.end()
            self._end_holds(SwapError("the hold was given up", code="aborted"))
            self._undo()
        if id:
            self._desk.reply([m.REPLY, id, None])

    def _over(self) -> None:
        """The hold has ended, by `unhold` or a stop: under the loop's lock."""
        if self._stream is not None:
            self._stream.close()  # whoever packs into it finds it closed

    def _undo(self) -> None:
        self._holding = None
        if context.Process.changes is not None:
            context.Process.changes.resume()
        self._break_seal()

    def _break_seal(self) -> None:
        if self._parameters.owner is not None:
            self._parameters.owner.unseal()

    def _leave(self, id: int, reason: Any, drain_s: float | None) -> None:
        if id:
            self._desk.reply([m.REPLY, id, None])
        loop = self._loop
        self._parameters.let_go()
        if context.Process.changes is not None:
            context.Process.changes.close()
        with loop.lock:
            loop.elsewhere = self._answer_elsewhere
            freight.forget(loop)
        self._holding = None
        self._holds.clear()
        self._postponed.clear()
        moved = SwapError("another process has taken the place of this one: it is to be asked", code="moved")
        for number in self._desk.unanswered():
            self._desk.reply([m.FAULT, number, {**self._desk.fault(moved), "retryable": True}])
        self._stopping.stop(reason if is_exit_reason(reason) else own_reason(reason, "Stop"), drain_s)

    def _answer_elsewhere(self, request: Request, value: Any) -> bool:
        """Give an answer that a thread of the user's has come to after we left: the new process knows the call by its number."""
        if self._loop.deferred.number_of(request) is None:
            return False
        try:
            return bool(parent.ask("module_op", question(as_from(request), value)))
        except (CallError, RuntimeUnreachableError):
            return False

    def _fault(self, id: int, exc: Exception) -> None:
        self._desk.reply([m.FAULT, id, self._desk.fault(exc)])
