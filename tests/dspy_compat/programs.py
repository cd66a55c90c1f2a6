"""The programs of the compatibility record: factories that take the base class, so that one text gives all three ways.

A hosted one travels by value with what it names, so nothing here may hold what cannot be pickled.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from typing import Any

import dspy
from dspy.utils import DummyLM
from dspy.utils.callback import BaseCallback

ANSWERS = {"query": "look", "reasoning": "r", "answer": "yes", "rationale": "r", "a": "A", "b": "B", "c": "C"}


def answering(**changed: Any) -> DummyLM:
    """An LM that knows every field, and gives the same answer however often and from wherever it is asked."""
    return DummyLM({"": {**ANSWERS, **changed}})


class ByTry(DummyLM):  # type: ignore[misc]
    """An LM that answers by the number of the try, which BestOfN and Refine write into the options of a copy of it."""

    def __init__(self, *tries: dict[str, Any]) -> None:
        self.tries = tries
        super().__init__({})

    @property
    def answers(self) -> dict[str, Any]:
        return {"": self.tries[self.kwargs.get("rollout_id", 0)]}

    @answers.setter
    def answers(self, _: Any) -> None:
        """DummyLM's own."""


PIECES = re.compile(r"\s*\S{1,4}")  # what the counting engine streams at a time


class Counting:
    """An engine that answers as `answering`, uses three tokens for it, and can stream."""

    def complete(self, request: Any) -> Any:
        from dspy.lm15 import Message, Response, TextPart, Usage

        text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in ANSWERS.items()) + "\n\n[[ ## completed ## ]]\n"
        usage = Usage(input_tokens=1, output_tokens=2, total_tokens=3)
        return Response(
            id=None, model="local/counting", message=Message.assistant([TextPart(text)]), finish_reason="stop", usage=usage
        )

    def stream(self, request: Any) -> Any:
        from dataclasses import replace

        from dspy.lm15 import response_to_events

        for event in response_to_events(self.complete(request)):
            delta = getattr(event, "delta", None)
            if delta is None:
                yield event
            else:
                yield from (replace(event, delta=replace(delta, text=piece)) for piece in PIECES.findall(delta.text))

    def close(self) -> None:
        pass


class AsyncCounting(Counting):
    async def complete(self, request: Any) -> Any:  # type: ignore[override]
        return Counting().complete(request)

    async def stream(self, request: Any) -> Any:
        for event in Counting().stream(request):
            yield event

    async def aclose(self) -> None:
        pass


def counting() -> dspy.LM:
    return dspy.LM("local/counting", engine=Counting(), async_engine=AsyncCounting(), cache=False)


class Noting(BaseCallback):  # type: ignore[misc]
    """Notes what it is told, with the parent of each event."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.ids: dict[str, str | None] = {}
        self.instances: list[Any] = []

    def _start(self, kind: str, call_id: str, instance: Any) -> None:
        from dspy.utils.callback import ACTIVE_CALL_ID

        self.events.append((f"{kind} start", type(instance).__name__))
        self.ids[call_id] = ACTIVE_CALL_ID.get()
        self.instances.append(instance)

    def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        self._start("module", call_id, instance)

    def on_module_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
        self.events.append(("module end", type(exception or outputs).__name__))

    def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        self._start("lm", call_id, instance)

    def on_lm_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
        self.events.append(("lm end", type(exception or outputs).__name__))

    def on_adapter_format_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        self._start("format", call_id, instance)

    def on_adapter_parse_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        self._start("parse", call_id, instance)

    def on_tool_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        self._start("tool", call_id, instance)

    def on_tool_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
        self.events.append(("tool end", type(exception or outputs).__name__))


def hops(base: Any) -> Any:
    """Two hops, sync and async."""

    class Hops(base):  # type: ignore[misc]
        """Documented."""

        def __init__(self) -> None:
            super().__init__()
            self.one = dspy.Predict("question -> query")
            self.two = dspy.ChainOfThought("query -> answer")

        def forward(self, question: str) -> Any:
            return self.two(query=self.one(question=question).query)

        async def aforward(self, question: str) -> Any:
            found = await self.one.acall(question=question)
            return await self.two.acall(query=found.query)

    return Hops


def single(base: Any) -> Any:
    """One predictor."""

    class Single(base):  # type: ignore[misc]
        def __init__(self, **config: Any) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer", **config)

        def forward(self, **inputs: Any) -> Any:
            return self.predict(**inputs)

    return Single


def outer(base: Any) -> Any:
    """Predictors and modules in every place that dspy looks at; its __init__ does not call its base's."""
    inner = hops(base)

    class Outer(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.hops = inner()
            self.several = [dspy.Predict("a -> b"), inner(), [dspy.Predict("a -> b")]]
            self.named = {"x": dspy.Predict("a -> b"), "deep": inner(), "nested": {"y": inner()}}
            self.again = self.hops
            self.plain = {"lines": [1, 2]}

        def forward(self, question: str) -> Any:
            return self.hops(question=question)

    return Outer


def odd(base: Any) -> Any:
    """Places whose names dspy cannot set by name again."""

    class Odd(base):  # type: ignore[misc]
        def __init__(self, place: str) -> None:
            super().__init__()
            predictor = dspy.Predict("a -> b")
            self.place = {"tuple": (predictor,), "int": {3: predictor}, "quote": {"it's": predictor}}[place]

        def forward(self) -> None: ...

    return Odd


def holding(base: Any) -> Any:
    """Holds a lock made where it is built: it cannot be pickled, and dspy copies it all the same."""

    class Holding(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            with self.lock:
                return self.predict(question=question)

    return Holding


def doubling(base: Any) -> Any:
    """Asks no LM; refuses 2."""

    class Doubling(base):  # type: ignore[misc]
        def forward(self, n: int) -> Any:
            if n == 2:
                raise ValueError("two")
            return dspy.Prediction(n=n * 2)

    return Doubling


def failing(base: Any) -> Any:
    """Fails after its predictor was asked."""

    class Failing(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            self.predict(question=question)
            raise KeyError("inside")

    return Failing


def returning(base: Any) -> Any:
    """Returns what it is told to."""

    class Returning(base):  # type: ignore[misc]
        def forward(self, kind: str) -> Any:
            return {
                "prediction": dspy.Prediction(answer="a", score=0.5),
                "completions": dspy.Prediction.from_completions([{"answer": "a"}, {"answer": "b"}]),
                "text": "text",
                "tuple": (dspy.Prediction(answer="a"), [1, 2]),
                "example": dspy.Example(question="q", answer="a").with_inputs("question"),
                "none": None,
            }[kind]

    return Returning


def descending(base: Any) -> Any:
    """Calls itself, down to 0."""

    class Descending(base):  # type: ignore[misc]
        def forward(self, n: int) -> Any:
            return self(n=n - 1) if n else dspy.Prediction(n=n)

    return Descending


def silent(base: Any) -> Any:
    """Has no forward."""

    class Silent(base):  # type: ignore[misc]
        pass

    return Silent


def counter(base: Any) -> Any:
    """Keeps a count as a plain attribute, and a list that it is given."""

    class Counter(base):  # type: ignore[misc]
        def __init__(self, seen: list[Any] | None = None) -> None:
            super().__init__()
            self.count = 0
            self.seen = [] if seen is None else seen

        def forward(self, item: Any) -> Any:
            self.count += 1
            self.seen.append(item)
            return dspy.Prediction(count=self.count)

    return Counter


def settings_reader(base: Any) -> Any:
    """Returns the settings that it is asked for, as it sees them."""

    class Reader(base):  # type: ignore[misc]
        def forward(self, names: list[str]) -> Any:
            return dspy.Prediction(found={name: dspy.settings.get(name) for name in names})

    return Reader


def waiting(base: Any) -> Any:
    """Waits in async code."""

    class Waiting(base):  # type: ignore[misc]
        async def aforward(self, seconds: float) -> Any:
            await asyncio.sleep(seconds)
            return dspy.Prediction(waited=True)

    return Waiting


def sleeping(base: Any) -> Any:
    """Sleeps the first time that it is given an item, and writes down each run: a straggler."""

    class Sleeping(base):  # type: ignore[misc]
        def forward(self, n: int, folder: str, seconds: float) -> Any:
            import os

            path = f"{folder}/{n}"
            first = not os.path.exists(path)
            with open(path, "a") as file:
                file.write("run\n")
            if n == 0 and first:
                time.sleep(seconds)
            return dspy.Prediction(n=n)

    return Sleeping


def meeting(base: Any) -> Any:
    """Says that it has begun, and waits so long for another that runs at the same time or before it."""

    class Meeting(base):  # type: ignore[misc]
        def forward(self, n: int, folder: str, seconds: float) -> Any:
            import os

            with open(f"{folder}/{n}", "x"):
                pass
            end = time.monotonic() + seconds
            while not (met := len(os.listdir(folder)) > 1) and time.monotonic() < end:
                time.sleep(0.002)
            return dspy.Prediction(met=met)

    return Meeting


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def logging_one(base: Any) -> Any:
    """Logs and warns as dspy does."""

    class Logging(base):  # type: ignore[misc]
        def forward(self) -> Any:
            import logging

            logging.getLogger("dspy.mine").warning("from inside")
            return dspy.Prediction(done=True)

    return Logging


class TwoPredictors(dspy.Predict):  # type: ignore[misc]
    """A Predict with another inside."""

    def __init__(self) -> None:
        super().__init__("a -> b")
        self.inner = dspy.Predict("b -> c")


def parent_of_predictors(base: Any) -> Any:
    """A Predict with another inside, as an attribute."""

    class Parent(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ps = TwoPredictors()

        def forward(self) -> None: ...

    return Parent
