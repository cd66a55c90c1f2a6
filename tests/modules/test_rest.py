"""What dspy's state leaves out, taken and put back."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.modules import rest
from dspex_runtime.modules.predictors import dump
from dspex_runtime.wire.codec import Codec


class Part(dx.Module):
    k = dx.Parameter(int, default=1)

    def __init__(self) -> None:
        self.p = dspy.Predict("a -> b", temperature=0.1)


class Program(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer", n=1)
        self.part = Part()
        self.calls = 0
        self.seen = {"words": ["a", ("b", 2.0)], "none": None}
        self.corpus = ["passage"] * (rest.MOST_ITEMS + 1)
        self.text = "x" * (rest.MOST_CHARACTERS + 1)
        self.tool = print
        self.access_token = "sk-its-own"
        self.options = {"client": {"api_key": "sk-its-own"}}

    @property
    def doubled(self) -> int:
        return 2 * self.calls


def used() -> Program:
    program = Program()
    program.calls, program.seen["words"] = 17, ["z"]
    program.answer.update_config(temperature=0.9, api_key="sk")
    program.part._compiled = True
    program.part.p.demos = [{"a": 1, "b": 2}]
    return program


def test_flags_config_frozen_predictors_and_attributes_come_back() -> None:
    program = Program()
    rest.put_back(program, rest.collect(used(), (), attributes=True))
    assert (program.calls, program.seen) == (17, {"words": ["z"], "none": None})
    assert program.answer.config == {"n": 1, "temperature": 0.9}
    assert program.part._compiled
    assert not program._compiled
    assert program.part.p.demos == [{"a": 1, "b": 2}]


def test_a_config_loses_what_it_did_not_have_but_for_what_is_never_saved() -> None:
    program = Program()
    saved = rest.collect(program, (), attributes=True)
    program.answer.config.update(temperature=0.9, api_key="sk", client=print)
    rest.put_back(program, saved)
    assert program.answer.config == {"n": 1, "api_key": "sk", "client": print}


def test_it_is_plain_data() -> None:
    codec = Codec()
    taken = rest.collect(used(), (), attributes=True)
    assert codec.unpack(codec.pack([taken])) == [taken]
    assert "sk" not in repr(taken)


def test_only_small_plain_attributes_are_taken() -> None:
    assert rest.collect(Program(), (), attributes=True)["attributes"] == {
        "": {"calls": 0, "seen": {"words": ["a", ("b", 2.0)], "none": None}}
    }


def test_a_program_with_a_state_of_its_own_keeps_its_attributes_itself() -> None:
    assert rest.collect(Program(), (), attributes=False)["attributes"] == {}


def test_a_predictor_that_is_a_parameter_is_not_taken_twice() -> None:
    assert list(rest.collect(used(), ["answer"], attributes=False)["frozen"]) == ["part.p"]
    assert rest.collect(used(), ["answer", "part.p"], attributes=False)["frozen"] == {}


class Deep(dspy.Module):  # type: ignore[misc]
    """Predictors where dspy does not look for them, and one that is a program."""

    def __init__(self) -> None:
        super().__init__()
        self.a = [[dspy.Predict("a -> b")]]
        self.p = dspy.Predict("a -> b")


def test_what_dspy_does_not_list_comes_back_too() -> None:
    program, other = Deep(), Deep()
    program.a[0][0].demos = [{"a": 1, "b": 2}]
    program.a[0][0].config = {"n": 2}
    program.a[0][0]._compiled = program.p._compiled = True
    rest.put_back(other, rest.collect(program, ["p"], attributes=False))
    assert (other.a[0][0].demos, other.a[0][0].config) == ([{"a": 1, "b": 2}], {"n": 2})
    assert (other._compiled, other.a[0][0]._compiled, other.p._compiled) == (False, True, True)


def test_a_program_that_is_a_predictor_has_one_flag() -> None:
    program, other = dspy.Predict("a -> b"), dspy.Predict("a -> b")
    program._compiled, program.config = True, {"n": 2}
    taken = rest.collect(program, ["self"], attributes=False)
    assert taken == {"compiled": [""], "config": {"self": {"n": 2}}, "frozen": {}, "attributes": {}}
    rest.put_back(other, taken)
    assert (other._compiled, other.config) == (True, {"n": 2})


def test_a_state_with_objects_in_it_is_kept_as_a_pickle() -> None:
    program, other = Deep(), Deep()
    program.a[0][0].demos = [{"a": Fraction(1, 3)}]
    state = rest.packed(dump(program.a[0][0]))
    assert isinstance(state, bytes)
    rest.put_back(other, {"frozen": {"a[0][0]": state, "p": rest.packed(dump(program.p))}})
    assert other.a[0][0].demos == [{"a": Fraction(1, 3)}]


@pytest.mark.parametrize(
    ("value", "is_taken"),
    [(1, True), ([1] * 999, True), ([1] * 1000, False), ([[1] * 600, [1] * 600], False), ({1: 2}, False), (object(), False)],
    ids=["number", "999 items", "1000 items", "nested", "keys that are no text", "an object"],
)
def test_the_size_counts_every_item(value: Any, is_taken: bool) -> None:
    module = dspy.Module()
    module.x = value
    assert bool(rest.collect(module, (), attributes=True)["attributes"]) is is_taken


def test_what_has_no_place_any_more_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    taken = rest.collect(used(), (), attributes=True)
    taken["attributes"] |= {"gone": {"x": 1}}
    taken["attributes"][""] |= {"doubled": 3}
    taken["config"] |= {"gone": {}}
    taken["frozen"] |= {"part.p": {"no": "state"}, "gone": {}}
    program = Program()
    with caplog.at_level(logging.WARNING, "dspex_runtime.module"):
        rest.put_back(program, taken)
    assert program.calls == 17
    assert program.doubled == 34
    assert "part.p of the checkpoint is left out: ConstraintViolationError" in caplog.text
    rest.put_back(program, {})
    assert program.part._compiled
