"""Sorts the tickets of a shop into queues: a plain dspy.Module, to be compiled."""

from __future__ import annotations

from typing import Literal

import dspy


class Sort(dspy.Signature):  # type: ignore[misc]  # dspy is not typed
    """Sort a customer's ticket into the queue of those who can help."""

    ticket: str = dspy.InputField()
    queue: Literal["account", "billing", "delivery"] = dspy.OutputField()


class Triage(dspy.Module):  # type: ignore[misc]
    """Returns the `queue` of a ticket."""

    def __init__(self) -> None:
        super().__init__()
        self.sort = dspy.Predict(Sort)

    def forward(self, ticket: str) -> dspy.Prediction:
        """Sort one ticket."""
        return self.sort(ticket=ticket)
