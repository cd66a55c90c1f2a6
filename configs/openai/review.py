"""Two DSPy programs that read a text: plain dspy modules, nothing of this package in them."""

from __future__ import annotations

from typing import Literal

import dspy


class Claims(dspy.Signature):
    """List what a text claims, one short sentence each, in its order, adding nothing."""

    text: str = dspy.InputField()
    claims: list[str] = dspy.OutputField()


class Rate(dspy.Signature):
    """Sum a review up in one sentence and rate how content its writer is."""

    text: str = dspy.InputField()
    summary: str = dspy.OutputField()
    content: Literal["no", "partly", "yes"] = dspy.OutputField()


class Sentences(dspy.Module):
    """Takes a text apart."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = dspy.ChainOfThought(Claims)

    def forward(self, text: str) -> dspy.Prediction:
        """Return `claims`."""
        return self.claims(text=text)


class Review(dspy.Module):
    """Reads a review."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = dspy.Predict(Rate)

    def forward(self, text: str) -> dspy.Prediction:
        """Return `summary` and `content`."""
        return self.rate(text=text)
