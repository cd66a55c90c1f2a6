"""A request that is sent now and waited for later: over a multiplexed pipe, in the session's background loop. No thread of its own.

Source: OTP gen_server:send_request (otp-semantics §2.6).
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from math import inf
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from dspex_runtime.client.deadline import SERVER_CALL_TIMEOUT_S, deadline_after, remaining_s
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import result_of
from dspex_runtime.errors import CallTimeoutError
from dspex_runtime.host.context import CallCancelledError

if TYPE_CHECKING:
    from asyncio import Task

    from dspex_runtime.client.ref import Ref

NO_REPLY: Final = "no_reply"  # nothing has come yet
SENT_WITHIN_S: Final = SERVER_CALL_TIMEOUT_S  # as a cast: how long a full pipe may hold up whoever only sends

F = TypeVar("F", bound="Future[Any] | Task[Any]")


def unanswered(id: str, waited_s: float) -> CallTimeoutError:
    """Return the error for a request that has no answer in time."""
    return CallTimeoutError(f"{id!r} did not answer within {waited_s:.3g} s", id=id)


class RequestCore(Generic[F]):
    """What the synchronous and the asyncio request share: all but the sending and the waiting.

    Attributes:
        id: Of whom it is sent to.
        future: What gets the reply, or the error the call ends with.
    """

    def __init__(self, id: str, future: F) -> None:
        self.id = id
        self.future = future

    def __repr__(self) -> str:
        return f"<Request to {self.id!r}, {'done' if self.done else 'open'}>"

    @property
    def done(self) -> bool:
        """Whether `wait` would return or raise at once."""
        return self.future.done()

    @property
    def answered(self) -> bool:
        """Whether there is a reply, and no error."""
        return self.future.done() and not self.future.cancelled() and self.future.exception() is None

    def outcome(self) -> Any:
        """Return the reply, or the exception it ended with, of a request that is done."""
        if self.future.cancelled():
            return self.was_cancelled()
        error = self.future.exception()
        return error if error is not None else self.future.result()

    def was_cancelled(self) -> CallTimeoutError:
        """Return the error for a request that was abandoned."""
        return CallTimeoutError(f"the request to {self.id!r} was cancelled", id=self.id)

    def cancel(self) -> None:
        """Abandon it: the module is told, a late reply is dropped."""
        self.future.cancel()


class Request(RequestCore[Future[Any]]):
    """One request on its way; that its target is dead comes as its answer, never when it is sent.

    Made when it is written: what the same thread sends to the same server from then on comes behind it. Without waiting for a
    target that is not ready.
    """

    def __init__(
        self,
        session: Session,
        id: str,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        *,
        waits: bool = False,
    ) -> None:
        from dspex_runtime.client.async_calls import acall

        written, background = Event(), session.background()
        super().__init__(id, background.submit(acall(session, id, method, args, kwargs, timeout, written.set, waits=waits)))
        self.future.add_done_callback(lambda _: written.set())
        try:
            background.wait(written, SENT_WITHIN_S)
        except BaseException:  # Ctrl-C: nobody will ever ask for the answer
            self.future.cancel()
            raise

    @classmethod
    def running(cls, id: str, future: Future[Any]) -> Request:
        """Return what is under way already as a request."""
        request = cls.__new__(cls)
        RequestCore.__init__(request, id, future)
        return request

    @classmethod
    def of_server(cls, ref: Ref, request: Any, timeout: float | None = None) -> Request:
        """Send a GenServer request; it has no time-out of its own, as OTP's send_request."""
        return cls(ref.session, ref.id, "$call", (request,), {}, inf if timeout is None else timeout)

    def wait(self, timeout: float | None = None) -> Any:
        """Return the reply, or raise what the call raised (OTP wait_response).

        Raises:
            CallTimeoutError: Not within `timeout` (None: for ever); the request goes on and may be waited for again.
        """
        left_s = remaining_s(deadline_after(timeout, monotonic()))
        try:
            return result_of(self.future, left_s)
        except CallCancelledError:
            self.cancel()
            raise
        except CancelledError:
            raise self.was_cancelled() from None
        except TimeoutError:
            if self.future.done():  # its own time-out; or a reply that came at that very moment, which wins
                return self.future.result()
            assert left_s is not None  # only what has an end can time out
            raise unanswered(self.id, left_s) from None

    def receive(self, timeout: float | None = None) -> Any:
        """Return the reply as `wait` does; at the time-out the request is abandoned (OTP receive_response)."""
        try:
            return self.wait(timeout)
        except BaseException:
            self.cancel()  # nothing for one that is answered
            raise

    def check(self, default: Any = NO_REPLY) -> Any:
        """Return the reply if it is here, or raise what the call raised; else `default`, without waiting."""
        return self.wait(0.0) if self.done else default
