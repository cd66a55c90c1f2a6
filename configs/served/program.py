"""A tutor with a parameter that every client may change."""

from __future__ import annotations

import dspy

import dspex_runtime as dx


class Tutor(dx.Module):
    """Explains terms of computer science."""

    style = dx.Parameter(str, default="brief", choices=["brief", "thorough"])
    explain = dx.predictor("question, style -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        """Return `answer`, in the style of the moment."""
        return self.explain(question=question, style=self.style)
