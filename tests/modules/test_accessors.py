"""get_x, set_x, x_type, x_opts; predict_x, x_signature."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

import dspex_runtime as dx


class Tuned(dx.Module):
    rate = dx.Parameter(float, default=0.5, min=0.0, requires_grad=True, metadata={"unit": "1/s"}, doc="How fast.")
    name = dx.Parameter(str, default="x", check=str.isalpha)

    def get_name(self) -> str:
        return "mine"


def test_getter_and_setter_are_the_attribute() -> None:
    module = Tuned()
    module.set_rate(2)
    assert (module.get_rate(), module.rate) == (2.0, 2.0)
    with pytest.raises(dx.ConstraintViolationError):
        module.set_rate(-1.0)
    assert module.rate == 2.0


def test_type_and_options_are_known_without_an_instance() -> None:
    assert (Tuned.rate_type(), Tuned().name_type()) == ("float", "str")
    options: dict[str, Any] = Tuned.rate_opts()
    assert options["default"] == 0.5
    assert options["min"] == 0.0
    assert options["requires_grad"] is True
    assert options["metadata"] == {"unit": "1/s"}
    assert "type" not in options


def test_one_of_the_users_own_stays() -> None:
    assert Tuned().get_name() == "mine"
    assert Tuned().name == "x"


def test_they_look_like_methods_of_the_class() -> None:
    assert Tuned.get_rate.__qualname__ == "Tuned.get_rate"
    assert Tuned.set_rate.__doc__ == "Set the parameter rate: checked, versioned, for everybody."


class Part(dx.Module):
    def __init__(self, k: int = 1) -> None:
        self.k = k


class Declared(dx.Module):
    answer = dx.predictor("question -> answer", n=1)
    part = dx.sub_module(Part, inline=True, k=2)
    judge = dx.predictor("answer -> score")

    def predict_judge(self) -> str:
        return "mine"


def test_a_predictor_is_called_by_its_accessor() -> None:
    with dspy.context(lm=DummyLM([{"answer": "42"}])):
        assert Declared().predict_answer(question="what?").answer == "42"
    assert Declared().predict_judge() == "mine"


def test_signature_and_options_of_a_predictor_are_known_without_an_instance() -> None:
    assert issubclass(Declared.answer_signature(), dspy.Signature)
    assert list(Declared.answer_signature().fields) == ["question", "answer"]
    assert Declared.answer_opts() == {"kind": "predict", "n": 1}


def test_a_sub_module_has_a_getter_a_type_and_options() -> None:
    module = Declared()
    assert module.get_part() is module.part
    assert Declared.part_type() == f"{__name__}:Part"
    assert Declared.part_opts() == {"inline": True, "k": 2}


def test_what_a_subclass_overrides_otherwise_has_no_signature_any_more() -> None:
    class Special(Declared):
        answer = None

    with pytest.raises(AttributeError, match=r"Special\.answer is no dx\.predictor any more"):
        Special.answer_signature()
