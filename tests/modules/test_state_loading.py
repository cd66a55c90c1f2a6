"""A state is loaded onto what a program was built with, all of it or nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import dspy
import pytest

from dspex_runtime.modules.state_loading import load_onto_pristine
from helpers.mirrored_programs import Nested


def load(program: Any, state: Any) -> None:
    load_onto_pristine(program, state, partial(dspy.BaseModule.load_state, program))


def test_any_number_of_times() -> None:
    program = dspy.ChainOfThought("question -> answer")
    state = program.dump_state()
    for n in range(300):
        state["predict"]["signature"]["instructions"] = f"number {n % 2}"
        load(program, state)
    assert program.predict.signature.instructions == "number 1"


def test_a_signature_that_comes_out_as_it_was_is_the_same_class() -> None:
    program = dspy.ChainOfThought("question -> answer")
    signature = program.predict.signature
    load(program, program.dump_state())
    assert program.predict.signature is signature


def test_what_the_state_does_not_know_has_its_default() -> None:
    program = Nested()
    state = program.dump_state()
    program.temperature = 1.5
    del state["temperature"]
    load(program, state)
    assert program.temperature == 0.2


def test_a_refused_state_changes_nothing() -> None:
    program = Nested()
    signature = program.cot.predict.signature
    state = program.dump_state()
    state["cot.predict"]["signature"]["instructions"] = "Be brief."
    del state["sub.p"]
    with pytest.raises(KeyError):
        load(program, state)
    assert program.cot.predict.signature is signature


def test_a_predict_takes_its_own_state() -> None:
    predict = dspy.Predict("question -> answer")
    state = predict.dump_state() | {"demos": [{"question": "q"}]}
    load_onto_pristine(predict, state, partial(dspy.Predict.load_state, predict))
    assert predict.demos == [{"question": "q"}]
