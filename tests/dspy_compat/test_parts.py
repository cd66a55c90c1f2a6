"""A composite whose sub-modules are processes of their own keeps the promises of the same composite in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.streaming import StreamListener, StreamResponse
from dspy_compat import programs
from dspy_compat.ways import Way, starting

import dspex_runtime as dx

NAMES = ["k", "find.strict", "find.look.predict", "think", "last"]
PREDICTORS = ["find.look.predict", "think", "last"]


@pytest.fixture(params=["native", pytest.param("parts", marks=pytest.mark.process)])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """In one process, or in three."""
    if request.param == "native":
        yield Way("native")
        return
    with starting(request.getfixturevalue("runtime")) as start:
        yield Way("parts", start)


def composite(base: Any) -> Any:
    class Find(base):  # type: ignore[misc]
        strict = dx.Parameter(bool, default=False)

        def __init__(self, fails: bool = False) -> None:
            super().__init__()
            self.fails = fails
            self.look = dspy.ChainOfThought("question -> query")

        def forward(self, question: str) -> Any:
            if self.strict:
                raise KeyError("strict")
            return self.look(question=question)

        async def aforward(self, question: str) -> Any:
            return await self.look.acall(question=question)

    class Answer(base):  # type: ignore[misc]
        k = dx.Parameter(int, default=1)
        find = dx.sub_module(Find)
        think = dx.sub_module(dspy.Predict, signature="query -> rationale")

        def __init__(self) -> None:
            super().__init__()
            self.last = dspy.Predict("question, query, rationale -> answer")

        def forward(self, question: str) -> Any:
            query = self.find(question=question).query
            rationale = self.think(query=query).rationale
            return self.last(question=question, query=query, rationale=rationale)

        async def aforward(self, question: str) -> Any:
            query = (await self.find.acall(question=question)).query
            rationale = (await self.think.acall(query=query)).rationale
            return await self.last.acall(question=question, query=query, rationale=rationale)

    return Answer


@pytest.fixture
def program(way: Way) -> Any:
    way.base = dx.Module
    return way(composite)


def predictors(program: Any) -> list[Any]:
    return [program.find.look.predict, program.think, program.last]


def test_its_tree_is_named_as_ever(program: Any) -> None:
    assert sorted(name for name, _ in program.named_parameters()) == sorted(NAMES)
    assert [name for name, _ in program.named_predictors()] == PREDICTORS
    assert [predictor for _, predictor in program.named_predictors()] == predictors(program)
    assert isinstance(program.think, dspy.Predict)
    assert {name.removeprefix("self.") for name, _ in program.named_sub_modules()} >= {"find", "find.look", "last"}


def test_it_answers_and_can_be_called_part_by_part(program: Any) -> None:
    with dspy.context(lm=programs.answering()):
        assert program(question="?").answer == "yes"
        assert program.find(question="?").query == "look"
        assert program.think(query="?").rationale == "r"
        assert program.find.look.predict(question="?").query == "look"


def test_the_trace_has_its_own_predictors(program: Any) -> None:
    with dspy.context(lm=programs.answering(), trace=[]):
        program(question="?")
        trace = dspy.settings.trace
    assert [predictor for predictor, _, _ in trace] == predictors(program)
    assert [inputs for _, inputs, _ in trace] == [
        {"question": "?"},
        {"query": "look"},
        {"question": "?", "query": "look", "rationale": "r"},
    ]
    assert trace[-1][-1].answer == "yes"


def test_histories_have_every_call_where_it_belongs(program: Any) -> None:
    lm = programs.answering()
    with dspy.context(lm=lm):
        program(question="?")
    assert len(lm.history) == 3
    assert [len(part.history) for part in (program, program.find, *predictors(program))] == [3, 1, 1, 1, 1]
    assert program.find.history[0] is lm.history[0]


def test_usage_is_counted_through_the_parts(program: Any) -> None:
    with dspy.context(lm=programs.counting(), track_usage=True):
        said = program(question="?")
    (usage,) = said.get_lm_usage().values()
    assert usage["total_tokens"] == 9


def test_callbacks_see_everything_in_order_and_the_very_objects(program: Any) -> None:
    note = programs.Noting()
    with dspy.context(lm=programs.answering(), callbacks=[note]):
        program(question="?")
    started = [instance for instance in note.instances if isinstance(instance, dspy.Module)]
    assert [
        each is one for each, one in zip(started, [program, program.find, program.find.look, *predictors(program)], strict=True)
    ] == [True] * 6
    assert [event for event in note.events if event[0].startswith("module")] == [
        ("module start", "Answer"),
        ("module start", "Find"),
        ("module start", "ChainOfThought"),
        ("module start", "Predict"),
        ("module end", "Prediction"),
        ("module end", "Prediction"),
        ("module end", "Prediction"),
        ("module start", "Predict"),
        ("module end", "Prediction"),
        ("module start", "Predict"),
        ("module end", "Prediction"),
        ("module end", "Prediction"),
    ]


def test_callbacks_of_a_part_see_that_part(program: Any) -> None:
    root, inner = programs.Noting(), programs.Noting()
    program.find.callbacks.append(root)
    program.find.look.callbacks.append(inner)
    with dspy.context(lm=programs.answering()):
        program(question="?")
    assert root.events == [("module start", "Find"), ("module end", "Prediction")]
    assert inner.events == [("module start", "ChainOfThought"), ("module end", "Prediction")]


def test_a_state_goes_out_and_in(program: Any, tmp_path: Path) -> None:
    demo = {"query": "q", "rationale": "r"}
    program.think.demos = [demo]
    program.find.strict = True
    saved = program.dump_state()
    assert sorted(saved) == sorted(NAMES)
    program.save(tmp_path / "state.json")
    program.think.demos = []
    program.find.strict = False
    program.load(tmp_path / "state.json")
    assert (program.think.demos, program.find.strict) == ([demo], True)
    assert program.dump_state() == saved


def test_a_state_that_lacks_something_changes_nothing(program: Any) -> None:
    state = program.dump_state()
    program.think.demos = [{"query": "q", "rationale": "r"}]
    program.find.strict = True
    before = program.dump_state()
    for missing in PREDICTORS:
        with pytest.raises(KeyError):
            program.load_state({name: value for name, value in state.items() if name != missing})
        assert program.dump_state() == before


def test_one_lm_for_all(program: Any) -> None:
    lm = programs.answering(answer="set")
    program.set_lm(lm)
    assert program.get_lm() is lm
    assert program.find.get_lm() is lm
    assert program(question="?").answer == "set"
    assert len(lm.history) == 3


def test_the_callers_settings_hold_in_the_parts(program: Any) -> None:
    with dspy.context(lm=programs.answering(query="outer")):
        assert program.find(question="?").query == "outer"
        with dspy.context(lm=programs.answering(query="inner")):
            assert program(question="?").answer == "yes"
            assert dspy.settings.lm.history[0]["messages"][-1]["content"].count("?") >= 1
    lm = programs.answering(query="think")
    program.think.lm = lm
    with dspy.context(lm=programs.answering()):
        program(question="?")
    assert len(lm.history) == 1


def test_an_edit_of_a_part_holds_for_the_next_call_of_the_whole(program: Any) -> None:
    lm = programs.answering()
    program.think.demos = [dspy.Example(query="once upon a time", rationale="because")]
    program.find.look.predict.signature = program.find.look.predict.signature.with_instructions("Look well.")
    with dspy.context(lm=lm):
        program(question="?")
    assert "once upon a time" in str(lm.history[1]["messages"])
    assert "Look well." in str(lm.history[0]["messages"])


def test_a_copy_is_its_own_parts_and_all(program: Any) -> None:
    twin = program.deepcopy()
    twin.think.demos = [dspy.Example(query="only here", rationale="r")]
    twin.find.strict = True
    lm = programs.answering()
    with dspy.context(lm=lm):
        with pytest.raises(KeyError, match="strict"):
            twin(question="?")
        assert program(question="?").answer == "yes"
        twin.find.strict = False
        assert twin(question="?").answer == "yes"
    assert (program.think.demos, program.find.strict) == ([], False)
    assert "only here" not in str(lm.history[1]["messages"])
    assert "only here" in str(lm.history[-2]["messages"])
    assert program.reset_copy().think.demos == []


def test_what_a_part_raises_is_raised(program: Any) -> None:
    program.find.strict = True
    with dspy.context(lm=programs.answering()), pytest.raises(KeyError, match="strict"):
        program(question="?")


def test_an_optimizer_finds_demos_for_every_part(program: Any) -> None:
    examples = [dspy.Example(question=f"q{n}", answer="yes").with_inputs("question") for n in range(2)]
    with dspy.context(lm=programs.answering()):
        optimizer = dspy.BootstrapFewShot(
            metric=lambda example, said, trace=None: said.answer == example.answer, max_labeled_demos=0
        )
        compiled = optimizer.compile(program, trainset=examples)
        assert [len(predictor.demos) for predictor in predictors(compiled)] == [2, 2, 2]
        assert compiled(question="?").answer == "yes"
    assert [predictor.demos for predictor in predictors(program)] == [[], [], []]


def test_it_is_evaluated_and_batched(program: Any) -> None:
    examples = [dspy.Example(question=f"q{n}", answer="yes").with_inputs("question") for n in range(3)]
    with dspy.context(lm=programs.answering()):
        score = dspy.Evaluate(devset=examples, metric=lambda example, said: said.answer == example.answer, num_threads=2)(program)
        assert score.score == 100.0
        assert [said.answer for said in program.batch(examples, num_threads=2)] == ["yes"] * 3


def test_it_is_awaited(program: Any) -> None:
    async def main() -> Any:
        with dspy.context(lm=programs.answering()):
            return await program.acall(question="?"), await program.find.acall(question="?")

    whole, part = asyncio.run(main())
    assert (whole.answer, part.query) == ("yes", "look")


def test_chunks_of_a_part_come_through(program: Any) -> None:
    async def main() -> list[Any]:
        listeners = [StreamListener("query", predict=program.find.look.predict)]
        streamed = dspy.streamify(program, stream_listeners=listeners)
        with dspy.context(lm=programs.counting()):
            return [item async for item in streamed(question="?")]

    items = asyncio.run(main())
    chunks = [item for item in items if isinstance(item, StreamResponse)]
    assert "".join(chunk.chunk for chunk in chunks).strip() == "look"
    assert {chunk.signature_field_name for chunk in chunks} == {"query"}
    assert items[-1].answer == "yes"


def test_its_predictors_are_replaced_at_once(program: Any) -> None:
    def with_demo(predictor: Any) -> Any:
        predictor.demos = [{"a": "b"}]
        return predictor

    program.map_named_predictors(with_demo)
    assert [predictor.demos for predictor in predictors(program)] == [[{"a": "b"}]] * 3
