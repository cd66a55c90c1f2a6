"""Programs, LMs and callbacks for the tests of relayed calls. The same program is run here and hosted."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from typing import Any

import dspy
from dspy import lm15
from dspy.utils.callback import ACTIVE_CALL_ID, BaseCallback

ANSWERS = [{"query": f"q{n}", "reasoning": f"r{n}", "answer": f"a{n}", "verdict": f"v{n}"} for n in range(100)]


def look(text: str) -> str:
    """Looks it up."""
    return f"found {text}"


class Hops(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = dspy.Predict("question -> query")
        self.two = dspy.ChainOfThought("query -> answer")
        self.tool = dspy.Tool(look)

    def forward(self, question: str) -> Any:
        query = self.one(question=question).query
        self.tool(text=query)
        return self.two(query=query)

    async def aforward(self, question: str) -> Any:
        query = (await self.one.acall(question=question)).query
        await self.tool.acall(text=query)
        return await self.two.acall(query=query)


class Program(dspy.Module):
    """Two levels, a tool, three predictors; does what its argument says."""

    def __init__(self) -> None:
        super().__init__()
        self.hops = Hops()
        self.judge = dspy.Predict("answer -> verdict")

    def forward(self, question: str, then: str = "") -> Any:
        found = self.hops(question=question)
        match then:
            case "fail":
                raise ValueError(f"no {question}")
            case "foreign":
                return dspy.Predict("answer -> verdict")(answer=found.answer)
            case "found":
                return found
            case "two":
                return found, 2
            case "settings":
                return {key: dspy.settings.get(key) for key in ("num_threads", "mine", "rm")} | {
                    "adapter": str(dspy.settings.adapter)
                }
            case "parallel":
                pairs = [(self.judge, {"answer": str(n)}) for n in range(3)]
                return dspy.Prediction(verdicts=[p.verdict for p in dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)])
        verdict = self.judge(answer=found.answer).verdict
        return dspy.Prediction(verdict=verdict, answer=found.answer)

    async def aforward(self, question: str, then: str = "") -> Any:
        found = await self.hops.acall(question=question)
        if then == "fail":
            raise ValueError(f"no {question}")
        return dspy.Prediction(verdict=(await self.judge.acall(answer=found.answer)).verdict, answer=found.answer)


class Plain(dspy.Module):
    """Calls no LM."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Any] = []
        self.ended: list[Any] = []
        self.released = threading.Event()

    def forward(self, x: Any = None, wait: bool = False) -> Any:
        self.runs.append(x)
        if wait and self.runs.count(x) == 1:
            self.released.wait(30)
            try:
                dspy.Predict("a -> b")(a="x")
            except BaseException as exc:
                self.ended.append(type(exc).__name__)
                raise
        return dspy.Prediction(x=x)

    def seen(self) -> Any:
        return len(self.runs)

    def release(self) -> None:
        self.released.set()

    def how_it_ended(self) -> Any:
        return list(self.ended)


class Loud(dspy.Module):
    """Has dspy complain: an input that no field takes; and warns itself."""

    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        if question == "warn":
            warnings.warn("mind this", UserWarning, stacklevel=1)
        return self.ask(question=question, unknown=1)


class OnlyAsync(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    async def aforward(self, question: str) -> Any:
        return await self.ask.acall(question=question)


class Words:
    """An engine that says its answer word by word."""

    def __init__(self, text: str) -> None:
        self.text = text

    def complete(self, request: Any) -> Any:
        message = lm15.Message.assistant([lm15.TextPart(self.text)])
        usage = lm15.Usage(input_tokens=3, output_tokens=4, total_tokens=7)
        return lm15.Response(id="1", model="words", message=message, finish_reason="stop", usage=usage)

    def stream(self, request: Any) -> Iterator[Any]:
        start, *_, end = lm15.response_to_events(self.complete(request))
        yield start
        for word in self.text.split(" "):
            yield lm15.StreamDeltaEvent(delta=lm15.TextDelta(text=f"{word} ", part_index=0))
        yield end

    def close(self) -> None: ...


class AsyncWords:
    def __init__(self, words: Words) -> None:
        self.words = words

    async def complete(self, request: Any) -> Any:
        return self.words.complete(request)

    async def stream(self, request: Any) -> Any:
        for event in self.words.stream(request):
            yield event

    async def aclose(self) -> None: ...


SAID = {"reasoning": "well then", "query": "look at", "answer": "one two three", "verdict": "good"}


def streaming_lm() -> Any:
    words = Words("\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in (SAID | {"completed": ""}).items()))
    return dspy.LM("local/words", engine=words, async_engine=AsyncWords(words), cache=False)


class Diary(BaseCallback):
    """Writes down every event: what, of what, inside what, with which data."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lines: list[Any] = []
        self.instances: list[Any] = []
        self.ids: dict[str | None, int] = {}
        self.errors: list[Any] = []

    def _id(self, call_id: str | None) -> Any:
        return None if call_id is None else self.ids.setdefault(call_id, len(self.ids))

    def started(self, kind: str, call_id: str, instance: Any, inputs: Any) -> None:
        self.instances.append(instance)
        data = inputs if kind in ("module", "tool") else sorted(inputs)
        self.lines.append(("start", kind, self._id(ACTIVE_CALL_ID.get()), self._id(call_id), data))

    def ended(self, kind: str, call_id: str, outputs: Any, exception: Any) -> None:
        self.errors.append(exception)
        self.lines.append(("end", kind, self._id(ACTIVE_CALL_ID.get()), self._id(call_id), repr(outputs), repr(exception)))


def _handlers(kind: str) -> Any:
    def on_start(self: Diary, call_id: str, instance: Any, inputs: Any) -> None:
        self.started(kind, call_id, instance, inputs)

    def on_end(self: Diary, call_id: str, outputs: Any, exception: Any = None) -> None:
        self.ended(kind, call_id, outputs, exception)

    return on_start, on_end


for _kind in ("module", "lm", "adapter_format", "adapter_parse", "tool"):
    _start, _end = _handlers(_kind)
    setattr(Diary, f"on_{_kind}_start", _start)
    setattr(Diary, f"on_{_kind}_end", _end)
