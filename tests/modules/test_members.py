"""dx.predictor and dx.sub_module: declared in the class body, in each instance a part of its own that dspy finds."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import dspy
import pytest
from dspy.utils import DummyLM

import dspex_runtime as dx
from dspex_runtime.modules.members import KINDS


class Fact:
    """A type that a signature names."""


class Passages(dspy.Module):
    def __init__(self, k: int = 1) -> None:
        self.k = k
        self.rank = dspy.Predict("query -> order")

    def forward(self, query: str) -> Any:
        return dspy.Prediction(passages=[query] * self.k)


def search(query: str) -> str:
    """Search."""
    return query


class Answerer(dx.Module):
    temperature = dx.Parameter(float, default=0.2)
    retriever = dx.sub_module(Passages, inline=True, k=2)
    answer = dx.predictor("question, context -> answer", kind="chain_of_thought", temperature=0.5)

    def __init__(self) -> None:  # no super().__init__(), as dspy allows
        self.at_init = (self.temperature, self.retriever.k, self.answer.predict.config)
        self.last = dspy.Predict("a -> b")

    def forward(self, question: str) -> Any:
        return self.answer(question=question, context=str(self.retriever(query=question).passages))


def test_a_declared_predictor_is_a_real_one_from_before_the_constructor_on() -> None:
    module = Answerer()
    assert type(module.answer) is dspy.ChainOfThought
    assert module.at_init == (0.2, 2, {"temperature": 0.5})
    assert vars(module)["answer"] is module.answer
    names = ["temperature", "retriever.rank", "answer.predict", "last"]
    assert [name for name, _ in module.named_parameters()] == names
    assert [name for name, _ in module.named_predictors()] == names[1:]


class ByHand(dspy.Module):
    """The same, made in a constructor."""

    def __init__(self) -> None:
        super().__init__()
        self.one = dspy.Predict("question -> query", n=1)
        self.two = dspy.ChainOfThought("query -> answer")
        self.ranked = Passages(k=2)

    def forward(self, question: str) -> Any:
        return self.two(query=self.one(question=question).query)


class Declared(dx.Module):
    one = dx.predictor("question -> query", n=1)
    two = dx.predictor("query -> answer", kind="chain_of_thought")
    ranked = dx.sub_module(Passages, inline=True, k=2)
    forward = ByHand.forward


def seen_by_dspy(program: Any) -> Any:
    answers = [{"query": "look", "reasoning": "r", "answer": str(n)} for n in range(20)]
    examples = [dspy.Example(question=f"{n}?").with_inputs("question") for n in range(3)]
    with dspy.context(lm=DummyLM(answers)):
        compiled = dspy.BootstrapFewShot(metric=lambda *_: True, max_bootstrapped_demos=2).compile(program, trainset=examples)
        answer = compiled(question="?").answer
    return (
        [name for name, _ in program.named_parameters()],
        [name for name, _ in program.named_sub_modules()],
        repr(program),
        program.dump_state(),
        compiled.dump_state(),
        answer,
        len(compiled.history),
    )


def test_a_declared_program_is_to_dspy_what_one_made_by_hand_is() -> None:
    assert seen_by_dspy(Declared()) == seen_by_dspy(ByHand())


def test_each_instance_has_its_own() -> None:
    one, other = Answerer(), Answerer()
    one.answer.predict.demos = [{"question": "q"}]
    assert one.answer is not other.answer
    assert one.retriever is not other.retriever
    assert other.answer.predict.demos == []


def test_a_program_of_declared_parts_runs() -> None:
    with dspy.context(lm=DummyLM([{"reasoning": "r", "answer": "42"}])):
        assert Answerer()(question="what?").answer == "42"


def test_on_the_class_the_declaration_is_seen() -> None:
    assert repr(Answerer.answer) == "<Predictor Answerer.answer>"
    assert repr(Answerer.retriever) == "<SubModule Answerer.retriever>"


def test_a_part_is_an_attribute_like_any_other() -> None:
    module = Answerer()
    module.answer = dspy.Predict("question, context -> answer")
    assert type(module.answer) is dspy.Predict
    module.map_named_predictors(lambda predictor: dspy.Predict(predictor.signature))
    assert type(vars(module)["answer"]) is dspy.Predict
    del module.answer
    with pytest.raises(AttributeError, match=r"Answerer\.answer is declared, and this Answerer has none"):
        _ = module.answer


def test_a_class_that_is_no_dx_module_says_so() -> None:
    class Plain(dspy.Module):
        answer = dx.predictor("a -> b")

    with pytest.raises(AttributeError, match=r"Plain\.answer is declared, .* the class is no dx\.Module"):
        _ = Plain().answer


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy of dspy": lambda module: module.deepcopy(),
    "reset_copy": lambda module: module.reset_copy(),
    "deepcopy": copy.deepcopy,
    "cloudpickle": lambda module: pickle.loads(cloudpickle.dumps(module)),
}


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_has_copies_of_the_parts_and_builds_none(make: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module = Answerer()
    module.answer.predict.signature = module.answer.predict.signature.with_instructions("Be brief.")
    monkeypatch.setattr("dspex_runtime.modules.members.Predictor.build", lambda self: pytest.fail("built"))
    twin = make(module)
    assert twin.answer is not module.answer
    assert twin.answer.predict.signature.instructions == "Be brief."
    assert [name for name, _ in twin.named_parameters()] == [name for name, _ in module.named_parameters()]


def test_a_program_pickled_before_a_part_was_declared_gets_a_new_one() -> None:
    state = Answerer().__getstate__()
    del state["answer"]
    old = Answerer.__new__(Answerer)
    old.__setstate__(state)
    assert type(old.answer) is dspy.ChainOfThought


def test_a_saved_state_and_a_saved_program_load(tmp_path: Path) -> None:
    module = Answerer()
    module.answer.predict.demos = [{"question": "q", "context": "c", "reasoning": "r", "answer": "a"}]
    module.save(tmp_path / "state.json")
    module.save(tmp_path / "program", save_program=True)
    other = Answerer()
    other.load(tmp_path / "state.json")
    assert other.dump_state() == module.dump_state() == dspy.load(tmp_path / "program", allow_pickle=True).dump_state()


def test_a_subclass_inherits_overrides_and_drops_members() -> None:
    class Special(Answerer):
        answer = dx.predictor("question, context -> answer")
        retriever = None

        def __init__(self) -> None:
            pass

    module = Special()
    assert (type(module.answer), module.retriever) == (dspy.Predict, None)
    assert [name for name, _ in module.named_predictors()] == ["answer"]


def test_a_type_in_a_signatures_text_is_that_of_the_class_body() -> None:
    class Local:
        class Answer(dspy.Signature):
            question: str = dspy.InputField()
            fact: Fact = dspy.OutputField()

            model_config = {"arbitrary_types_allowed": True}  # noqa: RUF012

    class Typed(dx.Module):
        answer = dx.predictor(Local.Answer)

    assert Typed.answer.signature is Local.Answer
    assert Typed().answer.signature.output_fields["fact"].annotation is Fact


def test_an_error_in_a_signature_is_raised_where_it_is_declared() -> None:
    with pytest.raises(ValueError, match="->"):
        dx.predictor("question answer")


OPTIONS: dict[str, dict[str, Any]] = {
    "react": {"tools": [search]},
    "react_v2": {"tools": [search]},
    "code_act": {"tools": [search], "interpreter_factory": dspy.LocalInterpreter},
    "program_of_thought": {"interpreter_factory": dspy.LocalInterpreter},
    "rlm": {"interpreter_factory": dspy.LocalInterpreter},
    "flex": {"interpreter_factory": dspy.LocalInterpreter},
}


@pytest.mark.filterwarnings("ignore")  # dspy's own: experimental, deprecated
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_dspys_module_of_that_name(kind: str) -> None:
    class Program(dx.Module):
        part = dx.predictor("question -> answer", kind=kind, **OPTIONS.get(kind, {}))

    assert type(Program().part) is getattr(dspy, KINDS[kind])


def test_a_kind_may_be_a_class() -> None:
    class Careful(dspy.Module):
        def __init__(self, signature: Any, times: int) -> None:
            self.ask = [dspy.Predict(signature) for _ in range(times)]

    class Program(dx.Module):
        answer = dx.predictor("question -> answer", kind=Careful, times=2)

    assert [name for name, _ in Program().named_predictors()] == ["answer.ask[0]", "answer.ask[1]"]


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown kind": (lambda: dx.predictor("a -> b", kind="chain"), r"Program\.part: kind 'chain' is none of predict, chain_of"),
    "kind that is no module": (lambda: dx.predictor("a -> b", kind=int), r"Program\.part: a kind is one of .*got <class 'int'>"),
    "a key of no child": (lambda: dx.sub_module(Passages, process={"restrat": "x"}), r"process= has no 'restrat'.*mean 'restart'"),
    "a key that is said otherwise": (lambda: dx.sub_module(Passages, process={"args": {}}), r"process= has no 'args'"),
    "no map": (lambda: dx.sub_module(Passages, process=3), r"process= is a map of keys of a child .*; got 3"),
    "a process that it has not": (
        lambda: dx.sub_module(Passages, inline=True, process={"restart": "transient"}),
        r"inline=True has it in its owner's process",
    ),
    "no module": (lambda: dx.sub_module(int, inline=True), r"Program\.part: a sub_module is a dspy\.Module class"),
    "an instance": (lambda: dx.sub_module(Passages(), inline=True), r"Program\.part: a sub_module is a dspy\.Module class"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_declaration_is_refused_when_the_class_is_made(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        type(dx.Module)("Program", (dx.Module,), {"part": make()})


@pytest.mark.parametrize("name", ["lm", "history", "batch", "signature", "demos", "metrics", "dx", "forward"])
def test_a_name_that_has_a_meaning_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Program\.{name} needs another name"):
        type(dx.Module)("Program", (dx.Module,), {name: dx.predictor("a -> b")})


def test_members_named_like_each_others_accessors_are_refused() -> None:
    with pytest.raises(TypeError, match="its accessor 'predict_x' is declared too"):
        type(dx.Module)("Program", (dx.Module,), {"x": dx.predictor("a -> b"), "predict_x": dx.Parameter(int)})


def test_a_sub_module_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner_part.py").write_text("import dspy\nclass Part(dspy.Module):\n    pass\nnothing = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    class Program(dx.Module):
        by_module = dx.sub_module("inner_part:Part", inline=True)
        by_file = dx.sub_module("inner_part.py:Part", inline=True)

    try:
        program = Program()
        assert type(program.by_module) is type(program.by_file) is sys.modules["inner_part"].Part

        class Wrong(dx.Module):
            part = dx.sub_module("inner_part:nothing", inline=True)

        with pytest.raises(TypeError, match=r"Wrong\.part: 'inner_part:nothing' is no dspy\.Module class, but 3"):
            Wrong()
    finally:
        sys.modules.pop("inner_part", None)


def test_a_class_in_main_is_pickled_with_its_members() -> None:
    namespace: dict[str, Any] = {"dx": dx, "__name__": "__main__"}
    exec("class Program(dx.Module):\n    answer = dx.predictor('a -> b')\n    k = dx.Parameter(int, default=2)\n", namespace)
    data = cloudpickle.dumps(namespace["Program"]())
    loaded = pickle.loads(data)
    assert [name for name, _ in loaded.named_parameters()] == ["k", "answer"]
    assert list(type(loaded).answer_signature().fields) == ["a", "b"]
    assert type(loaded)().answer is not loaded.answer
