"""Writes of parameters that clients ask for: `$set` and its kin. Owns which of them wait for what; `Owner` does the writing.

    at once        by whoever reads the pipe, without queueing: also while the module is busy or suspended
    by the writer  a thread of its own, started when it is first needed: what waits for the disk (durability fsync) or for the
                   parent (a rollback to a value that only the store has) must not hold up the reader
    in the queue   on a call thread, as any call: what runs user code (a check of the user's) or touches a predictor that a
                   running call may be using

A client's mirror of the program is served here too: `$mirror` shows the program, by the writer; `$edit` puts in what was changed,
in the queue.

Writes of one parameter all go the same way, but for rollbacks, so they are made in the order in which they came.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.errors import ParameterError, ParameterNotFoundError
from dspex_runtime.host.hosted import NO_REPLY, Entry, UnknownMethodError
from dspex_runtime.params.spec import ParameterType
from dspex_runtime.types import Change, Durability
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.calls import Calls
    from dspex_runtime.host.mailbox import Request
    from dspex_runtime.params.owner import Owner

MIRROR: Final = "$mirror"
EDIT: Final = "$edit"
# A request; an event to be set when all before it is done; None: that was all.
Work: TypeAlias = "Request | threading.Event | None"

CLOSE_S: Final = 1.0  # a disk may hang, and who waits for the parent may wait for the very thread that ends the process


class _Way(IntEnum):
    AT_ONCE = 0
    WRITER = 1
    QUEUE = 2


class ParamService:
    """Serves `mailbox.OF_PARAMETERS` for one module.

    Args:
        id: Full id of the module.
        owner: Of its parameters; None: it has none.
        durability: Of the module's parameters that do not say so themselves.
        calls: Answers requests.
        mirrored: Shows the program, or puts an edit in: takes whether it is one, the owner, by whom, and what the client says.
            None: it is no program.
    """

    def __init__(
        self, id: str, owner: Owner | None, durability: Durability, calls: Calls, mirrored: Callable[..., Any] | None = None
    ) -> None:
        self._id = id
        self._mirrored = mirrored
        self._owner = owner
        self._durability = durability
        self._calls = calls
        self._work: queue.SimpleQueue[Work] | None = None
        self._writer: threading.Thread | None = None
        self._operations: dict[str, Callable[..., Any]] = {
            "$set": self._set,
            "$set_many": self._set_many,
            "$gradient": self._gradient,
            "$rollback": self._rollback,
            "$reset": self._reset,
        }

    def serve(self, request: Request) -> bool:
        """Serve a request, or see that it is served; False: it is one for the queue. Called by whoever reads, under its lock."""
        way = self._way(request)
        if way is _Way.QUEUE:
            return False
        if request.peer is not None and request.peer.mux and request.id:
            request.peer.send([m.BEGUN, request.id, True])  # should we end now, its client must not send it again
        if way is _Way.WRITER:
            self._hand_over(request)
        else:
            self._answer(request)
        return True

    def entry(self, method: str) -> Entry:
        """Return how a request that was queued is run on a call thread."""
        return Entry(method, self._run_queued, takes_request=True)

    def close(self) -> None:
        """End the writer when it has made and answered what it was given, for which this waits, with a bound.

        To be called once nothing more is served.
        """
        if self._work is not None and self._writer is not None:
            self._work.put(None)
            self._writer.join(CLOSE_S)

    def settle(self, timeout_s: float) -> bool:
        """Wait until the writer has made and answered what it was given so far; False: it has not in this time."""
        if self._work is None:
            return True
        done = threading.Event()
        self._work.put(done)
        return done.wait(timeout_s)

    def _run_queued(self, request: Request) -> Any:
        try:
            return self._operate(request)
        except Exception as exc:  # the writer's mistake, never the server's end
            self._calls.failed(request, self._named(exc))
            return NO_REPLY

    def _way(self, request: Request) -> _Way:
        """Say how; a request that is wrong in any way is answered at once."""
        owner, method = self._owner, request.method
        if method in (MIRROR, EDIT) and self._mirrored is not None:
            return _Way.WRITER if method == MIRROR else _Way.QUEUE
        if owner is None or not request.args:
            return _Way.AT_ONCE
        first = request.args[0]
        if method == "$set_many" and isinstance(first, dict):
            return max((self._way_of(owner, name) for name in first), default=_Way.AT_ONCE)
        way = self._way_of(owner, first)
        return max(way, _Way.WRITER) if method == "$rollback" else way

    def _way_of(self, owner: Owner, name: Any) -> _Way:
        try:
            spec = owner.spec(name)
        except (ParameterError, TypeError):
            return _Way.AT_ONCE
        if spec.custom is not None or spec.type is ParameterType.PREDICTOR:
            return _Way.QUEUE
        return _Way.WRITER if (spec.durability or self._durability) is Durability.FSYNC else _Way.AT_ONCE

    def _answer(self, request: Request) -> None:
        peer = request.peer
        try:
            reply = [m.REPLY, request.id, self._operate(request)]
        except Exception as exc:
            reply = [m.FAULT, request.id, self._calls.fault(self._named(exc))]
        if peer is not None and request.id:
            peer.send(reply)

    def _operate(self, request: Request) -> Any:
        who = _label(request.peer.client) if request.peer is not None else self._id
        if request.method in (MIRROR, EDIT):
            if self._mirrored is None:
                raise UnknownMethodError(f"{self._id!r} is no module: there is no mirror of it")
            return self._mirrored(request.method == EDIT, self._owner, who, *request.args, **request.kwargs)
        if self._owner is None:
            raise ParameterNotFoundError(f"{self._id!r} has no parameters", name=str(request.args[:1])[:100])
        return self._operations[request.method](self._owner, who, *request.args, **request.kwargs)

    def _named(self, exc: Exception) -> Exception:
        if isinstance(exc, ParameterError) and exc.id is None:
            exc.id = self._id
        return exc

    # -- the writer, for those that wait

    def _hand_over(self, request: Request) -> None:
        if self._work is None:
            self._work = queue.SimpleQueue()
            self._writer = threading.Thread(target=self._write, args=(self._work,), name="dspex-params", daemon=True)
            self._writer.start()
        self._work.put(request)

    def _write(self, work: queue.SimpleQueue[Work]) -> None:
        while (item := work.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
            else:
                self._answer(item)

    # -- the operations

    def _set(self, owner: Owner, who: str, name: str, value: Any, expect: int | None = None) -> list[Any]:
        return _told(owner.set(name, value, who=who, expect=expect))

    def _set_many(self, owner: Owner, who: str, values: dict[str, Any]) -> dict[str, list[Any]]:
        return {change.name: _told(change) for change in owner.set_many(values, who=who)}

    def _gradient(self, owner: Owner, who: str, name: str, gradient: Any) -> list[Any]:
        return _told(owner.apply_gradient(name, gradient, who=who))

    def _rollback(self, owner: Owner, who: str, name: str, version: int) -> list[Any]:
        return _told(owner.rollback(name, version, who=who))

    def _reset(self, owner: Owner, who: str, name: str) -> list[Any]:
        return _told(owner.reset(name, who=who))


def _label(client: str) -> str:
    """Return how a client is called where people read it, as in exit signals: by its process."""
    pid = client.partition("-")[0]
    return f"client#{pid}" if pid.isdecimal() else client


def _told(change: Change) -> list[Any]:
    return [change.version, change.when]
