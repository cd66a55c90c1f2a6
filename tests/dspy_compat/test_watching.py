"""A call watched while it runs: callbacks with their nesting, streaming, and async."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest
from dspy.streaming import StatusMessage, StatusMessageProvider, StreamListener, StreamResponse
from dspy_compat import programs
from dspy_compat.ways import Way

CALL = [("lm start", "LM"), ("lm end", "list")]


def of(note: programs.Noting, *kinds: str) -> list[tuple[str, Any]]:
    return [event for event in note.events if event[0].split()[0] in kinds]


def test_callbacks_of_the_settings_see_everything_in_order(way: Way) -> None:
    program, note = way(programs.hops), programs.Noting()
    with dspy.context(lm=programs.answering(), callbacks=[note]):
        program(question="?")
    assert of(note, "module") == [
        ("module start", "Hops"),
        ("module start", "Predict"),
        ("module end", "Prediction"),
        ("module start", "ChainOfThought"),
        ("module start", "Predict"),
        ("module end", "Prediction"),
        ("module end", "Prediction"),
        ("module end", "Prediction"),
    ]
    assert [kind for kind, _ in of(note, "lm", "format", "parse")] == ["format start", "lm start", "lm end", "parse start"] * 2


def test_callbacks_are_given_the_programs_own_objects(way: Way) -> None:
    program, lm, note = way(programs.hops), programs.answering(), programs.Noting()
    with dspy.context(lm=lm, callbacks=[note]):
        program(question="?")
    modules = [instance for instance in note.instances if isinstance(instance, dspy.Module)]
    assert [modules.index(m) for m in (program, program.one, program.two, program.two.predict)] == [0, 1, 2, 3]
    assert [instance is lm for instance in note.instances if isinstance(instance, dspy.BaseLM)] == [True, True]


def test_events_are_nested_by_their_ids(way: Way) -> None:
    program, note = way(programs.hops), programs.Noting()
    with dspy.context(lm=programs.answering(), callbacks=[note]):
        program(question="?")
    ids = list(note.ids)
    names = [type(instance).__name__ for instance in note.instances]
    parents = [names[ids.index(parent)] if parent in ids else None for parent in note.ids.values()]
    root = "Hops"
    assert len(set(ids)) == len(ids)
    assert list(zip(names, parents, strict=True)) == [
        (root, None),
        ("Predict", root),
        ("ChatAdapter", "Predict"),
        ("DummyLM", "Predict"),
        ("ChatAdapter", "Predict"),
        ("ChainOfThought", root),
        ("Predict", "ChainOfThought"),
        ("ChatAdapter", "Predict"),
        ("DummyLM", "Predict"),
        ("ChatAdapter", "Predict"),
    ]


def test_callbacks_of_an_instance_see_that_instance(way: Way) -> None:
    program, root, inner = way(programs.hops), programs.Noting(), programs.Noting()
    program.callbacks.append(root)
    program.two.callbacks.append(inner)
    with dspy.context(lm=programs.answering()):
        program(question="?")
    assert root.events == [("module start", "Hops"), ("module end", "Prediction")]
    assert inner.events == [("module start", "ChainOfThought"), ("module end", "Prediction")]


def test_callbacks_of_a_program_hear_when_it_calls_itself(way: Way) -> None:
    program, note = way(programs.descending), programs.Noting()
    program.callbacks.append(note)
    program(n=2)
    assert note.events == [("module start", "Descending")] * 3 + [("module end", "Prediction")] * 3
    assert note.instances == [program] * 3


def test_callbacks_that_an_instance_was_built_with_are_kept(way: Way) -> None:
    root, inner = programs.Noting(), programs.Noting()

    def build(base: Any) -> Any:
        program = programs.hops(base)()
        program.callbacks.append(root)
        program.two.predict.callbacks.append(inner)
        return program

    program = way.instance(build)
    with dspy.context(lm=programs.answering()):
        program(question="?")
    assert root.events == [("module start", "Hops"), ("module end", "Prediction")]
    assert inner.events == [("module start", "Predict"), ("module end", "Prediction")]
    assert inner.instances == [program.two.predict]


def test_callbacks_see_a_failure_and_their_own_failures_are_swallowed(way: Way) -> None:
    class Broken(programs.Noting):
        def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            super().on_module_start(call_id, instance, inputs)
            raise RuntimeError("in a callback")

    program, note = way(programs.failing), Broken()
    with dspy.context(lm=programs.answering(), callbacks=[note]), pytest.raises(KeyError):
        program(question="?")
    assert [what for kind, what in of(note, "module") if kind == "module end"] == ["Prediction", "KeyError"]


def test_a_callback_is_told_the_inputs(way: Way) -> None:
    seen: list[Any] = []

    class Inputs(programs.Noting):
        def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            seen.append(inputs)

    program = way(programs.hops)
    with dspy.context(lm=programs.answering(), callbacks=[Inputs()]):
        program("positional")
    assert seen[:2] == [{"args": ("positional",), "kwargs": {}}, {"args": (), "kwargs": {"question": "positional"}}]


def test_an_awaited_call_is_as_the_other(way: Way) -> None:
    program, lm, note = way(programs.hops), programs.answering(), programs.Noting()

    async def ask() -> Any:
        with dspy.context(lm=lm, trace=[], callbacks=[note]):
            result = await program.acall(question="?")
            return result, list(dspy.settings.trace)

    result, trace = asyncio.run(ask())
    assert result.toDict() == {"reasoning": "r", "answer": "yes"}
    assert [predictor for predictor, _, _ in trace] == program.predictors()
    assert len(lm.history) == len(program.history) == 2
    assert of(note, "module")[:2] == [("module start", "Hops"), ("module start", "Predict")]


def test_awaited_calls_run_side_by_side(way: Way) -> None:
    program = way(programs.hops)

    async def ask() -> list[Any]:
        with dspy.context(lm=programs.answering()):
            return await asyncio.gather(*(program.acall(question=str(n)) for n in range(4)))

    assert [result.answer for result in asyncio.run(ask())] == ["yes"] * 4


def test_a_program_that_can_only_be_awaited(way: Way) -> None:
    program = way(programs.waiting)
    assert asyncio.run(program.acall(seconds=0)).waited


def test_a_program_that_cannot_be_awaited_says_so(way: Way) -> None:
    program = way(programs.doubling)
    if way.differs("await"):
        assert asyncio.run(program.acall(n=1)).n == 2
        return
    with pytest.raises(AttributeError, match="aforward"):
        asyncio.run(program.acall(n=1))


def test_a_program_that_can_only_be_awaited_says_so_to_a_plain_call(way: Way) -> None:
    program = way(programs.waiting)
    if way.differs("await"):
        assert program(seconds=0).waited
        return
    with pytest.raises(AttributeError, match="forward"):
        program(seconds=0)


def test_asyncify_and_syncify_wrap_it(way: Way) -> None:
    program, lm = way(programs.hops), programs.answering()

    async def ask() -> Any:
        with dspy.context(lm=lm):
            return await dspy.asyncify(program)(question="?")

    assert asyncio.run(ask()).answer == "yes"
    with dspy.context(lm=lm):
        assert dspy.syncify(way(programs.hops), in_place=False)(question="?").answer == "yes"
    assert len(lm.history) == 4


def streamed(stream: Any, **inputs: Any) -> list[Any]:
    async def collect() -> list[Any]:
        with dspy.context(lm=programs.counting()):
            return [value async for value in stream(**inputs)]

    return asyncio.run(collect())


def test_a_listener_gets_the_chunks_of_its_field(way: Way) -> None:
    program = way(programs.hops)
    stream = dspy.streamify(program, stream_listeners=[StreamListener("answer"), StreamListener("query")])
    values = streamed(stream, question="?")
    chunks = [value for value in values if isinstance(value, StreamResponse)]
    parts = ("one", "two.predict")
    text = {name: "".join(chunk.chunk for chunk in chunks if chunk.predict_name == name).strip() for name in parts}
    assert text == {"one": "look", "two.predict": "yes"}
    assert {chunk.signature_field_name for chunk in chunks} == {"answer", "query"}
    assert isinstance(values[-1], dspy.Prediction)
    assert values[-1].answer == "yes"


def test_without_listeners_the_lms_own_chunks_come(way: Way) -> None:
    program = way(programs.hops)
    values = streamed(dspy.streamify(program), question="?")
    chunks = [value for value in values if not isinstance(value, dspy.Prediction | StatusMessage)]
    assert {chunk.predict_id for chunk in chunks} == {id(program.one), id(program.two.predict)}
    assert values[-1].answer == "yes"


def test_an_async_program_is_streamed(way: Way) -> None:
    stream = dspy.streamify(way(programs.hops), stream_listeners=[StreamListener("answer")], is_async_program=True)
    values = streamed(stream, question="?")
    assert "".join(value.chunk for value in values[:-1]).strip() == "yes"


def test_a_stream_can_be_read_without_async(way: Way) -> None:
    stream = dspy.streamify(way(programs.hops), stream_listeners=[StreamListener("answer")], async_streaming=False)
    with dspy.context(lm=programs.counting()):
        values = list(stream(question="?"))
    assert "".join(value.chunk for value in values[:-1]).strip() == "yes"
    assert values[-1].answer == "yes"


def test_status_messages_are_made_of_what_runs(way: Way) -> None:
    class Provider(StatusMessageProvider):  # type: ignore[misc]
        def module_start_status_message(self, instance: Any, inputs: Any) -> str:
            return f"{type(instance).__name__} begins"

        def lm_start_status_message(self, instance: Any, inputs: Any) -> str:
            return "asked"

    values = streamed(dspy.streamify(way(programs.hops), status_message_provider=Provider()), question="?")
    messages = [value.message for value in values if isinstance(value, StatusMessage)]
    assert messages == ["Hops begins", "Predict begins", "asked", "ChainOfThought begins", "Predict begins", "asked"]


def test_a_failure_in_a_stream_is_its_own_exception(way: Way) -> None:
    with pytest.raises(KeyError, match="inside"):
        streamed(dspy.streamify(way(programs.failing)), question="?")
