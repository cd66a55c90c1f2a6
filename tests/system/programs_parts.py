"""The composites of the system tests: owners, and what they have as parts."""

from __future__ import annotations

import os
from typing import Any

import dspy
from gates import until_exists

import dspex_runtime as dx


class Search(dx.Module):
    """Finds what it is asked for, k times; needs no LM."""

    k = dx.Parameter(int, default=2, min=0, max=10)
    rank = dx.predictor("query -> passages")

    def __init__(self, prefix: str = "", fail: str | None = None) -> None:
        super().__init__()
        if fail is not None:
            raise ValueError(fail)
        self.prefix = prefix

    def forward(self, query: str) -> dspy.Prediction:
        return dspy.Prediction(passages=[f"{self.prefix}{query}"] * self.k, pid=os.getpid(), training=self.training)

    def ranked(self, query: str) -> Any:
        return self.rank(query=query)

    def wait(self, path: str) -> str:
        open(path + ".begun", "a").close()
        until_exists(path)
        return "done"

    def terminate(self, reason: Any) -> None:
        _note(reason)


class Answerer(dx.Module):
    """Has a part, and a predictor of its own."""

    temperature = dx.Parameter(float, default=0.5, min=0.0, max=2.0)
    search = dx.sub_module(Search, prefix="found ")
    answer = dx.predictor("question, context -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        found = self.search(query=question)
        return dspy.Prediction(answer=", ".join(found.passages), pid=os.getpid(), part=found.pid, training=self.training)

    def asked(self, question: str) -> Any:
        return self.answer(question=question, context="c")

    def names(self) -> list[str]:
        return [name for name, _ in self.named_parameters()]

    def modes(self) -> list[bool]:
        return [self.training, self.search(query="?").training]

    def wait(self, path: str) -> str:
        return str(self.search.dx.call("wait", path))

    def crash(self) -> None:
        os.kill(os.getpid(), 9)

    def terminate(self, reason: Any) -> None:
        _note(reason)


class Two(dx.Module):
    """Has two parts, one of which has a part."""

    parts = dx.Parts(strategy="one_for_one", max_restarts=1, max_seconds=60)
    near = dx.sub_module(f"{__file__}:Search", prefix="near ")
    far = dx.sub_module(f"{__file__}:Answerer")
    here = dx.sub_module(Search, inline=True, prefix="here ")

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=[self.near(query=question).passages, self.far(question=question).answer])


class Bad(dx.Module):
    """Its part does not start."""

    search = dx.sub_module(Search, fail="no index")

    def forward(self, question: str) -> Any:
        return self.search(query=question)


class Other(dx.Module):
    """What an Answerer becomes: one part is as it was, one is new."""

    search = dx.sub_module(Search, prefix="found ")
    more = dx.sub_module(Search, prefix="more ")

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.search(query=question).passages + self.more(query=question).passages)


class Changed(dx.Module):
    """What an Answerer becomes: its part is another one."""

    search = dx.sub_module(Search, prefix="changed ")

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.search(query=question).passages)


class Alone(dx.Module):
    """What an Answerer becomes: it has no part any more."""

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=question)


def _note(reason: Any) -> None:
    if "PARTS_JOURNAL" in os.environ:
        with open(os.environ["PARTS_JOURNAL"], "a") as file:
            file.write(f"{dx.self_id()} {reason}\n")


class Asking(dx.Module):
    """Asks others by their ids."""

    def forward(self, question: str) -> Any:
        return question

    def module(self, id: str, question: str) -> Any:
        found = dx.module(id)
        return found(question=question).answer if "search" not in id else found(query=question).passages

    def server(self, id: str) -> Any:
        return repr(dx.server(id))


class Degrading(dx.Module):
    """Does without its part."""

    search = dx.sub_module(Search, process={"on_down": "degrade"})

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.search(query=question).passages)

    def forward_degraded(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer="without")


class Failing(dx.Module):
    """Fails without its part."""

    search = dx.sub_module(Search, process={"on_down": "fail"})

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.search(query=question).passages)


class Slow(dx.Module):
    """Its part takes its time to start."""

    search = dx.sub_module(f"{__file__}:SlowSearch")

    def forward(self, question: str) -> Any:
        return self.search(query=question)


class SlowSearch(Search):
    """Waits for a file before it is there."""

    def __init__(self) -> None:
        super().__init__()
        path = os.environ["PARTS_GATE"]
        open(path + ".begun", "a").close()
        until_exists(path)
