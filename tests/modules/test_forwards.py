"""How a program is called, and that looking does not warn as dspy does."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.modules.forwards import forward_of, has


def program(base: Any, *names: str) -> Any:
    return type("Program", (base,), {name: lambda self: None for name in names})()


WAYS = {
    "forward": (("forward",), (True, False), "forward"),
    "aforward": (("aforward",), (False, True), "aforward"),
    "both": (("forward", "aforward"), (True, True), "forward"),
    "a call of its own": (("__call__",), (True, False), None),
    "an acall of its own": (("acall",), (False, True), None),
    "none": ((), (False, False), None),
}


@pytest.mark.parametrize("base", [dspy.Module, dx.Module])
@pytest.mark.parametrize("way", WAYS)
def test_a_program_is_called_the_way_it_is_written(base: Any, way: str, caplog: pytest.LogCaptureFixture) -> None:
    names, expected, forward = WAYS[way]
    module = program(base, *names)
    assert (has(module, "forward"), has(module, "aforward")) == expected
    assert forward_of(module) is (None if forward is None else getattr(type(module), forward))
    assert not caplog.records


def test_a_forward_put_on_the_instance_counts() -> None:
    module = program(dspy.Module)
    module.forward = lambda: None
    assert has(module, "forward")
    assert forward_of(module) is vars(module)["forward"]


def test_dspys_own_modules_have_both() -> None:
    predict = dspy.Predict("question -> answer")
    assert (has(predict, "forward"), has(predict, "aforward")) == (True, True)
