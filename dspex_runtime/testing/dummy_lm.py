"""A `dspy.LM` that answers from a script, in the process that asks. It never connects to anything."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import dspy
from dspy import lm15

from dspex_runtime.testing.answers import Answer, Answers, Script
from dspex_runtime.testing.chat import Chat
from dspex_runtime.testing.openai_format import usage, words

__all__ = ["DummyLM"]


class DummyLM(dspy.LM):  # type: ignore[misc] # dspy has no types
    """A `dspy.LM` that answers from a script, as dspy's own DummyLM does, for programs that run in many processes.

    Maps and functions have no state: every process gives the same answers, in any order of calls, after any restart. It counts
    tokens (words), streams, can be awaited, and a saved program or a checkpoint that has it loads again when its script is plain
    data. Use `dspy.utils.DummyLM` where a test wants exactly dspy's (follow_examples, one script over the calls of one process).

    In a YAML: `lm: {class: "dspex_runtime.testing:DummyLM", args: {answers: {"capital of France": {answer: Paris}}}}`

    Args:
        answers: See `dspex_runtime.testing.answers`.
        default: The answer where none fits; without it such a call fails.
        latency: Seconds that each answer takes.
        model: What history and usage call it.
    """

    def __init__(
        self,
        answers: Script | None = None,
        *,
        default: Answer | None = None,
        latency: float = 0.0,
        model: str = "local/dummy",
        engine: _Engine | None = None,
        cache: bool = False,
        **options: Any,
    ) -> None:
        if engine is None:
            engine = _Engine(Answers({} if answers is None else answers, default), latency)
        options["async_engine"] = _AsyncEngine(engine)  # a saved one would be another script
        super().__init__(model, engine=engine, cache=cache, **options)


class _Engine:
    """One request in, one response out."""

    def __init__(self, answers: Answers, latency: float) -> None:
        self.answers = answers
        self.latency = latency

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer after the latency."""
        if self.latency:
            time.sleep(self.latency)
        return self.answer(request)

    def answer(self, request: lm15.Request) -> lm15.Response:
        """Answer now."""
        chat = _chat(request)
        text = self.answers(chat)
        tokens = usage("\n".join(content for _, content in chat.messages), [text])
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=tokens["prompt_tokens"], output_tokens=tokens["completion_tokens"]),
        )

    def stream(self, request: lm15.Request) -> Iterator[Any]:
        """Yield the response, a word each: dspy's listeners look for markers in small pieces."""
        yield from _events(self.complete(request))

    def dump_state(self) -> dict[str, Any]:
        """Return the script; dspy refuses to save one that is no plain data."""
        return {"answers": self.answers.script, "default": self.answers.default, "latency": self.latency}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> _Engine:
        """Return an engine with the script that was saved."""
        return cls(Answers(state["answers"], state["default"]), state["latency"])


class _AsyncEngine:
    """The same script for `acall`."""

    def __init__(self, engine: _Engine) -> None:
        self.engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer after the latency, letting others go on."""
        import asyncio

        await asyncio.sleep(self.engine.latency)
        return self.engine.answer(request)

    async def stream(self, request: lm15.Request) -> AsyncIterator[Any]:
        """Yield the response, a word each."""
        for event in _events(await self.complete(request)):
            yield event

    def dump_state(self) -> dict[str, Any]:
        """Return what dspy asks for; the script is the other engine's."""
        return self.engine.dump_state()

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> _AsyncEngine:
        """Return an engine with the script that was saved."""
        return cls(_Engine.load_state(state))


def _events(response: lm15.Response) -> Iterator[Any]:
    for event in lm15.response_to_events(response):
        if event.type != "delta":
            yield event
            continue
        for word in words(event.delta.text):
            yield lm15.StreamDeltaEvent(delta=lm15.TextDelta(text=word, part_index=event.delta.part_index))


def _chat(request: lm15.Request) -> Chat:
    system = request.system
    text = system if isinstance(system, str) or system is None else "".join(part.text for part in system)
    messages = [] if text is None else [("system", text)]
    messages += [(message.role, message.text or "") for message in request.messages]
    return Chat(tuple(messages), request.model)
