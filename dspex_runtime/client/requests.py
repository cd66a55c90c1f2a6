"""Requests that are sent now and waited for later, alone or many under one deadline. No thread per request.

They travel over multiplexed pipes, in the session's background loop.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future
from concurrent.futures import wait as wait_futures
from math import inf
from time import monotonic
from typing import Any

from dspex_runtime.client.deadline import deadline_after, remaining_s
from dspex_runtime.client.ref import MODULE_CALL, ModuleRef, Ref, ServerRef
from dspex_runtime.client.session import Session
from dspex_runtime.errors import CallTimeoutError, ConfigError


def call_arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what `gather` takes as inputs as (args, kwargs): a mapping is keywords, a list or tuple positions."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs), {}) if isinstance(inputs, list | tuple) else ((inputs,), {})


class Request:
    """One request on its way. `wait` may be called again after a time-out; `cancel` abandons it."""

    def __init__(
        self, session: Session, id: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> None:
        from dspex_runtime.client.async_calls import acall

        self.id = id
        self._answer: Future[Any] = session.background().submit(acall(session, id, method, args, kwargs, timeout))

    @classmethod
    def of_server(cls, ref: ServerRef, request: Any, timeout: float | None = None) -> Request:
        """Send a GenServer request; it has no time-out of its own, as OTP's send_request."""
        return cls(ref.session, ref.id, "$call", (request,), {}, inf if timeout is None else timeout)

    def wait(self, timeout: float | None = None) -> Any:
        """Return the reply, or raise what the call raised.

        Raises:
            CallTimeoutError: Not within `timeout` (None: for ever); the request goes on and may be waited for again.
        """
        left_s = remaining_s(deadline_after(timeout, monotonic()))
        try:
            return self._answer.result(left_s)
        except CancelledError:
            raise CallTimeoutError(f"the request to {self.id!r} was cancelled", id=self.id) from None
        except TimeoutError:
            if self._answer.done():
                raise
            raise CallTimeoutError(f"{self.id!r} did not answer within {left_s:.3g} s", id=self.id) from None

    @property
    def done(self) -> bool:
        """Whether `wait` would return or raise at once."""
        return self._answer.done()

    def cancel(self) -> None:
        """Abandon it: the module is told, a late reply is dropped."""
        self._answer.cancel()

    def outcome(self) -> Any:
        """Return the reply, or the exception it ended with, of a request that is done."""
        if self._answer.cancelled():
            return CallTimeoutError(f"the request to {self.id!r} was cancelled", id=self.id)
        error = self._answer.exception()
        return error if error is not None else self._answer.result()

    @property
    def future(self) -> Future[Any]:
        """The future behind it, for `concurrent.futures.wait`."""
        return self._answer


class Requests:
    """Labelled requests under one absolute deadline; iterating gives (label, reply or exception) in completion order.

        requests = dx.Requests(timeout=10)
        requests.send(server, "get", label="a")
        for label, reply in requests: ...

    At the deadline what is unanswered comes as CallTimeoutError, and is cancelled.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._start = monotonic()
        self._deadline = deadline_after(timeout, self._start)
        self._waiting: dict[Future[Any], tuple[Hashable, Request]] = {}

    def send(self, server: ServerRef, request: Any, label: Hashable = None) -> Request:
        """Send a request to a GenServer; the label is the server's id when left out."""
        return self._add(Request.of_server(server, request, self._left()), label)

    def call(self, module: ModuleRef, method: str = MODULE_CALL, /, *args: Any, label: Hashable = None, **kwargs: Any) -> Request:
        """Call a module's method; the label is the module's id when left out."""
        return self._add(Request(module.session, module.id, method, args, kwargs, self._left()), label)

    def add(self, target: Ref, inputs: Any, label: Hashable = None) -> Request:
        """Send inputs to whatever it is: a mapping is keywords, a list or tuple positions; a server gets them as its request."""
        if isinstance(target, ServerRef):
            return self.send(target, inputs, label)
        if not isinstance(target, ModuleRef):
            raise ConfigError(f"{target!r} takes no calls; expected a module or a server")
        args, kwargs = call_arguments(inputs)
        return self._add(Request(target.session, target.id, MODULE_CALL, args, kwargs, self._left()), label)

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def _add(self, request: Request, label: Hashable) -> Request:
        self._waiting[request.future] = (request.id if label is None else label, request)
        return request

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[tuple[Hashable, Any]]:
        while self._waiting:
            done, _ = wait_futures(self._waiting, timeout=remaining_s(self._deadline), return_when=FIRST_COMPLETED)
            if not done:
                yield from self._give_up()
                return
            for future in done:
                label, request = self._waiting.pop(future)
                yield label, request.outcome()

    def _give_up(self) -> Iterator[tuple[Hashable, Any]]:
        waiting, self._waiting = self._waiting, {}
        for label, request in waiting.values():
            request.cancel()
            waited_s = monotonic() - self._start
            yield label, CallTimeoutError(f"{request.id!r} did not answer within {waited_s:.3g} s", id=request.id)

    def close(self) -> None:
        """Abandon what is not answered yet. Closing twice is fine."""
        waiting, self._waiting = self._waiting, {}
        for _, request in waiting.values():
            request.cancel()
