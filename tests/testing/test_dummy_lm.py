"""A scripted LM is an LM like any other: adapters, history, usage, streaming, async, saved state. It has no state of its own."""

from __future__ import annotations

import asyncio
import copy
import threading
from typing import Any

import cloudpickle
import dspy
import pytest

import dspex_runtime.testing as testing
from dspex_runtime.testing import DummyLM

ANSWERS = {"capital of France": {"answer": "Paris"}, "re:capital of \\w+": {"answer": "unknown"}}


def shout(chat: testing.Chat) -> dict[str, str]:
    return {"answer": chat.inputs["question"].upper()}


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter()], ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("kind", [dspy.Predict, dspy.ChainOfThought])
def test_it_answers_whatever_the_adapter(adapter: Any, kind: Any) -> None:
    lm = DummyLM(ANSWERS)
    with dspy.context(lm=lm, adapter=adapter, track_usage=True):
        result = kind("question -> answer")(question="What is the capital of France?")
    assert result.answer == "Paris"
    assert result.get_lm_usage()["local/dummy"]["completion_tokens"] > 0
    assert len(lm.history) == 1


def test_it_answers_the_same_in_any_order_and_on_many_threads() -> None:
    lm = DummyLM(shout)
    program = dspy.Predict("question -> answer")  # not in the threads: see gh-106905, as in test_openai_server.py
    found: dict[str, str] = {}

    def ask(question: str) -> None:
        with dspy.context(lm=lm):
            found[question] = program(question=question).answer

    threads = [threading.Thread(target=ask, args=(f"q{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {f"q{n}": f"Q{n}" for n in range(8)}


@pytest.mark.parametrize("again", [copy.deepcopy, lambda lm: cloudpickle.loads(cloudpickle.dumps(lm)), lambda lm: lm.copy()])
def test_it_travels_with_its_script(again: Any) -> None:
    with dspy.context(lm=again(DummyLM(ANSWERS))):
        assert dspy.Predict("question -> answer")(question="capital of France").answer == "Paris"


def test_it_can_be_awaited_and_streamed() -> None:
    async def both() -> tuple[str, list[str]]:
        program = dspy.Predict("question -> answer")
        awaited = await program.acall(question="capital of France")
        listener = dspy.streaming.StreamListener(signature_field_name="answer")
        stream = dspy.streamify(program, stream_listeners=[listener])
        chunks = [chunk async for chunk in stream(question="capital of France")]
        return awaited.answer, ["".join(c.chunk for c in chunks[:-1]), chunks[-1].answer]

    with dspy.context(lm=DummyLM(ANSWERS)):
        assert asyncio.run(both()) == ("Paris", ["Paris", "Paris"])


def test_a_saved_program_that_has_it_loads_again() -> None:
    program = dspy.Predict("question -> answer")
    program.lm = DummyLM(ANSWERS, default={"answer": "no"})
    loaded = dspy.Predict("question -> answer")
    loaded.load_state(program.dump_state(), allow_unsafe_lm_state=True)
    assert [loaded(question=q).answer for q in ("capital of France", "x")] == ["Paris", "no"]


def test_what_nothing_fits_fails_and_says_so() -> None:
    with dspy.context(lm=DummyLM({}, num_retries=0)), pytest.raises(Exception, match="no answer is scripted"):
        dspy.Predict("question -> answer")(question="x")


def test_the_package_gives_it_without_importing_dspy_before() -> None:
    assert set(testing.__all__) <= {*dir(testing), "DummyLM"}
    with pytest.raises(AttributeError, match="Nothing"):
        testing.Nothing  # noqa: B018
