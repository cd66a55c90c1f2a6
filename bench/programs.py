"""The modules that the benchmarks start: the smallest server, and a module with one predictor."""

from __future__ import annotations

from typing import Any

import dspy

import dspex_runtime as dx


class Echo(dx.GenServer):
    """Answers with what it is asked."""

    def init(self) -> None:
        """No state."""
        return

    def handle_call(self, request: Any, from_: Any, state: None) -> dx.Reply:
        """Give the request back."""
        return dx.Reply(request, state)


class OnePredictor(dspy.Module):
    """A module as users write them: one chain of thought. `echo` answers without an LM."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question: str) -> Any:
        """Ask the predictor."""
        return self.answer(question=question)

    def echo(self, value: Any) -> Any:
        """Give the value back."""
        return value
