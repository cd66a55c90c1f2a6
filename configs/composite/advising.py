"""Advice for a report, from the catalogue; while that is down an honest word instead of it."""

from __future__ import annotations

import dspy

import dspex_runtime as dx


class Adviser(dspy.Module):  # type: ignore[misc]  # dspy is not typed
    """Any dspy.Module may have a `forward_degraded`: it answers while something is down on which `on_down: degrade` is said."""

    def forward(self, error: str, words: list[str]) -> dspy.Prediction:
        """Return `advice`, and the title of the known `problem` that it is for ("" for none)."""
        problems = dx.module("catalogue")(error=error, words=words).problems
        if not problems:
            return dspy.Prediction(problem="", advice="Nothing like it is known: somebody has to look at it.")
        return dspy.Prediction(problem=problems[0]["title"], advice=problems[0]["fix"])

    def forward_degraded(self, error: str, words: list[str]) -> dspy.Prediction:  # noqa: ARG002
        """Say that the catalogue could not be asked; takes what `forward` takes."""
        return dspy.Prediction(problem="", advice="The catalogue of known problems is down: somebody has to look at it.")
