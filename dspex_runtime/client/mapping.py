"""One callee and many inputs, so many at once: `map` of both clients. Inputs are read as they are begun, results keep their order.

Owns which input is next and what has come back; beginning a call and waiting for one is `gathering`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from time import monotonic
from typing import Any, Final, TypeAlias

from dspex_runtime.client.async_gathering import AsyncGathering, prepare
from dspex_runtime.client.callees import Callee
from dspex_runtime.client.collection import Response
from dspex_runtime.client.gathering import Gathering
from dspex_runtime.core.keys import show
from dspex_runtime.errors import CallTimeoutError, ConfigError

__all__ = ["OnProgress", "amap_calls", "map_calls"]

OnProgress: TypeAlias = Callable[[int, int | None], Any]  # (inputs that are done, how many there are: None where it is not known)
_NO_MORE: Final = object()


class _Course:
    """How far a map has come."""

    def __init__(
        self, callee: Callee, inputs: Any, concurrency: int | None, on_progress: OnProgress | None, *, return_exceptions: bool
    ) -> None:
        if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
            raise ConfigError(f"concurrency is how many calls are made at once, 1 or more; got {show(concurrency)}")
        self.callee = callee
        self.at_once = callee.at_once if concurrency is None else concurrency
        self.open = 0  # how many are under way
        self._done = 0
        self._total = len(inputs) if hasattr(type(inputs), "__len__") else None
        self._on_progress = on_progress
        self._return_exceptions = return_exceptions
        self._results: list[Any] = []

    def begin(self, gathering: Gathering | AsyncGathering, inputs: Any) -> None:
        """Begin the call with the next inputs; behind the deadline they are not sent, and have failed."""
        place = len(self._results)
        self._results.append(None)
        self.open += 1
        if monotonic() < gathering.deadline:
            gathering.begin(self.callee, inputs, place)
            return
        error = CallTimeoutError(f"{self.callee.id!r} was not called with inputs {place} before the deadline")
        error.id = self.callee.id
        self.ended([(place, error)])

    def ended(self, responses: Iterable[Response]) -> None:
        """Take results; raises the first exception, unless those are wanted as results."""
        for place, result in responses:
            assert isinstance(place, int)
            self.open -= 1
            if isinstance(result, BaseException) and not self._return_exceptions:
                raise result
            self._results[place] = result
            self._done += 1
            if self._on_progress is not None:
                self._on_progress(self._done, self._total)

    def results(self) -> list[Any]:
        """Return the results, in the order of the inputs."""
        return self._results


def map_calls(
    callee: Callee,
    inputs: Iterable[Any],
    *,
    concurrency: int | None,
    timeout: float | None,
    on_progress: OnProgress | None,
    return_exceptions: bool,
) -> list[Any]:
    """Call with each of the inputs and return the results in their order; see `Runtime.map`."""
    course = _Course(callee, inputs, concurrency, on_progress, return_exceptions=return_exceptions)
    with Gathering(timeout) as gathering:
        callee.prepare()
        source: Iterator[Any] = iter(inputs)
        more = True
        while more or course.open:
            while more and course.open < course.at_once:
                each = next(source, _NO_MORE)
                if each is _NO_MORE:
                    more = False
                else:
                    course.begin(gathering, each)
            if course.open:
                course.ended(gathering.responses())
    return course.results()


async def amap_calls(
    callee: Callee,
    inputs: Iterable[Any] | AsyncIterable[Any],
    *,
    concurrency: int | None,
    timeout: float | None,
    on_progress: OnProgress | None,
    return_exceptions: bool,
) -> list[Any]:
    """`map_calls` for tasks; the inputs may be an async iterable."""
    course = _Course(callee, inputs, concurrency, on_progress, return_exceptions=return_exceptions)
    async with AsyncGathering(timeout) as gathering:
        await prepare([callee])
        source = aiter(inputs) if isinstance(inputs, AsyncIterable) else _each(inputs)
        more = True
        while more or course.open:
            while more and course.open < course.at_once:
                each = await anext(source, _NO_MORE)
                if each is _NO_MORE:
                    more = False
                else:
                    course.begin(gathering, each)
            if course.open:
                course.ended(await gathering.responses())
    return course.results()


async def _each(inputs: Iterable[Any]) -> AsyncIterator[Any]:
    for each in inputs:
        yield each
