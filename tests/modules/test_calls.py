"""What a dx.Module remembers of its own calls, without a runtime."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.modules.calls import ATTRIBUTE, Calls, calls_of


class Doubler(dx.Module):
    def forward(self, x: int) -> Any:
        return dspy.Prediction(x=2 * x)

    async def aforward(self, x: int) -> Any:
        return self.forward(x)


def test_calls_are_remembered_newest_first() -> None:
    module = Doubler()
    assert (module.executions(), module.metrics()["count"], module.metrics()["success_rate"]) == ([], 0, None)
    module(x=1)
    with pytest.raises(TypeError):
        module(y=1)
    failed, good = module.executions()
    assert (good["method"], good["ok"], good["error"]) == ("__call__", True, None)
    assert (failed["ok"], failed["error"].partition(":")[0]) == (False, "TypeError")
    assert module.executions(1) == [failed]
    figures = module.metrics()
    assert (figures["count"], figures["failures"], figures["success_rate"]) == (2, 1, 0.5)
    assert figures["last_error"] == failed["error"]


def test_awaited_calls_are_remembered_too() -> None:
    module = Doubler()
    assert asyncio.run(module.acall(x=2)).x == 4
    with pytest.raises(TypeError):
        asyncio.run(module.acall())
    assert [execution["ok"] for execution in module.executions()] == [False, True]


def test_every_part_has_its_own() -> None:
    class Outer(dx.Module):
        inner = dx.sub_module(Doubler, inline=True)

        def forward(self) -> Any:
            return self.inner(x=self.inner(x=1).x)

    outer = Outer()
    assert outer().x == 4
    assert (outer.metrics()["count"], outer.inner.metrics()["count"]) == (1, 2)


def test_calls_from_many_threads_are_all_counted() -> None:
    module = Doubler()
    module.batch([dspy.Example(x=n).with_inputs("x") for n in range(50)], num_threads=8, disable_progress_bar=True)
    assert module.metrics()["count"] == 50


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda module: module.deepcopy()])
def test_a_copy_begins_with_none(make: Any) -> None:
    module = Doubler()
    module(x=1)
    twin = make(module)
    twin(x=1)
    twin(x=2)
    assert (module.metrics()["count"], twin.metrics()["count"]) == (1, 2)


def test_there_is_nothing_in_an_instance_before_its_first_call() -> None:
    module = Doubler()
    assert ATTRIBUTE not in vars(module)
    assert isinstance(calls_of(module), Calls)
    assert calls_of(module) is calls_of(module)


def test_a_users_own_attribute_of_that_name_is_no_conflict() -> None:
    class Scored(dx.Module):
        def __init__(self) -> None:
            self.metrics = ["f1"]
            self.executions = 0

        def forward(self) -> Any:
            return self.metrics, self.executions

    assert Scored()() == (["f1"], 0)


def test_a_program_is_compiled_once_an_optimizer_has_frozen_it() -> None:
    module = Doubler()
    assert module.compile_status() == "not_compiled"
    module._compiled = True
    assert (module.compile_status(), module.deepcopy().compile_status()) == ("compiled", "compiled")
