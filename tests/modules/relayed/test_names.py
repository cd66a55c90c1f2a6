"""The names of a program's parts during a call: listed when one is asked for, and once more when it was not there."""

from __future__ import annotations

import dspy

from dspex_runtime.modules.relayed import names as relayed_names
from dspex_runtime.modules.relayed.names import Names


class Program(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")
        self.inner = dspy.ChainOfThought("a -> b")


def test_parts_and_the_program_have_names_and_nothing_else_has() -> None:
    program = Program()
    names = Names(program)
    assert [names.of(part) for part in (program, program.ask, program.inner, program.inner.predict)] == [
        "",
        "ask",
        "inner",
        "inner.predict",
    ]
    assert names.of(dspy.Predict("a -> b")) is None
    assert (names.of_id(id(program.ask)), names.of_id(-1)) == ("ask", None)
    assert names.part("inner.predict") is program.inner.predict
    assert (names.with_signature(program.ask.signature), names.with_signature(dspy.Signature("x -> y"))) == ("ask", None)


def test_a_part_that_came_since_is_found_by_the_next_call() -> None:
    program = Program()
    assert Names(program).of(program.ask) == "ask"
    program.late = dspy.Predict("a -> b")
    assert Names(program).of(program.late) == "late"


def test_the_parts_of_a_known_program_are_not_listed_for_every_call() -> None:
    program = Program()
    assert Names(program).of(program.ask) == "ask"
    listing = relayed_names._listings[program]
    assert Names(program).of(program.inner.predict) == "inner.predict"
    assert relayed_names._listings[program] is listing


def test_of_a_bare_predict_the_program_is_the_part() -> None:
    predict = dspy.Predict("question -> answer")
    assert Names(predict).of(predict) == ""
    assert Names(predict).of_id(id(predict)) == ""
