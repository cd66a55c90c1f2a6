"""`gather`, `map` and `pipeline`: methods of a runtime, and `dx.gather`, `dx.map`, `dx.pipeline` inside a module.

Those inside a module find ids in its own runtime; references, proxies and parts are called wherever they lead. Their calls end with
the call that they are made in: at its deadline, and at once when it is given up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dspex_runtime.client.ids import Child, Via
from dspex_runtime.client.session import Session, session_at
from dspex_runtime.client.steps import run
from dspex_runtime.host.context import Process

if TYPE_CHECKING:
    from dspex_runtime.client.mapping import OnProgress
    from dspex_runtime.client.pipelines import Pipeline

__all__ = ["Orchestration", "gather", "map", "own_session", "pipeline"]


class Orchestration(ABC):
    """Many children called in one go."""

    @property
    @abstractmethod
    def session(self) -> Session:
        """The connection to the runtime that ids are of."""

    def gather(self, calls: Iterable[tuple[Any, ...]], timeout: float | None = None) -> Iterator[tuple[Any, Any]]:
        """Call many children at once: yields (label, result or exception) in completion order, under one deadline.

        The calls are begun now. At the deadline what has not ended comes as CallTimeoutError and is given up; so is, without a
        word, what is left by `break`.

        Args:
            calls: (id, inputs) or (label, id, inputs): the label is the id when left out. Inputs of a module are keywords in a
                dict, or positions in a list; a server's are its request. A reference may stand for an id, and saves the question
                what it is.
            timeout: Seconds for all of them together.
        """
        from dspex_runtime.client.gathering import gather

        return gather(self, calls, timeout)

    def map(
        self,
        target: Child | Via,
        inputs: Iterable[Any],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Call one child, or a group of replicas, with many inputs; returns the results in the order of the inputs.

        Args:
            target: An id or a reference.
            inputs: Each as of `gather`, or a dspy.Example; read one by one, as calls are begun.
            concurrency: How many calls are under way at once; by default as many as the module and its replicas run at once.
            timeout: Seconds for all of them together.
            on_progress: Called as on_progress(done, total) after each result; `total` is None where `inputs` has no length.
            return_exceptions: Whether exceptions are results as any; else the first one is raised, and what is under way given up.
        """
        from dspex_runtime.client.callees import find
        from dspex_runtime.client.mapping import map_calls

        (callee,) = run(find(self, [target], facts=True))
        return map_calls(
            callee, inputs, concurrency=concurrency, timeout=timeout, on_progress=on_progress, return_exceptions=return_exceptions
        )

    def pipeline(self, *targets: Child | Via, timeout: float | None = None) -> Pipeline:
        """Return children in a row, to be called as one: `rt.pipeline("retriever", "qa")(question="why?")`.

        The fields of what a stage returns (a Prediction, a dict) are the keywords of the next one: those that it takes, where
        its forward or its signature says so. What has no fields is its one input, or the request of a server.

        Args:
            *targets: Ids or references.
            timeout: Seconds for all stages of one call together; `map` has its own.
        """
        from dspex_runtime.client.pipelines import Pipeline

        return Pipeline(self, targets, timeout)


def own_session(word: str) -> Session:
    """Return the connection to the runtime that this module process is of.

    Raises:
        RuntimeError: This is no module process.
    """
    if Process.assignment is None:
        raise RuntimeError(f"dx.{word} finds ids only inside a module process; a client has rt.{word}")
    return session_at(Process.assignment.socket)


class _Inside(Orchestration):
    """In the runtime of this module process."""

    @property
    def session(self) -> Session:
        """The connection to it."""
        return own_session("gather, dx.map or dx.pipeline")


_inside = _Inside()
gather = _inside.gather
map = _inside.map  # it is `dx.map`
pipeline = _inside.pipeline
