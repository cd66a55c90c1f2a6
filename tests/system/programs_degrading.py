"""Modules that depend on others: they answer with who they are, or that they are degraded."""

from __future__ import annotations

import os

import dspy
from gates import until_exists

import dspex_runtime as dx


class Plain(dspy.Module):
    """Answers with who it is."""

    def __init__(self, journal: str | None = None, gate: str | None = None) -> None:
        super().__init__()
        if gate is not None:
            until_exists(gate)
        if journal is not None:
            with open(journal, "a") as file:
                file.write(f"{dx.self_id()}\n")
        self.called = 0

    def forward(self, question: str) -> dspy.Prediction:
        self.called += 1
        return dspy.Prediction(answer=f"{dx.self_id()}: {question}", called=self.called, pid=os.getpid())

    def count(self) -> int:
        return self.called


class Degrading(Plain):
    """Answers without what it depends on, as well as it can."""

    def forward_degraded(self, question: str) -> dspy.Prediction:
        self.called += 1
        return dspy.Prediction(answer=f"degraded: {question}", called=self.called, pid=os.getpid())


class DegradingAsync(dx.Module):
    """The same, awaited, in a program of ours with a predictor."""

    answer = dx.predictor("question -> answer")
    level = dx.Parameter(int, default=1)

    async def aforward(self, question: str) -> dspy.Prediction:
        return await self.answer.acall(question=question)

    async def forward_degraded(self, question: str) -> dspy.Prediction:
        said = await self.answer.acall(question=f"degraded {question}")
        return dspy.Prediction(answer=said.answer, level=self.level)


class DegradingPredicts(dx.Module):
    """Asks its predictor in both ways, of which trace and history are kept."""

    answer = dx.predictor("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.answer(question=question)

    def forward_degraded(self, question: str) -> dspy.Prediction:
        return self.answer(question=f"degraded {question}")
