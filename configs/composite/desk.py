"""Takes bug reports: has them read, then rated and answered at the same time. What is asked are other processes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import dspy

import dspex_runtime as dx


class Desk(dspy.Module):  # type: ignore[misc]  # dspy is not typed
    """A program made of the others; they are named by their ids."""

    def forward(self, report: str) -> dspy.Prediction:
        """Return `error`, `place`, `urgency`, `problem` and `advice` of a report."""
        facts = dx.module("reader")(report=report)
        known = {"error": facts.error, "words": facts.words}
        found: dict[str, Any] = {}
        for name, outcome in dx.gather([("rater", known), ("adviser", known)]):  # in the order in which they are through
            if isinstance(outcome, Exception):
                raise outcome
            found[name] = outcome
        return dspy.Prediction(
            error=facts.error,
            place=facts.place,
            urgency=found["rater"].urgency,
            problem=found["adviser"].problem,
            advice=found["adviser"].advice,
        )

    def errors(self, reports: list[str]) -> dict[str, int]:
        """Return how often each error is in many reports: as many are read at a time as there are readers."""
        read = dx.map("reader", ({"report": report} for report in reports))
        return dict(Counter(facts.error for facts in read if facts.error).most_common())
