"""All parameters of one hosted program."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.module_parameters import ModuleParameters
from dspex_runtime.modules.predictors import PredictorHolder
from dspex_runtime.params.containers import MOST_COMPARED


class Part(dx.Module):
    k = dx.Parameter(int, default=1)


class Program(dspy.Module):  # type: ignore[misc]
    """An unmodified program: what it holds is found."""

    def __init__(self, k: int = 2) -> None:
        super().__init__()
        self.answers = [dspy.ChainOfThought("question -> answer"), dspy.Predict("question -> answer")]
        self.part = Part()
        self.part.k = k


class Plain(dspy.Module):  # type: ignore[misc]
    """A dspy.Module that declares parameters without being a dx.Module."""

    rate = dx.Parameter(float, default=0.1)
    size = dx.Parameter(int, default=1)

    def __init__(self) -> None:
        super().__init__()
        self.rate = 0.5


def by_name(parameters: ModuleParameters) -> dict[str, Any]:
    return {name: holder for name, _, holder in parameters.listed()}


def test_every_parameter_has_dspys_name_a_declaration_and_a_holder() -> None:
    program = Program()
    listed = ModuleParameters(program).listed()
    assert [name for name, _, _ in listed] == [name for name, _ in program.named_parameters()]
    assert [(name, spec.type.value) for name, spec, _ in listed] == [
        ("answers[0].predict", "predictor"),
        ("answers[1]", "predictor"),
        ("part.k", "int"),
    ]
    assert [spec.default for _, spec, _ in listed] == [*(p.dump_state() for p in program.predictors()), 1]
    assert [holder.load() for _, _, holder in listed] == [*(p.dump_state() for p in program.predictors()), 2]


def test_a_bare_predictor_is_self() -> None:
    assert list(by_name(ModuleParameters(dspy.Predict("a -> b")))) == ["self"]


def test_a_value_that_the_constructor_assigned_is_the_default() -> None:
    class Own(dx.Module):
        k = dx.Parameter(int, default=1)

        def __init__(self) -> None:
            self.k = 5

    ((_, spec, _),) = ModuleParameters(Own()).listed()
    assert spec.default == 5


def test_a_plain_module_may_declare_parameters() -> None:
    program = Plain()
    holders = by_name(ModuleParameters(program))
    assert {name: (type(holder), holder.load()) for name, holder in holders.items()} == {
        "rate": (DspyCell, 0.5),
        "size": (DspyCell, 1),
    }
    assert [name for name, _ in program.named_parameters()] == ["rate", "size"]
    holders["rate"].store(0.7)
    assert program.rate == 0.7


def test_a_name_keeps_its_holder_when_its_predictor_is_replaced() -> None:
    program = Program()
    parameters = ModuleParameters(program)
    before = by_name(parameters)
    assert not parameters.changed()
    program.answers[1] = dspy.Predict("question -> answer")
    assert parameters.changed()
    after = by_name(parameters)
    assert after["answers[1]"] is before["answers[1]"]
    assert after["answers[1]"].predictor is program.answers[1]
    assert parameters.changed(), "the new predictor's state was not read yet"
    after["answers[1]"].load()
    assert not parameters.changed()


def test_parameters_that_come_and_go_are_listed_so() -> None:
    program = Program()
    parameters = ModuleParameters(program)
    parameters.listed()
    program.extra = Part()
    program.answers.pop()
    assert parameters.changed()
    assert list(by_name(parameters)) == ["answers[0].predict", "part.k", "extra.k"]


def test_a_predictor_that_a_call_changed_is_seen() -> None:
    program = Program()
    parameters = ModuleParameters(program)
    holders = by_name(parameters)
    program.answers[1].demos.append({"question": "q", "answer": "a"})
    assert parameters.changed()
    assert holders["answers[1]"].load()["demos"] == [{"question": "q", "answer": "a"}]
    assert not parameters.changed()


def test_a_child_that_is_frozen_later_keeps_its_parameters() -> None:
    program = Program()
    parameters = ModuleParameters(program)
    before = sorted(by_name(parameters))
    program.answers[0]._compiled = program.part._compiled = True
    assert sorted(by_name(parameters)) == before
    program.answers[0].predict.demos.append({})
    assert parameters.changed()


def test_what_cannot_be_saved_is_no_parameter() -> None:
    class Marker(dspy.predict.parameter.Parameter):  # type: ignore[misc]
        pass

    program = Program()
    program.mark = Marker()
    assert "mark" not in by_name(ModuleParameters(program))
    assert all(isinstance(holder, PredictorHolder | DspyCell) for holder in by_name(ModuleParameters(program)).values())


def test_a_predictor_that_gives_no_state_is_no_parameter_and_the_program_is_hosted(caplog: pytest.LogCaptureFixture) -> None:
    program = Program()
    program.answers[1].demos = ["no demo at all"]
    with caplog.at_level(logging.WARNING, "dspex_runtime.module"):
        assert list(by_name(ModuleParameters(program))) == ["answers[0].predict", "part.k"]
    assert "answers[1] is no parameter: it gives no state" in caplog.text


class Containers(dx.Module):
    words = dx.Parameter(list, default=["a", "b"])
    table = dx.Parameter(dict, default={"a": 1})
    thing = dx.Parameter("any", default=None)
    long = dx.Parameter(list, default=[0] * (MOST_COMPARED + 1))


IN_PLACE: dict[str, Callable[[Any], Any]] = {
    "appended": lambda m: m.words.append("c"),
    "removed": lambda m: m.words.pop(),
    "replaced": lambda m: m.words.__setitem__(0, "z"),
    "a key": lambda m: m.table.update(b=2),
    "a key's value": lambda m: m.table.update(a=2),
    "a long one appended": lambda m: m.long.append(1),
}


@pytest.mark.parametrize("change", IN_PLACE.values(), ids=IN_PLACE)
def test_a_list_or_dict_changed_in_place_is_seen_once(change: Callable[[Any], Any]) -> None:
    program = Containers()
    parameters = ModuleParameters(program)
    parameters.listed()
    assert not parameters.changed()
    change(program)
    assert parameters.changed()
    assert not parameters.changed()


def test_what_was_assigned_is_compared_once_and_watched() -> None:
    program = Containers()
    parameters = ModuleParameters(program)
    parameters.listed()
    program.words, program.thing = ["x"], [1]
    assert parameters.changed()
    parameters.listed()
    assert not parameters.changed()
    program.thing.append(2)
    assert parameters.changed()
