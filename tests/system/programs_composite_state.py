"""The composites of `test_composite_state`: owners and parts that count together."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import dspy
from dspy.teleprompt.teleprompt import Teleprompter
from gates import until_exists

import dspex_runtime as dx

COUNTING = threading.Lock()  # of several calls at a time


def reach(gate: str) -> None:
    Path(gate + ".begun").write_text(str(os.getpid()))
    until_exists(gate)


class Tally(dx.Module):
    """Counts its calls: in a parameter, in an attribute that its own state keeps."""

    count = dx.Parameter(int, default=0)
    limit = dx.Parameter(int, default=1000, max=1000)
    rank = dx.predictor("query -> passages")

    def __init__(self) -> None:
        super().__init__()
        self.own = 0

    def get_state(self) -> dict[str, int]:
        return {"own": self.own}

    def set_state(self, state: dict[str, int]) -> None:
        if state["own"] < 0:
            raise ValueError("no such state")
        self.own = state["own"]

    def forward(self) -> dspy.Prediction:
        self.counted()
        return dspy.Prediction(count=self.count, own=self.own, pid=os.getpid())

    def counted(self) -> None:
        with COUNTING:
            self.count += 1
            self.own += 1

    def counts(self) -> list[int]:
        return [self.count, self.own]

    def set_own(self, own: int) -> None:
        self.own = own

    def wait(self, path: str) -> str:
        reach(path)
        return "done"


class Pair(Tally):
    """Counts, and then has its part count."""

    part = dx.sub_module(Tally)

    def forward(self) -> dspy.Prediction:
        self.counted()
        below = self.part()
        return dspy.Prediction(count=self.count, below=below.count, part=below.pid, pid=os.getpid())

    def wait_below(self, path: str) -> Any:
        return self.part.dx.call("wait", path)


class Tower(Tally):
    """Counts with a part that has a part, and with one that is here."""

    near = dx.sub_module(Pair)
    far = dx.sub_module(Tally)
    here = dx.sub_module(Tally, inline=True)

    def forward(self) -> dspy.Prediction:
        self.counted()
        return dspy.Prediction(counts=[self.count, self.near().below, self.far().count, self.here().count])


class Judge(dspy.Module):  # type: ignore[misc]
    """A part that is no dx.Module, with a state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.verdict = dspy.Predict("question, answer -> verdict")
        self.asked = 0

    def get_state(self) -> int:
        return self.asked

    def set_state(self, state: int) -> None:
        self.asked = state

    def forward(self, question: str, answer: str) -> dspy.Prediction:
        self.asked += 1
        return self.verdict(question=question, answer=answer)

    def wait(self, path: str) -> None:
        reach(path)

    def flags(self) -> list[Any]:
        return [bool(self._compiled), self.verdict.config, self.verdict.signature.instructions]


class TwoSteps(dx.Module):
    """Answers here, judges in another process."""

    hop = dx.predictor("question -> answer", kind="chain_of_thought")
    judge = dx.sub_module(Judge)

    def forward(self, question: str) -> dspy.Prediction:
        answer = self.hop(question=question).answer
        return dspy.Prediction(answer=answer, verdict=self.judge(question=question, answer=answer).verdict)


class Tell(Teleprompter):  # type: ignore[misc]
    """Waits at a gate, then gives every predictor an instruction that says what it was given."""

    def __init__(self, gate: str | None = None, freeze: bool = False) -> None:
        self.gate, self.freeze = gate, freeze

    def compile(self, student: Any, *, trainset: list[Any]) -> Any:
        if self.gate is not None:
            reach(self.gate)
        for predictor in student.predictors():
            predictor.signature = predictor.signature.with_instructions(f"Asked {student.judge.asked}, {len(trainset)} examples.")
        student.judge.verdict.config["temperature"] = 0.9
        student.judge._compiled = self.freeze
        return student


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.answer == prediction.answer)


class NewPair(Tally):
    """The next version: has the same part, and another one."""

    part = dx.sub_module(Tally)
    more = dx.sub_module(Tally)

    def forward(self) -> dspy.Prediction:
        self.counted()
        return dspy.Prediction(count=self.count, below=self.part().count, more=self.more().count)


class Alone(Tally):
    """A version without parts."""
