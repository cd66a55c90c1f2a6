"""Many calls at once, under one deadline: `gather` of the synchronous client. No thread per call.

Calls are tasks of the session's background loop, with a copy of the context in which they were begun: the deadline and the settings
of whoever calls go along. Only a program of this very process needs a thread. Owns what is under way: leaving it early ends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from math import inf
from types import TracebackType
from typing import Any, Self

from dspex_runtime.client.callees import LOCAL_AT_ONCE, Callee, Home, find
from dspex_runtime.client.collection import Response
from dspex_runtime.client.deadline import deadline_scope
from dspex_runtime.client.request import Request
from dspex_runtime.client.requests import Requests
from dspex_runtime.client.steps import run
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError

__all__ = ["Gathering", "gather", "parted"]


class Gathering(Iterator[Response]):
    """Calls under way; iterating gives (label, result or exception) in completion order.

    At the deadline what has not ended comes as CallTimeoutError, and is given up. So is, without a word, what has not ended when
    this is closed, left by `break` or by an exception, or forgotten.

    Args:
        timeout: Seconds from now for all of them together; never longer than the caller's own deadline.
    """

    def __init__(self, timeout: float | None) -> None:
        self._requests = Requests(timeout)
        self._threads: ThreadPoolExecutor | None = None
        self._responses: list[Response] = []

    def begin(self, callee: Callee, inputs: Any, label: Any = None) -> None:
        """Begin a call; it is labelled with its id where no label is given."""
        self._requests.add(Request.running(callee.id, self._begun(callee, inputs)), label=label)

    def _begun(self, callee: Callee, inputs: Any) -> Future[Any]:
        deadline = self._requests.deadline
        if callee.session is not None:
            return callee.session.background().submit(_arun(callee, inputs, deadline))
        if self._threads is None:
            self._threads = ThreadPoolExecutor(LOCAL_AT_ONCE, thread_name_prefix="dspex-gather")
        return self._threads.submit(copy_context().run, _run, callee, inputs, deadline)

    @property
    def deadline(self) -> float:
        """The moment of `time.monotonic()` at which it ends, infinity for none."""
        return inf if self._requests.deadline is None else self._requests.deadline

    def responses(self) -> list[Response]:
        """Wait for the next response, and return it alone; at the deadline the errors of all that are left; [] at the end."""
        return self._requests.responses() if len(self._requests) else []

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Response:
        try:
            self._responses = self._responses or self.responses()
            if not self._responses:
                raise StopIteration
        except BaseException:
            self.close()
            raise
        return self._responses.pop(0)

    def close(self) -> None:
        """Give up what has not ended. Closing twice is fine."""
        self._responses.clear()
        self._requests.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)  # what runs in this process cannot be ended from outside
            self._threads = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_responses"):  # else its time-out was refused
            self.close()


def _run(callee: Callee, inputs: Any, deadline: float | None) -> Any:
    with deadline_scope(deadline):
        return callee.run(inputs)


async def _arun(callee: Callee, inputs: Any, deadline: float | None) -> Any:
    with deadline_scope(deadline):
        return await callee.arun(inputs)


def gather(home: Home, calls: Iterable[Sequence[Any]], timeout: float | None) -> Gathering:
    """Begin many calls; see `Runtime.gather`."""
    gathering = Gathering(timeout)
    try:
        triples = [parted(call) for call in calls]
        callees = run(find(home, [target for _, target, _ in triples]))
        for callee in dict.fromkeys(callees):
            callee.prepare()
        for callee, (label, _, inputs) in zip(callees, triples, strict=True):
            gathering.begin(callee, inputs, label)
    except BaseException:
        gathering.close()
        raise
    return gathering


def parted(call: Any) -> tuple[Any, Any, Any]:
    """Return (label, target, inputs) of what is to be called.

    Raises:
        ConfigError: It is neither (target, inputs) nor (label, target, inputs).
    """
    match call:
        case [target, inputs]:
            return None, target, inputs
        case [label, target, inputs]:
            return label, target, inputs
        case _:
            raise ConfigError(f"a call to gather is (target, inputs) or (label, target, inputs); got {show(call)}")
