"""A plain dspy.Module that answers questions about the standard library with citations.

It reaches the retriever, another process, through `dx.connect()`: inside a module that is the runtime it belongs to.
"""

from __future__ import annotations

import contextlib
from functools import cache

import dspy

import dspex_runtime as dx


class AnswerFromPassages(dspy.Signature):  # type: ignore[misc]  # dspy is not typed
    """Answer the question from the passages only. If they do not answer it, say so and cite nothing."""

    question: str = dspy.InputField()
    passages: list[str] = dspy.InputField(desc="each begins with the name of what it documents")
    answer: str = dspy.OutputField(desc="two sentences at most")
    citations: list[str] = dspy.OutputField(desc="names of the passages the answer is taken from")


class Answerer(dspy.Module):  # type: ignore[misc]
    """Retrieves, then answers; the LM is whatever `lm:` in the YAML says."""

    __version__ = "1"

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        self.k = k
        self.answer = dspy.Predict(AnswerFromPassages)

    def forward(self, question: str) -> dspy.Prediction:
        """Return `answer`, `citations` (names such as "itertools.groupby") and `passages` (the names that were considered)."""
        result = self.looked_up(question)
        with contextlib.suppress(dx.DspexError):  # an answer is worth more than its count
            runtime().server("counter").cast("asked")
        return result

    def looked_up(self, question: str) -> dspy.Prediction:
        """Answer without being counted."""
        found = runtime().module("retriever")(query=question, k=self.k)
        result = self.answer(question=question, passages=found.passages)
        # A model may cite what it was not given; only names that were among the passages are passed on.
        cited = [name for name in result.citations if name in found.names]
        return dspy.Prediction(answer=result.answer, citations=cited, passages=found.names)


@cache
def runtime() -> dx.Runtime:
    """Connect at the first question, once per process: starting stays cheap, and nothing is shared over a fork."""
    return dx.connect()
