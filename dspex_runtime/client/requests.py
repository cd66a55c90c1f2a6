"""Many requests that are sent now and waited for later, under one deadline. No thread per request.

Source: OTP's collections of request ids (otp-semantics §2.6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from concurrent.futures import Future
from threading import Condition
from time import monotonic
from typing import Any, Final

from dspex_runtime.client.deadline import deadline_after, remaining_s
from dspex_runtime.client.ref import MODULE_CALL, ModuleRef, Ref, ServerRef
from dspex_runtime.client.request import NO_REPLY, Request
from dspex_runtime.errors import CallTimeoutError, ConfigError

NO_REQUEST: Final = "no_request"  # the collection is empty
_NOTHING: Final = object()


def call_arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what `gather` takes as inputs as (args, kwargs): a mapping is keywords, a list or tuple positions."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs), {}) if isinstance(inputs, list | tuple) else ((inputs,), {})


class Requests:
    """Labelled requests under one absolute deadline; iterating gives (label, reply or exception) in completion order.

        requests = dx.Requests(timeout=10)
        requests.send(server, "get", label="a")
        for label, reply in requests: ...

    At the deadline what is unanswered comes as CallTimeoutError, and is cancelled. Or one by one: `wait`, `receive`, `check`.

    Args:
        timeout: Seconds from now for all of them together.
        deadline: The same as a moment of `time.monotonic()`.
    """

    def __init__(self, timeout: float | None = None, *, deadline: float | None = None) -> None:
        self._start = monotonic()
        own = deadline_after(timeout, self._start)
        self._deadline = deadline if own is None else own if deadline is None else min(own, deadline)
        self._requests: dict[Future[Any], tuple[Hashable, Request]] = {}
        self._handled: set[Future[Any]] = set()  # given out with delete=False
        self._done: deque[Future[Any]] = deque()
        self._changed = Condition()

    def send(self, server: ServerRef, request: Any, label: Hashable = None) -> Request:
        """Send a request to a GenServer; the label is the server's id when left out."""
        return self._add(Request.of_server(server, request, self._left()), label)

    def call(self, module: ModuleRef, method: str = MODULE_CALL, /, *args: Any, label: Hashable = None, **kwargs: Any) -> Request:
        """Call a module's method; the label is the module's id when left out."""
        return self._add(Request(module.session, module.id, method, args, kwargs, self._left()), label)

    def add(self, target: Ref | Request, inputs: Any = _NOTHING, label: Hashable = None) -> Request:
        """Send inputs to whatever it is, or add a request that is on its way.

        A mapping is keywords, a list or tuple positions; a server gets them as its request.

        Raises:
            ConfigError: The request is in this collection already; the target takes no calls; inputs for what takes none.
        """
        if isinstance(target, Request):
            if inputs is not _NOTHING:
                raise ConfigError(f"{target!r} was sent already: it takes no inputs, got {inputs!r:.100}")
            return self._add(target, label)
        if not isinstance(target, ModuleRef | ServerRef) or inputs is _NOTHING:
            raise ConfigError(f"{target!r} takes no calls; expected a module or a server, and its inputs")
        if isinstance(target, ServerRef):
            return self.send(target, inputs, label)
        args, kwargs = call_arguments(inputs)
        return self._add(Request(target.session, target.id, MODULE_CALL, args, kwargs, self._left()), label)

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def _add(self, request: Request, label: Hashable) -> Request:
        if request.future in self._requests:
            raise ConfigError(f"{request!r} is in this collection already")
        self._requests[request.future] = (request.id if label is None else label, request)
        request.future.add_done_callback(self._finished)
        return request

    def _finished(self, future: Future[Any]) -> None:
        with self._changed:
            self._done.append(future)
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._requests)

    # -- one response at a time

    def wait(self, timeout: float | None = None, *, delete: bool = True) -> tuple[Hashable, Any] | str:
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
        own = deadline_after(timeout, monotonic())
        until = own if self._deadline is None else self._deadline if own is None else min(own, self._deadline)
        future = self._next(until)
        if future is None:
            raise CallTimeoutError(f"none of {len(self._requests) - len(self._handled)} requests was answered in time")
        return self._response(future, delete=delete)

    def receive(self, timeout: float | None = None, *, delete: bool = True) -> tuple[Hashable, Any] | str:
        """Return the next response as `wait` does; at the time-out all requests of the collection are abandoned."""
        try:
            return self.wait(timeout, delete=delete)
        except BaseException:
            self.close()
            raise

    def check(self, *, delete: bool = True) -> tuple[Hashable, Any] | str:
        """Return the next response if it is here, "no_reply" when none is, "no_request" when the collection is empty."""
        if not self._requests:
            return NO_REQUEST
        future = self._next(0.0)
        return NO_REPLY if future is None else self._response(future, delete=delete)

    def _next(self, until: float | None) -> Future[Any] | None:
        """Wait for the next that ends, until a moment; None when none does."""
        with self._changed:
            while True:
                while self._done:
                    future = self._done.popleft()
                    if future in self._requests:  # not one that was abandoned
                        return future
                left_s = remaining_s(until)
                if left_s == 0.0 or len(self._handled) == len(self._requests):
                    return None
                self._changed.wait(left_s)

    def _response(self, future: Future[Any], *, delete: bool) -> tuple[Hashable, Any]:
        label, request = self._requests[future]
        if delete:
            del self._requests[future]
        else:
            self._handled.add(future)
        return label, request.outcome()

    # -- all of them

    def __iter__(self) -> Iterator[tuple[Hashable, Any]]:
        while len(self._requests) > len(self._handled):
            future = self._next(self._deadline)
            if future is None:
                yield from self._give_up()
                return
            yield self._response(future, delete=True)

    def _give_up(self) -> Iterator[tuple[Hashable, Any]]:
        for label, request in self._abandon():
            waited_s = monotonic() - self._start
            yield label, CallTimeoutError(f"{request.id!r} did not answer within {waited_s:.3g} s", id=request.id)

    def _abandon(self) -> list[tuple[Hashable, Request]]:
        handled, requests = self._handled, self._requests
        self._handled, self._requests = set(), {}
        left = [labelled for future, labelled in requests.items() if future not in handled]
        for _, request in left:
            request.cancel()
        return left

    def close(self) -> None:
        """Abandon what is not answered yet. Closing twice is fine."""
        self._abandon()
