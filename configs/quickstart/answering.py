"""A plain dspy.Module that answers questions about the standard library with citations, and while it cannot, says so.

It reaches the retriever, another process, through `dx.connect()`: inside a module that is the runtime it belongs to.
"""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Final

import dspy

import dspex_runtime as dx

NOTHING_LOOKED_UP: Final = "The retriever is down, so nothing can be looked up. Ask again when it is back; a guess is no help."


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
        count()
        return result

    def forward_degraded(self, question: str) -> dspy.Prediction:  # noqa: ARG002
        """Say what is the matter, and cite nothing: this answers while the retriever is down (`on_down: degrade` in the YAML)."""
        count()
        return dspy.Prediction(answer=NOTHING_LOOKED_UP, citations=[], passages=[])

    def looked_up(self, question: str) -> dspy.Prediction:
        """Answer without being counted."""
        found = runtime().module("retriever")(query=question, k=self.k)
        result = self.answer(question=question, passages=found.passages)
        # A model may cite what it was not given; only names that were among the passages are passed on.
        cited = [name for name in result.citations if name in found.names]
        return dspy.Prediction(answer=result.answer, citations=cited, passages=found.names)


def count() -> None:
    """Have a question counted; an answer is worth more than its count."""
    with contextlib.suppress(dx.DspexError):
        runtime().server("counter").cast("asked")


@cache
def runtime() -> dx.Runtime:
    """Connect at the first question, once per process: starting stays cheap, and nothing is shared over a fork."""
    return dx.connect()
