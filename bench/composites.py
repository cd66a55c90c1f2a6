"""A composite whose parts compute, and modules in a row that do nothing but call the next one."""

from __future__ import annotations

from typing import Any

import dspy

import dspex_runtime as dx


def compute(rounds: int) -> int:
    """Do what a part does."""
    total = 0
    for n in range(rounds):
        total += n * n % 7
    return total


class Part(dspy.Module):
    """Computes in Python, holding the GIL, as a ranker or a parser does."""

    def forward(self, rounds: int) -> Any:
        """Compute so many rounds."""
        return dspy.Prediction(total=compute(rounds))


class Composite(dx.Module):
    """Asks both its parts at once and adds up what they found."""

    left = dx.sub_module("bench.composites:Part")
    right = dx.sub_module("bench.composites:Part")

    def forward(self, rounds: int) -> Any:
        """Scatter and gather."""
        both = dx.gather([("left", self.left, {"rounds": rounds}), ("right", self.right, {"rounds": rounds})])
        return dspy.Prediction(total=sum(found.total for _, found in both))


class Hop(dspy.Module):
    """Calls the next one, if it has one."""

    def __init__(self, next: str | None = None) -> None:
        super().__init__()
        self._next = next
        self._proxy: Any = None

    def forward(self, value: Any) -> Any:
        """Give the value back, over all that follow."""
        if self._next is None:
            return value
        if self._proxy is None:
            self._proxy = dx.module(self._next)
        return self._proxy(value=value)
