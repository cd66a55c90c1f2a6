"""A predictor as a parameter: its state read, checked, stored."""

from __future__ import annotations

import logging
from typing import Any

import cloudpickle
import dspy
import pytest
from dspy.utils import DummyLM

from dspex_runtime.errors import ConstraintViolationError
from dspex_runtime.modules.predictors import PredictorHolder

DEMO = {"question": "q", "answer": "a"}


class Fixed(dspy.BaseLM):  # type: ignore[misc]
    """An LM of the user's own whose state is enough to build it again."""

    def __init__(self, model: str = "fixed", **options: Any) -> None:
        super().__init__(model, **options)


def holder(signature: Any = "question -> answer") -> PredictorHolder:
    return PredictorHolder("qa.answer", dspy.Predict(signature))


def with_instructions(state: dict[str, Any], text: str) -> dict[str, Any]:
    return {**state, "signature": {**state["signature"], "instructions": text}}


def test_its_value_is_dspys_state() -> None:
    held = holder()
    held.predictor.demos = [dspy.Example(**DEMO).with_inputs("question")]
    held.predictor.lm = DummyLM([{"answer": "x"}])
    assert held.load() == held.predictor.dump_state()
    assert held.declaration.type == "predictor"
    assert held.declaration.default["demos"] == []


def test_reading_changes_nothing_of_it() -> None:
    held = holder()
    before = dict(vars(held.predictor))
    held.load()
    assert dict(vars(held.predictor)) == before


def test_an_lm_that_dspy_cannot_save_does_not_fail_the_reading() -> None:
    class Engine:
        def complete(self, request: Any) -> Any: ...

    held = holder()
    held.predictor.lm = dspy.LM("local/x", engine=Engine(), cache=False)
    with pytest.raises(TypeError):
        held.predictor.dump_state()
    assert held.load()["lm"]["model"] == "local/x"


def test_a_stored_state_is_what_it_gives_then() -> None:
    held = holder()
    state = with_instructions({**held.load(), "demos": [DEMO]}, "Be brief.")
    held.store(state)
    assert held.load() == state
    assert held.predictor.signature.instructions == "Be brief."
    assert held.predictor.demos == [DEMO]


def test_the_stored_state_and_the_predictor_share_nothing() -> None:
    held = holder()
    state = {**held.load(), "demos": [dict(DEMO)]}
    held.store(state)
    held.predictor.demos[0]["answer"] = "other"
    held.predictor.demos.append({})
    assert state["demos"] == [DEMO]


def test_storing_what_is_there_keeps_every_object() -> None:
    held = holder()
    held.predictor.demos = [dspy.Example(**DEMO)]
    held.predictor.lm = dspy.LM("openai/x", api_key="sk", cache=False)
    before = dict(vars(held.predictor))
    held.store(held.load())
    assert all(vars(held.predictor)[name] is value for name, value in before.items())


def test_the_users_own_signature_and_lm_stay_where_the_state_says_the_same() -> None:
    held = holder()
    model = held.predictor.lm = dspy.LM("openai/x", api_key="sk", cache=False)
    signature = held.predictor.signature
    held.store({**held.load(), "demos": [DEMO]})
    assert held.predictor.signature is signature
    assert held.predictor.lm is model


def test_an_adopted_state_is_what_it_gives_then_and_its_demos_are_the_very_ones() -> None:
    held = holder()
    signature = held.predictor.signature
    state = {**held.load(), "demos": [dict(DEMO)]}
    held.adopt(state)
    assert held.load() == state
    assert held.predictor.demos is state["demos"], "it was nobody else's: no copy is made"
    assert held.predictor.signature is signature
    assert not held.changed()


def test_an_adopted_state_with_other_instructions_has_them_and_can_be_stored_over() -> None:
    held = holder()
    before = held.load()
    held.adopt(with_instructions(before, "Be brief."))
    assert held.predictor.signature.instructions == "Be brief."
    held.store(before)
    assert held.load() == before


def test_an_adopted_state_that_does_not_fit_changes_nothing() -> None:
    held = holder()
    before = held.load()
    with pytest.raises(ConstraintViolationError, match=r"fields question, answer, in this order"):
        held.adopt({**before, "demos": [DEMO], "signature": {"instructions": "", "fields": []}})
    assert held.load() == before


@pytest.mark.parametrize("way", ["store", "adopt"])
def test_a_load_state_of_the_users_own_is_given_a_signature_like_any(way: str) -> None:
    seen = []

    class Looks(dspy.Predict):  # type: ignore[misc]
        def load_state(self, state: dict[str, Any], **options: Any) -> Any:
            seen.append(list(self.signature.fields))
            return super().load_state(state, **options)

    held = PredictorHolder("x", Looks("question -> answer"))
    getattr(held, way)({**held.load(), "demos": [dict(DEMO)]})
    assert seen == [["question", "answer"]]
    assert held.predictor.demos == [DEMO]


def test_config_history_and_callbacks_are_no_part_of_it() -> None:
    held = PredictorHolder("x", dspy.Predict("a -> b", callbacks=[1], temperature=0.5))
    history = held.predictor.history
    history.append({})
    held.store(with_instructions(held.load(), "Other."))
    assert held.predictor.config == {"temperature": 0.5}
    assert held.predictor.history is history
    assert held.predictor.callbacks == [1]


def test_it_is_stored_any_number_of_times() -> None:
    held = holder()
    state = held.load()
    held.store(with_instructions(state, "0"))
    size = len(cloudpickle.dumps(held.predictor))
    for n in range(1, 200):  # dspy's own load_state ends in a RecursionError at the 141st
        held.store(with_instructions(state, str(n)))
    assert len(cloudpickle.dumps(held.predictor)) <= size + 100


def test_an_lm_of_the_users_own_is_built_from_its_state() -> None:
    held = holder()
    held.store({**held.load(), "lm": Fixed("mine", temperature=0.5).dump_state()})
    assert isinstance(held.predictor.lm, Fixed)
    assert (held.predictor.lm.model, held.predictor.lm.kwargs["temperature"]) == ("mine", 0.5)
    assert not held.changed()


def test_an_lm_that_cannot_be_built_is_reported_and_the_rest_is_stored(caplog: pytest.LogCaptureFixture) -> None:
    held = holder()
    state = {**held.load(), "demos": [DEMO], "lm": DummyLM([{"answer": "x"}]).dump_state()}
    with caplog.at_level(logging.WARNING, "dspex_runtime.module"):
        held.store(state)
    assert "qa.answer: the LM of its state cannot be built" in caplog.text
    assert held.predictor.demos == [DEMO]
    assert held.predictor.lm is None
    assert held.changed(), "what it became is not what was stored, and is to be published"


def test_its_own_state_always_fits() -> None:
    class Nameless(Fixed):
        def dump_state(self) -> dict[str, Any]:
            return {"level": 1}

    held = holder()
    held.predictor.lm = Nameless()
    assert held.check(held.load())
    held.store({**held.load(), "demos": [DEMO]})
    assert isinstance(held.predictor.lm, Nameless)


def bad_states() -> dict[str, tuple[Any, str]]:
    state = holder().load()
    field = {"prefix": "Answer:", "description": "${answer}"}
    fields = state["signature"]["fields"]
    return {
        "no dict": ("x", "type"),
        "a key missing": ({key: value for key, value in state.items() if key != "demos"}, "keys"),
        "a key too many": ({**state, "forward": "x"}, "keys"),
        "demos no list": ({**state, "demos": "x"}, "demos"),
        "a demo no dict": ({**state, "demos": ["x"]}, "demos"),
        "lm no state": ({**state, "lm": "openai/x"}, "lm"),
        "lm without model": ({**state, "lm": {}}, "lm"),
        "signature no dict": ({**state, "signature": "question -> answer"}, "signature"),
        "no instructions": ({**state, "signature": {"instructions": None, "fields": fields}}, "signature"),
        "a field without prefix": ({**state, "signature": {"instructions": "x", "fields": [{}, field]}}, "signature"),
        "fewer fields": ({**state, "signature": {"instructions": "x", "fields": fields[:1]}}, "fields"),
        "more fields": ({**state, "signature": {"instructions": "x", "fields": [*fields, field]}}, "fields"),
        "fields in another order": ({**state, "signature": {"instructions": "x", "fields": fields[::-1]}}, "fields"),
    }


@pytest.mark.parametrize(("state", "constraint"), bad_states().values(), ids=bad_states())
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(state: Any, constraint: str) -> None:
    held = holder()
    before = dict(vars(held.predictor))
    with pytest.raises(ConstraintViolationError, match=r"^qa\.answer must be ") as caught:
        held.store(state)
    assert caught.value.constraint == constraint
    assert {name: vars(held.predictor)[name] for name in before} == before


def test_another_prefix_at_its_place_is_no_other_order() -> None:
    held = holder()
    state = held.load()
    state["signature"]["fields"][1]["prefix"] = "The answer is:"
    held.store(state)
    assert held.predictor.signature.fields["answer"].json_schema_extra["prefix"] == "The answer is:"


def test_a_state_from_before_a_field_was_added_can_come_back() -> None:
    held = holder()
    early = held.load()
    held.predictor.signature = held.predictor.signature.append("hint", dspy.OutputField())
    late = held.load()
    assert len(late["signature"]["fields"]) == 3
    held.store(early)
    assert list(held.predictor.signature.fields) == ["question", "answer"]
    held.store(late)
    assert list(held.predictor.signature.fields) == ["question", "answer", "hint"]


def test_changes_are_seen_until_they_are_read() -> None:
    held = holder()
    assert not held.changed()
    held.predictor.demos.append(DEMO)
    assert held.changed()
    assert held.load()["demos"] == [DEMO]
    assert not held.changed()


def test_examples_in_a_stored_state_are_read_as_dicts_afterwards() -> None:
    held = holder()
    held.store({**held.load(), "demos": [dspy.Example(**DEMO)]})
    assert held.changed()
    assert held.load()["demos"] == [DEMO]


def test_a_predictor_that_takes_the_place_of_another_is_a_change() -> None:
    held = holder()
    held.replace(dspy.Predict("question -> answer", n=2))
    assert held.changed()
    held.load()
    assert not held.changed()


def test_a_subclass_keeps_what_its_own_state_adds() -> None:
    class Counting(dspy.Predict):  # type: ignore[misc]
        count = 0

        def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
            return {**super().dump_state(json_mode), "count": self.count}

    held = PredictorHolder("x", Counting("a -> b"))
    held.store({**held.load(), "count": 5})
    assert held.predictor.count == 5


def test_a_retriever_is_a_parameter_too() -> None:
    held = PredictorHolder("retrieve", dspy.Retrieve(k=3))
    assert held.load() == {"k": 3}
    held.store({"k": 5})
    assert held.predictor.k == 5
    with pytest.raises(ConstraintViolationError, match="retrieve must be a state with the keys k"):
        held.store({"k": 5, "forward": None})


def test_all_keys_that_are_missing_from_a_state_are_named() -> None:
    with pytest.raises(ConstraintViolationError, match="without 'lm', 'signature', 'traces', 'train'; got"):
        PredictorHolder("a", dspy.Predict("q -> a")).store({"demos": []})


def test_a_parameter_that_fails_to_load_stays_as_it_was() -> None:
    class Fussy(dspy.Retrieve):  # type: ignore[misc]
        def load_state(self, state: Any) -> None:
            self.k = state["k"]
            raise RuntimeError("no")

    held = PredictorHolder("retrieve", Fussy(k=3))
    with pytest.raises(ConstraintViolationError, match="RuntimeError: no"):
        held.store({"k": 5})
    assert held.predictor.k == 3


@pytest.mark.parametrize("name", ["LabeledFewShot", "BootstrapFewShot"])
def test_what_an_optimizer_does_in_place_is_seen(name: str) -> None:
    class Program(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.answer(question=question)

    program = Program()
    held = PredictorHolder("answer", program.answer)
    examples = [dspy.Example(question=f"{n}?", answer=str(n)).with_inputs("question") for n in range(4)]
    with dspy.context(lm=DummyLM([{"answer": str(n)} for n in range(40)])):
        options = {"metric": lambda *_: True} if name == "BootstrapFewShot" else {"k": 2}
        compiled = getattr(dspy, name)(**options).compile(program, trainset=examples)
    assert not held.changed(), "an optimizer works on a copy"
    program.load_state(compiled.dump_state())
    assert held.changed()
    assert len(held.load()["demos"]) == len(compiled.answer.demos) > 0
