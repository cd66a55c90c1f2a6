"""Labelled requests under one deadline: who is in, who has ended, who was given out. What threads and tasks do alike with them.

How a request is sent and how one waits is the affair of `requests` and `async_requests`. Never waits itself.

Source: OTP's collections of request ids (otp-semantics §2.6).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from math import inf
from time import monotonic
from typing import Any, ClassVar, Final, Generic, TypeVar

from dspex_runtime.client.deadline import deadline_after
from dspex_runtime.client.ref import MODULE_CALL, ModuleRef, Ref, ServerRef
from dspex_runtime.client.request import NO_REPLY, RequestCore, unanswered
from dspex_runtime.errors import CallTimeoutError, ConfigError

NO_REQUEST: Final = "no_request"  # the collection is empty
_NOTHING: Final = object()

R = TypeVar("R", bound=RequestCore[Any])
Response = tuple[Hashable, Any]  # (label, reply or exception)


def call_arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what `gather` takes as inputs as (args, kwargs): a mapping is keywords, a list or tuple positions.

    Of a dspy.Example its inputs are the keywords; all its fields, where it does not say which are inputs.
    """
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if hasattr(type(inputs), "with_inputs"):
        named = getattr(inputs, "_input_keys", None)
        return (), {name: inputs[name] for name in inputs.keys() if named is None or name in named}  # noqa: SIM118
    return (tuple(inputs), {}) if isinstance(inputs, list | tuple) else ((inputs,), {})


class Collection(ABC, Generic[R]):
    """What the synchronous and the asyncio collection share.

    Args:
        timeout: Seconds from now for all of them together.
        deadline: The same as a moment of `time.monotonic()`.
    """

    _request: ClassVar[type[RequestCore[Any]]]
    _servers: ClassVar[tuple[type[Ref], ...]] = (ServerRef,)
    _modules: ClassVar[tuple[type[Ref], ...]] = (ModuleRef,)

    def __init__(self, timeout: float | None = None, *, deadline: float | None = None) -> None:
        self._start = monotonic()
        self._deadline = _earlier(deadline_after(timeout, self._start), deadline)
        self._requests: dict[Any, tuple[Hashable, R]] = {}  # by their futures
        self._handled: set[Any] = set()  # the futures of those given out with delete=False
        self._done: deque[Any] = deque()  # futures, in the order in which they ended

    # -- into it

    @abstractmethod
    def _sent(self, ref: Ref, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None) -> R:
        """Send a request."""

    @abstractmethod
    def _changed(self) -> None:
        """Another request has ended: wake who waits."""

    def send(self, server: Ref, request: Any, label: Hashable = None) -> R:
        """Send a request to a GenServer; the label is the server's id when left out."""
        left_s = self.left_s()
        return self._add(self._sent(server, "$call", (request,), {}, inf if left_s is None else left_s), label)

    def call(self, module: Ref, method: str = MODULE_CALL, /, *args: Any, label: Hashable = None, **kwargs: Any) -> R:
        """Call a module's method; the label is the module's id when left out."""
        return self._add(self._sent(module, method, args, kwargs, self.left_s()), label)

    def add(self, target: Ref | R, inputs: Any = _NOTHING, label: Hashable = None) -> R:
        """Send inputs to whatever it is, or add a request that is on its way.

        A mapping is keywords, a list or tuple positions; a server gets them as its request.

        Raises:
            ConfigError: The request is in this collection already; the target takes no calls; inputs for what takes none.
        """
        if isinstance(target, self._request):
            if inputs is not _NOTHING:
                raise ConfigError(f"{target!r} was sent already: it takes no inputs, got {inputs!r:.100}")
            return self._add(target, label)
        if not isinstance(target, self._servers + self._modules) or inputs is _NOTHING:
            raise ConfigError(f"{target!r} takes no calls; expected a module or a server, and its inputs")
        if isinstance(target, self._servers):
            return self.send(target, inputs, label)
        args, kwargs = call_arguments(inputs)
        return self._add(self._sent(target, MODULE_CALL, args, kwargs, self.left_s()), label)

    def _add(self, request: R, label: Hashable) -> R:
        if request.future in self._requests:
            raise ConfigError(f"{request!r} is in this collection already")
        self._requests[request.future] = (request.id if label is None else label, request)
        request.future.add_done_callback(self._finished)
        return request

    def _finished(self, future: Any) -> None:
        self._done.append(future)
        self._changed()

    @property
    def deadline(self) -> float | None:
        """The moment of `time.monotonic()` at which it ends, None for none."""
        return self._deadline

    def left_s(self) -> float | None:
        """Return the seconds left for what is sent now, None for no deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def __len__(self) -> int:
        return len(self._requests)

    # -- out of it

    def check(self, *, delete: bool = True) -> Response | str:
        """Return the next response if it is here, "no_reply" when none is, "no_request" when the collection is empty."""
        if not self._requests:
            return NO_REQUEST
        future = self._take()
        return NO_REPLY if future is None else self._response(future, delete=delete)

    def _take(self) -> Any | None:
        """Return the future of the next that has ended."""
        while True:
            try:
                future = self._done.popleft()
            except IndexError:
                return None
            if future in self._requests:  # not one that was abandoned
                return future

    @property
    def _open(self) -> int:
        return len(self._requests) - len(self._handled)

    def _until(self, timeout: float | None) -> float | None:
        return _earlier(deadline_after(timeout, monotonic()), self._deadline)

    def _none_in_time(self) -> CallTimeoutError:
        return CallTimeoutError(f"none of {self._open} requests was answered in time")

    def _response(self, future: Any, *, delete: bool) -> Response:
        label, request = self._requests[future]
        if delete:
            del self._requests[future]
        else:
            self._handled.add(future)
        return label, request.outcome()

    # -- the end

    def _given_up(self) -> Iterator[Response]:
        """Abandon what is not answered yet; gives the errors that say so."""
        for label, request in self._abandon():
            yield label, unanswered(request.id, monotonic() - self._start)

    def _abandon(self) -> list[tuple[Hashable, R]]:
        handled, requests = self._handled, self._requests
        self._handled, self._requests = set(), {}
        left = [labelled for future, labelled in requests.items() if future not in handled]
        for _, request in left:
            request.cancel()
        return left

    def close(self) -> None:
        """Abandon what is not answered yet. Closing twice is fine."""
        self._abandon()


def _earlier(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)
