"""dspy's own modules: Predict and its privileged arguments, the ones made of it, and the ones that run other programs."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY
from dspy.predict.parameter import Parameter
from dspy_compat import programs
from dspy_compat.ways import Way
from pydantic import BaseModel


class Point(BaseModel):
    x: int
    y: int


def test_a_bare_predict_is_a_predict_and_its_own_parameter(way: Way) -> None:
    predict = way.builtin(dspy.Predict, "question -> answer", temperature=0.5)
    assert isinstance(predict, dspy.Predict)
    assert isinstance(predict, Parameter)
    assert predict.named_parameters() == [("self", predict)]
    assert list(predict.dump_state()) == ["traces", "train", "demos", "signature", "lm"]
    assert (predict.demos, predict.traces, predict.train, predict.lm) == ([], [], [], None)
    assert (predict.config, predict.get_config()) == ({"temperature": 0.5},) * 2
    assert list(predict.signature.fields) == ["question", "answer"]
    with dspy.context(lm=programs.answering(), trace=[]):
        assert predict(question="?").answer == "yes"
        assert dspy.settings.trace[0][0] is predict


def test_a_bare_predict_is_edited_reset_and_loaded(way: Way) -> None:
    predict, lm = way.builtin(dspy.Predict, "question -> answer"), programs.answering()
    predict.demos.append(dspy.Example(question="shown", answer="before"))
    predict.signature = predict.signature.with_instructions("Look.")
    predict.update_config(temperature=0.7)
    with dspy.context(lm=lm):
        predict(question="?")
        assert "shown" in str(lm.history[0]["messages"])
        assert "Look." in str(lm.history[0]["messages"])
        assert lm.history[0]["kwargs"]["temperature"] == 0.7
        state = predict.dump_state()
        predict.reset()
        assert predict.demos == []
        predict(question="?")
        assert "shown" not in str(lm.history[1]["messages"])
        assert predict.load_state(state) is predict
        predict(question="?")
        assert "shown" in str(lm.history[2]["messages"])


def test_the_privileged_arguments_of_predict_are_dspys(way: Way) -> None:
    predict, lm = way.builtin(dspy.Predict, "question -> answer"), programs.answering()
    with dspy.context(lm=lm, trace=[]):
        predict(question="?", demos=[{"question": "shown", "answer": "once"}], config={"temperature": 0.9}, _trace=False)
        assert dspy.settings.trace == []
        assert predict(question="?", signature="question -> b").b == "B"
        with pytest.raises(ValueError, match="Positional arguments are not allowed"):
            predict("?")
        with pytest.raises(ValueError, match="must be an instance"):
            predict(question="?", lm="openai/x")
    assert "shown" in str(lm.history[0]["messages"])
    assert lm.history[0]["kwargs"]["temperature"] == 0.9
    assert predict.demos == []
    assert predict.config == {}


def test_predict_warns_about_its_inputs(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    predict = way.builtin(dspy.Predict, "question, number: int -> answer")
    with dspy.context(lm=programs.answering()):
        predict(question="?", number="one", other=1)
        predict(question="?")
    said = " ".join(record.getMessage() for record in caplog.records)
    expected = ["other", "Type mismatch", "Not all input fields were provided"]
    assert [text in said for text in expected] == [not way.differs("logs")] * 3


def test_what_is_predicted_beforehand_goes_to_the_lm(way: Way) -> None:
    predict, lm = way.builtin(dspy.Predict, "question -> answer"), programs.answering()
    predicted = {"type": "content", "content": "yes"}
    with dspy.context(lm=lm):
        predict(question="?", prediction=predicted)
        with pytest.raises(AssertionError, match="new_signature"):
            predict(question="?", new_signature="question -> b")
    assert lm.history[0]["kwargs"]["prediction"] == predicted


def test_several_completions(way: Way) -> None:
    predict = way.builtin(dspy.Predict, "question -> answer", n=3)
    lm = dspy.utils.DummyLM([{"answer": str(number)} for number in range(3)])
    with dspy.context(lm=lm):
        result = predict(question="?")
    assert (result.answer, result.completions.answer) == ("0", ["0", "1", "2"])


def test_typed_fields_arrive_as_their_type(way: Way) -> None:
    signature = dspy.Signature("question -> point: Point", custom_types={"Point": Point})
    predict = way.builtin(dspy.Predict, signature)
    with dspy.context(lm=programs.answering(point='{"x": 1, "y": 2}')):
        result = predict(question="?")
    assert type(result.point) is Point
    assert result.point == Point(x=1, y=2)


def test_chain_of_thought_reasons_first(way: Way) -> None:
    program = way.builtin(dspy.ChainOfThought, "question -> answer", temperature=0.3)
    assert [name for name, _ in program.named_parameters()] == ["predict"]
    assert list(program.predict.signature.output_fields) == ["reasoning", "answer"]
    with dspy.context(lm=programs.answering()):
        assert program(question="?").toDict() == {"reasoning": "r", "answer": "yes"}
        assert asyncio.run(program.acall(question="?")).answer == "yes"


REACT = [
    {"next_thought": "add", "next_tool_name": "add", "next_tool_args": {"a": 1, "b": 2}},
    {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}},
    {"reasoning": "r", "answer": "3"},
]


def test_react_uses_its_tools(way: Way) -> None:
    program = way.builtin(dspy.ReAct, "question -> answer", tools=[programs.add])
    note = programs.Noting()
    assert [name for name, _ in program.named_parameters()] == ["react", "extract.predict"]
    with dspy.context(lm=dspy.utils.DummyLM(REACT), callbacks=[note]):
        result = program(question="1+2?")
    assert (result.answer, result.trajectory["observation_0"], result.trajectory["tool_name_1"]) == ("3", 3, "finish")
    assert [event for event in note.events if event[0] == "tool end"] == [("tool end", "int"), ("tool end", "str")]


def test_a_tool_written_on_the_spot(way: Way) -> None:
    program = way.builtin(dspy.ReAct, "question -> answer", tools=[dspy.Tool(lambda a, b: a * b, name="add", desc="times")])
    with dspy.context(lm=dspy.utils.DummyLM(REACT)):
        assert program(question="?").trajectory["observation_0"] == 2


def test_a_tool_that_counts_in_the_callers_memory(way: Way) -> None:
    calls: list[tuple[int, int]] = []

    def counting_add(a: int, b: int) -> int:
        calls.append((a, b))
        return a + b

    program = way.builtin(dspy.ReAct, "question -> answer", tools=[dspy.Tool(counting_add, name="add")])
    with dspy.context(lm=dspy.utils.DummyLM(REACT)):
        assert program(question="?").trajectory["observation_0"] == 3
    assert calls == ([] if way.differs("closures") else [(1, 2)])


QA = "question -> answer"
BUILTINS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "ChainOfThought": (dspy.ChainOfThought, (QA,), {}),
    "ReAct": (dspy.ReAct, (QA, [programs.add]), {}),
    "ReActV2": (dspy.ReActV2, (QA, [programs.add]), {}),
    "MultiChainComparison": (dspy.MultiChainComparison, (QA,), {"M": 2}),
    "ProgramOfThought": (dspy.ProgramOfThought, (QA,), {}),
    "CodeAct": (dspy.CodeAct, (QA, [programs.add]), {}),
    "RLM": (dspy.RLM, (QA,), {}),
    "SemanticF1": (dspy.evaluate.SemanticF1, (), {}),
    "CompleteAndGrounded": (dspy.evaluate.CompleteAndGrounded, (), {}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BUILTINS)
def test_dspys_own_modules_have_the_parts_they_have_in_process(way: Way, name: str) -> None:
    cls, args, kwargs = BUILTINS[name]
    expected, program = cls(*args, **kwargs), way.builtin(cls, *args, **kwargs)
    assert [part for part, _ in program.named_parameters()] == [part for part, _ in expected.named_parameters()]
    assert [part for part, _ in program.named_predictors()] == [part for part, _ in expected.named_predictors()]
    assert [part for part, _ in program.named_sub_modules()] == [part for part, _ in expected.named_sub_modules()]
    assert program.dump_state() == expected.dump_state()


@pytest.mark.filterwarnings("ignore")
def test_a_flex_is_a_parameter_of_itself(way: Way) -> None:
    flex = way.builtin(dspy.Flex, QA)
    assert isinstance(flex, dspy.Module)
    assert flex.named_predictors() == []
    assert flex.named_parameters() == ([] if way.differs("flex") else [("self", flex)])


@pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning")
def test_multi_chain_comparison(way: Way) -> None:
    program = way.builtin(dspy.MultiChainComparison, "question -> answer", M=2)
    completions = [dspy.Prediction(rationale="r", answer=text) for text in ("a", "b")]
    with dspy.context(lm=programs.answering()):
        assert program(completions, question="?").answer == "yes"


def scored(inputs: Any, prediction: Any) -> float:
    return {"first": 0.1, "second": 0.9, "third": 0.3}[prediction.answer]


def rising() -> Any:
    return programs.ByTry({"answer": "first"}, {"answer": "second"}, {"answer": "third"})


def test_best_of_n_runs_a_program_and_keeps_the_best(way: Way) -> None:
    best = dspy.BestOfN(way(programs.single), N=3, reward_fn=scored, threshold=1.0)
    with dspy.context(lm=rising(), trace=[]):
        assert best(question="?").answer == "second"
        assert len(dspy.settings.trace) == 1
    assert [name for name, _ in best.named_parameters()] == ["module.predict"]


def test_best_of_n_is_hosted_itself(way: Way) -> None:
    inner = programs.single(dspy.Module)()
    best = way.builtin(dspy.BestOfN, inner, N=3, reward_fn=scored, threshold=0.5)
    with dspy.context(lm=rising()):
        assert best(question="?").answer == "second"
    assert [name for name, _ in best.named_parameters()] == ["module.predict"]


def test_refine_gives_advice_to_the_next_try(way: Way) -> None:
    program = way(programs.single)
    advising = {"answer": "first", "discussion": "d", "advice": '{"predict": "be second"}'}
    lm = programs.ByTry(advising, {"answer": "second"})
    refine = dspy.Refine(program, N=2, reward_fn=scored, threshold=0.5)
    with dspy.context(lm=lm, trace=[]):
        assert refine(question="?").answer == "second"
    assert "be second" in str(GLOBAL_HISTORY[-1]["messages"])
    asked = str(GLOBAL_HISTORY[-2]["messages"])
    assert "return self.predict(**inputs)" in asked, "the advice is given on the program's own code"


def test_an_ensemble_of_programs(way: Way) -> None:
    several = [way(programs.single) for _ in range(3)]
    ensemble = dspy.Ensemble(reduce_fn=dspy.majority).compile(several)
    with dspy.context(lm=programs.answering()):
        assert ensemble(question="?").answer == "yes"
    assert [name for name, _ in ensemble.named_parameters()] == [f"programs[{n}].predict" for n in range(3)]


def test_retrieval_and_metrics_of_dspy_are_hosted(way: Way) -> None:
    program = way.builtin(dspy.evaluate.SemanticF1, threshold=0.5)
    example = dspy.Example(question="?", response="a")
    answers = {"recall": 0.5, "precision": 1.0, "reasoning": "r"}
    with dspy.context(lm=dspy.utils.DummyLM({"": answers})):
        score = program(example, dspy.Prediction(response="b"))
    assert float(getattr(score, "score", score)) == pytest.approx(2 / 3)


TRAINSET = [dspy.Example(question=f"q{n}", answer="yes").with_inputs("question") for n in range(6)]


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.answer == prediction.answer)


def test_bootstrap_finds_the_demos_it_finds_in_process(way: Way) -> None:
    optimizer = dspy.BootstrapFewShot(metric=right, max_bootstrapped_demos=2, max_labeled_demos=0)
    program = way(programs.hops)
    with dspy.context(lm=programs.answering()):
        compiled = optimizer.compile(program, trainset=TRAINSET)
        assert compiled(question="?").answer == "yes"
    assert compiled._compiled
    assert [[dict(demo) for demo in predictor.demos] for predictor in compiled.predictors()] == [
        [{"augmented": True, "question": f"q{n}", "query": "look"} for n in range(2)],
        [{"augmented": True, "query": "look", "reasoning": "r", "answer": "yes"} for n in range(2)],
    ]
    assert not program.one.demos


def test_labeled_few_shot_and_copro(way: Way) -> None:
    program = way(programs.single)
    labeled = dspy.LabeledFewShot(k=2).compile(program, trainset=TRAINSET)
    assert [len(predictor.demos) for predictor in labeled.predictors()] == [2]
    lm = programs.answering(proposed_instruction="Be brief.", proposed_prefix_for_output_field="So:")
    optimizer = dspy.COPRO(metric=right, breadth=2, depth=1, prompt_model=lm)
    with dspy.context(lm=programs.answering(answer="no")):
        best = optimizer.compile(program, trainset=TRAINSET, eval_kwargs={"num_threads": 1, "display_progress": False})
        assert best.deepcopy()(question="?").answer == "no"


def test_the_compiled_edits_of_a_proxy_are_the_hosted_programs(way: Way) -> None:
    program = way(programs.single)
    compiled = dspy.LabeledFewShot(k=2).compile(program, trainset=TRAINSET)
    program.load_state(compiled.dump_state())
    lm = programs.answering()
    with dspy.context(lm=lm):
        program(question="?")
    assert sum(f"q{n}" in str(lm.history[0]["messages"]) for n in range(6)) == 2
