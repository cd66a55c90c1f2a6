"""A module with one predictor, as users write them."""

from __future__ import annotations

from typing import Any

import dspy


class OnePredictor(dspy.Module):
    """One chain of thought. `echo` answers without an LM."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question: str) -> Any:
        """Ask the predictor."""
        return self.answer(question=question)

    def echo(self, value: Any) -> Any:
        """Give the value back."""
        return value

    def demos(self) -> int:
        """Say how many demos the predictor has."""
        return sum(len(predictor.demos) for predictor in self.predictors())
