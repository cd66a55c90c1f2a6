"""The dspy modules of the system tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import dspy
from gates import until_exists

import dspex_runtime as dx


class Echo(dspy.Module):
    """Has a predictor, and methods that need no LM."""

    def __init__(self, prefix: str = "") -> None:
        super().__init__()
        self.prefix = prefix
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.prefix + question, pid=os.getpid())

    def wait(self, path: str) -> str:
        open(path + ".begun", "a").close()
        until_exists(path)
        return "done"

    @dx.idempotent
    def wait_idempotent(self, path: str) -> str:
        return self.wait(path)

    def fail(self, what: str) -> None:
        raise KeyError(what)

    def count(self, n: int) -> Iterator[int]:
        yield from range(n)


class Tally(dspy.Module):
    """Has a plain attribute and a predictor, and changes both."""

    def __init__(self) -> None:
        super().__init__()
        self.k = 3
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.answer(question=question)

    def bump(self) -> int:
        self.k += 1
        self.answer.demos = [*self.answer.demos, dspy.Example(question=str(self.k), answer="a")]
        return self.k

    def look(self) -> list[int]:
        return [self.k, len(self.answer.demos)]


class AsyncEcho(dspy.Module):
    """All of its calls meet before any of them returns."""

    def __init__(self) -> None:
        super().__init__()
        self.meeting: asyncio.Barrier | None = None

    async def aforward(self, n: int) -> Any:
        self.meeting = self.meeting or asyncio.Barrier(n)
        await self.meeting.wait()
        return dspy.Prediction(n=n)


class Linked(dspy.Module):
    """Links itself at the first call; keeps the messages it gets."""

    def __init__(self, journal: str = "") -> None:
        super().__init__()
        self.journal = journal
        self.messages: list[Any] = []

    def forward(self, to: str) -> dspy.Prediction:
        dx.link(to)
        return dspy.Prediction(ref=dx.monitor(to))

    def handle_info(self, message: Any) -> None:
        self.messages.append(message)

    def got(self) -> list[Any]:
        return self.messages

    def terminate(self, reason: Any) -> None:
        with open(self.journal, "a") as file:
            file.write(f"{reason}\n")


class NoForward(dspy.Module):
    """Nothing to call."""


class NotAModule:
    """Not hostable."""
