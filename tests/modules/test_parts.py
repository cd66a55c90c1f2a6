"""Parts have dspy's names, and those that dspy leaves out have one too."""

from __future__ import annotations

from typing import Any

import dspy

from dspex_runtime.modules import parts
from helpers.mirrored_programs import Nested


def test_every_part_has_a_name_and_parameters_have_dspys() -> None:
    program = Nested()
    found = parts.named_parts(program)
    assert found[""] is program
    for name, parameter in program.named_parameters():
        assert found[name] is parameter
    modules = {id(module) for _, module in program.named_sub_modules()}
    assert modules <= {id(part) for part in found.values()}
    assert {"frozen", "frozen.p", "a[2][0]", "a[3]['k']", "d['l'][0]", "cot", "sub"} <= found.keys()
    assert "dup" not in found, "a shared part has its first name"


def test_a_predict_is_its_own_parameter() -> None:
    predict = dspy.Predict("q -> a")
    assert parts.named_parts(predict) == {"": predict, "self": predict}
    assert parts.names_of(parts.named_parts(predict)) == {id(predict): ""}
    assert (parts.parameter_name(""), parts.parameter_name("x")) == ("self", "x")


def test_a_container_that_holds_itself_ends() -> None:
    program = dspy.Module()
    program.loop = [dspy.Predict("q -> a")]
    program.loop.append(program.loop)
    program.me = [[program]]
    assert set(parts.named_parts(program)) == {"", "loop[0]"}
    around: list[Any] = [1]
    around.append({"around": around})
    assert not parts.holds_parts(around)
    around.append(program)
    assert parts.holds_parts(around)


def test_what_is_inside_what() -> None:
    assert [parts.is_inside(name, "a") for name in ("a", "a.b", "a[0]", "ab", "b.a")] == [True, True, True, False, False]
    assert parts.holds_parts([1, {"k": [dspy.Predict("q -> a")]}])
    assert not parts.holds_parts(["a", {"k": (1, 2)}])
