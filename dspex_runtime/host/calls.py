"""One call from begin to end: run the method, count it, answer it. Owns what happens to results and exceptions.

The path of a plain call is the hot path of the whole runtime (<= 8 us); everything that is rare leaves it early.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.exit_reason import ExitReason, describe
from dspex_runtime.host.async_side import AsyncSide
from dspex_runtime.host.causes import error_text, fault_reason, system_exit_reason, without_own_frames
from dspex_runtime.host.context import CallCancelledError, current_request
from dspex_runtime.host.deferred import From
from dspex_runtime.host.hosted import NO_REPLY, Entry, Hosted, ProcessEndedError, UnknownMethodError
from dspex_runtime.host.mailbox import OF_PARAMETERS, Request
from dspex_runtime.host.peer import Peer, unserialisable
from dspex_runtime.host.streams import ThreadWindow, is_special, needs_stream, send_items
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.faults import to_fault

if TYPE_CHECKING:
    from dspex_runtime.host.loop_state import LoopState
    from dspex_runtime.host.param_service import ParamService
    from dspex_runtime.wire.codec import Codec

log = logging.getLogger("dspex_runtime.host")

_SMALL: Final = frozenset((int, float, bool, type(None)))  # values that certainly can be sent: a held reply must not fail


class Calls:
    """Runs requests for the loop."""

    def __init__(self, loop: LoopState, hosted: Hosted, codec: Codec, *, id: str, incarnation: int, alone: bool) -> None:
        self._loop = loop
        self._hosted = hosted
        self._codec = codec
        self._id = id
        self._incarnation = incarnation
        self._entries: dict[str, Entry] = {}
        self._instead: Callable[[str], Entry | None] | None = None  # see `answer_instead`
        self._async = AsyncSide(self)
        self._serial = hosted.serial
        self._alone = alone  # there is one call thread, and never a second
        # A reply about to go out with the announcement of that client's next request, which is in the mailbox already: one
        # system call instead of two doubles what a pipelined client gets. Never held across a wait or user code.
        self.held: tuple[Peer, list[Any]] | None = None
        self.make_service: Callable[[], ParamService] | None = None  # see `parameters`
        self._service: ParamService | None = None
        self.before_reply: Callable[[], None] | None = None  # publishes what a call changed, on the thread that ran it
        self.on_reply: Callable[[Request, Any], None] | None = None  # hears of answers given later, while somebody traces
        self.culprit: Request | None = None  # the request in which the process ended
        self.following: Request | None = None  # stands for the one whose callback goes on with handle_continue, while it does

    def serve(self, request: Request) -> None:
        """Run one request on this call thread, and answer it."""
        peer = request.peer
        if peer is not None and request.id and (request.waited or peer.mux):
            if not self._announce(peer, [m.BEGUN, request.id, True]):
                self.failed(request, CallCancelledError("the client was gone before it began"))
                return
        elif self.held is not None:
            self.flush()
        current_request.set(request)
        try:
            entry = self._entries.get(request.method) or self._find(request.method)
            if entry.on_loop:
                self._loop.hand_over(request)
                self._async.submit(request, entry)
                return
            if entry.takes_request:
                value = entry.function(request)
            else:
                value = entry.function(*request.args, **request.kwargs)
                if is_special(value):
                    if not hasattr(type(value), "__next__"):
                        self._loop.hand_over(request)
                        self._async.submit(request, entry, value)
                        return
                    value = self._stream(request, entry, value)
        except ProcessEndedError as end:
            if self.before_reply is not None:
                self.before_reply()
            self._end(request, end.reason, end.reply)
            return
        except SystemExit as exc:
            self.system_exit(request, exc)
            return
        except BaseException as exc:
            if self._serial and not request.degraded and not isinstance(exc, CallCancelledError | UnknownMethodError):
                self._end(request, self._crash_reason(exc), NO_REPLY)
                return
            self.failed(request, exc)
        else:
            self.succeeded(request, value, may_hold=self._alone)
        if self._serial and self._hosted.has_more():
            self.follow_up()

    def follow_up(self) -> None:
        """Do what the last callback asked for: continue before anything queued, then wait for a message no longer than so."""
        if not self._hosted.has_more():
            return
        self.flush()
        # The request was answered: what is called from here on does not end with its deadline.
        self.following = Request(None, 0, "$continue", [], {})
        current_request.set(self.following)
        try:
            idle_s = self._hosted.after_call()
        except BaseException as exc:
            self.ended_outside(exc)
        else:
            self.following = None
            current_request.set(None)
            if self.before_reply is not None:
                self.before_reply()
            if idle_s is not None:
                self._loop.idle_after(monotonic() + idle_s)

    def forget_entries(self) -> None:
        """Look every method up again: the hosted thing has changed how they are run."""
        self._entries = {}  # a new one: another thread may just be putting what it found before into the old one

    def answer_instead(self, find: Callable[[str], Entry | None] | None) -> None:
        """Answer what begins from now on as this finds, where it finds something; None: as ever."""
        if find is not None or self._instead is not None:
            self._instead = find
            self.forget_entries()

    def parameters(self) -> ParamService | None:
        """Return how clients write parameters; made when the first one does."""
        if self._service is None and self.make_service is not None:
            self._service = self.make_service()
        return self._service

    def _find(self, method: str) -> Entry:
        entries, instead = self._entries, self._instead
        service = self.parameters() if method in OF_PARAMETERS else None
        degraded = instead(method) if instead is not None and service is None else None
        entry = degraded or (service.entry(method) if service is not None else self._hosted.find(method))
        entries[method] = entry  # only names that exist: a client cannot make this grow
        return entry

    def _stream(self, request: Request, entry: Entry, value: Any) -> Any:
        if not request.credit:
            raise needs_stream(entry.name, value)
        request.stream = window = ThreadWindow(request.credit)
        request.cancel = window.close
        if request.cancelled:  # before there was a window to close
            window.close()
        with self._loop.streaming():
            return send_items(request, value, window)

    def succeeded(self, request: Request, value: Any, *, may_hold: bool = False) -> None:
        """Count a call that returned, and send its value. On any thread."""
        if self.before_reply is not None:
            self.before_reply()
        elsewhere = self._loop.ended(request, None)
        peer = request.peer
        if peer is None or not request.id or request.replied:
            pass
        elif value is NO_REPLY:
            self._loop.deferred.keep(request)
        elif (
            may_hold
            and peer.mux
            and request.key is None
            and type(value) in _SMALL
            and self._loop.mailbox
            and not self._loop.deferred
        ):
            self.held = (peer, [m.REPLY, request.id, value])
            request.replied = True
        else:
            self._reply(request, value)
        if elsewhere:
            self._loop.answered()

    def _announce(self, peer: Peer, begun: list[Any]) -> bool:
        """Say that a request begins, together with the reply of the one before where that is the same client's."""
        held, self.held = self.held, None
        if held is None:
            return peer.send(begun)
        if held[0] is peer:
            return peer.send_many([held[1], begun])
        held[0].send(held[1])
        return peer.send(begun)

    def flush(self) -> None:
        """Send a reply that waits for the next request's announcement: none comes at once."""
        held, self.held = self.held, None
        if held is not None:
            held[0].send(held[1])

    def _reply(self, request: Request, value: Any) -> bool:
        assert request.peer is not None
        request.replied = True
        if self._loop.deferred:  # its `from_` was sent away, and it is answered here all the same
            self._loop.deferred.forget(request)
        try:
            waiting = self._loop.answers.settle(request, [value]) if request.key is not None else ()
            delivered = request.peer.send([m.REPLY, request.id, value])
        except Exception as exc:  # whatever an encoder, a __reduce__ or a property of the value raised; nothing was sent
            error = unserialisable(exc)
            self._loop.amend(error_text(error))
            self._fault(request, error)
            return True
        for other in waiting:
            if other.peer is not None:
                other.peer.send([m.REPLY, other.id, value])
        return delivered

    def answer_owed(self, request: Request, value: Any) -> None:
        """Send the reply of a callback that ended the process with one."""
        if request.peer is not None and request.id and not request.replied:
            self._reply(request, value)

    def settle_writes(self, timeout_s: float) -> bool:
        """Wait until the writes of parameters that were taken in are made and answered; False: not all in this time."""
        return self._service is None or self._service.settle(timeout_s)

    def end_writes(self) -> None:
        """See that the writes of parameters that have begun are made and answered: no client would send them again."""
        if self._service is not None:
            self._service.close()

    def answer_later(self, request: Any, value: Any) -> bool:
        """Give the answer that a callback kept back; False when it was given before, or nobody is there to take it."""
        if isinstance(request, From):
            request = self._loop.deferred.find(request.number)  # of this process: who asks has made sure of it
            if request is None:
                return False
        if not isinstance(request, Request):
            raise TypeError(f"reply() takes the from_ of a handle_call, got {type(request).__name__}")
        if not self._loop.answering(request):
            return False
        try:
            if self._loop.elsewhere is not None:
                return self._loop.elsewhere(request, value)
            self._loop.deferred.forget(request)
            if self.on_reply is not None:
                self.on_reply(request, value)
            return self._reply(request, value)
        finally:
            self._loop.answered()

    def failed(self, request: Request, exc: BaseException) -> None:
        """Count a call that raised, and send its fault. On any thread."""
        if self.before_reply is not None:
            self.before_reply()
        elsewhere = self._loop.ended(request, error_text(exc))
        if isinstance(exc, CallCancelledError):
            self._loop.lost(request)
        elif request.id and request.peer is not None:
            self._fault(request, exc)
        else:
            log.error("%s, for whose reply nobody waits, failed", request.method, exc_info=exc)
        if elsewhere:
            self._loop.answered()

    def _fault(self, request: Request, exc: BaseException) -> None:
        request.replied = True
        if self._loop.deferred:
            self._loop.deferred.forget(request)
        fault = self.fault(exc)
        for one in (request, *(self._loop.answers.settle(request, None) if request.key is not None else ())):
            if one.peer is not None:
                one.peer.send([m.FAULT, one.id, fault])

    def fault(self, exc: BaseException) -> dict[str, Any]:
        """Return an exception as the map that travels; without the frames of ours that led to the user's code."""
        exc.__traceback__ = without_own_frames(exc.__traceback__)
        return to_fault(exc, id=self._id, incarnation=self._incarnation, codec=self._codec)

    def system_exit(self, request: Request, exc: SystemExit) -> None:
        """User code asked to exit: the process ends with that status; the caller learns it from our end, not from a fault."""
        self._end(request, system_exit_reason(exc), NO_REPLY)

    def ended_outside(self, exc: BaseException) -> None:
        """Something that nobody waits for (handle_continue) ended the process."""
        if isinstance(exc, ProcessEndedError):
            if self.before_reply is not None:
                self.before_reply()
            self._loop.end(exc.reason)
        elif isinstance(exc, SystemExit):
            self._loop.end(system_exit_reason(exc))
        else:
            self._loop.end(self._crash_reason(exc))

    def cancel_async(self) -> None:
        """Cancel every async call: the drain is over."""
        self._async.cancel_all()

    def _crash_reason(self, exc: BaseException) -> ExitReason:
        return fault_reason(self.fault(exc))

    def _end(self, request: Request, reason: ExitReason, reply: Any) -> None:
        self.culprit = request
        self._loop.ended(request, None if reply is not NO_REPLY else f"ended: {describe(reason)}")
        answer = (request, reply) if reply is not NO_REPLY and request.id else None
        self._loop.end(reason, answer)
