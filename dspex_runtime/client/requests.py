"""Many requests that are sent now and waited for later, under one deadline. No thread per request. Owns the waiting of a thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from threading import Condition
from typing import Any

from dspex_runtime.client.collection import NO_REQUEST, Collection, Response
from dspex_runtime.client.deadline import remaining_s
from dspex_runtime.client.ref import Ref
from dspex_runtime.client.request import Request
from dspex_runtime.host.context import current_request, waking


class Requests(Collection[Request]):
    """Labelled requests under one absolute deadline; iterating gives (label, reply or exception) in completion order.

        requests = dx.Requests(timeout=10)
        requests.send(server, "get", label="a")
        for label, reply in requests: ...

    At the deadline what is unanswered comes as CallTimeoutError, and is cancelled. Or one by one: `wait`, `receive`, `check`.

    Args:
        timeout: Seconds from now for all of them together.
        deadline: The same as a moment of `time.monotonic()`.
    """

    _request = Request

    def __init__(self, timeout: float | None = None, *, deadline: float | None = None) -> None:
        super().__init__(timeout, deadline=deadline)
        self._condition = Condition()

    def _sent(self, ref: Ref, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None) -> Request:
        return Request(ref.session, ref.id, method, args, kwargs, timeout)

    def _changed(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def wait(self, timeout: float | None = None, *, delete: bool = True) -> Response | str:
        """Return (label, reply or exception) of the next request that ends, "no_request" when the collection is empty.

        Args:
            timeout: Seconds; the collection's own deadline holds as well.
            delete: Whether the request leaves the collection. One that stays is not given out again, and the collection is
                never empty.

        Raises:
            CallTimeoutError: None ended in time, or all that are left were given out; the requests go on.
        """
        if not self._requests:
            return NO_REQUEST
        future = self._next(self._until(timeout))
        if future is None:
            raise self._none_in_time()
        return self._response(future, delete=delete)

    def receive(self, timeout: float | None = None, *, delete: bool = True) -> Response | str:
        """Return the next response as `wait` does; at the time-out all requests of the collection are abandoned."""
        try:
            return self.wait(timeout, delete=delete)
        except BaseException:
            self.close()
            raise

    def _next(self, until: float | None) -> Future[Any] | None:
        """Wait for the next that ends, until a moment; None when none does."""
        request = current_request.get()
        with nullcontext() if request is None else waking(request, self._changed), self._condition:
            while True:
                future: Future[Any] | None = self._take()
                left_s = remaining_s(until)
                if future is not None or left_s == 0.0 or not self._open or (request is not None and request.cancelled):
                    return future
                self._condition.wait(left_s)

    def responses(self) -> list[Response]:
        """Wait for the next response, and return it alone; at the deadline the errors of all that are left, which are given up."""
        future = self._next(self._deadline)
        return list(self._given_up()) if future is None else [self._response(future, delete=True)]

    def __iter__(self) -> Iterator[Response]:
        while self._open:
            yield from self.responses()
