"""What a ModuleHost tells of a module that it built, in this process: parameters, mode, user state, the rest of a checkpoint."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.host.hosted import NO_STATE
from dspex_runtime.modules.hosting import ModuleHost


class Part(dx.Module):
    k = dx.Parameter(int, default=1)

    def forward(self) -> Any:
        return self.k


class Program(dspy.Module):  # type: ignore[misc]
    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.part = Part()
        self.answer = dspy.Predict("question -> answer")
        self.size = size
        self.seen: Any = None

    def setup(self) -> None:
        self.seen = (self.part.k, list(self.answer.demos))

    def forward(self) -> Any:
        return self.part.k


class Stateful(dx.Module):
    def __init__(self) -> None:
        self.memory: list[int] = []

    def forward(self) -> Any:
        return self.memory

    def get_state(self) -> Any:
        return {"memory": self.memory}

    def set_state(self, state: Any) -> None:
        self.memory = [*state["memory"], 0]


class Training(dx.Module):
    def forward(self) -> Any:
        return self.training

    def train(self) -> str:  # type: ignore[override]
        return "mine"


def built(found: Any, *args: Any) -> ModuleHost:
    host = ModuleHost(found)
    host.build(args, {})
    return host


def test_kept_values_can_be_stored_between_the_constructor_and_setup() -> None:
    host = built(Program)
    for name, _, holder in host.parameters():
        holder.store(5 if name == "part.k" else {**holder.load(), "demos": [{"question": "q", "answer": "a"}]})
    assert host.start((), {})
    assert host.find("__call__").function() == 5
    assert host._module.seen == (5, [{"question": "q", "answer": "a"}])
    assert host._module.size == 1


def test_start_builds_what_nobody_built() -> None:
    host = ModuleHost(Program)
    assert host.start((3,), {})
    assert host._module.size == 3
    assert not host.changed(), "there is nothing to compare with before the parameters were listed"


def test_a_call_that_changed_a_predictor_is_seen() -> None:
    host = built(Program)
    names = [name for name, _, _ in host.parameters()]
    assert names == ["part.k", "answer"]
    assert not host.changed()
    host._module.answer.demos.append({})
    assert host.changed()


def test_the_mode_is_that_of_the_tree() -> None:
    host = built(Part)
    assert host.mode == "eval"
    host._module.train()
    assert host.mode == "train"
    plain = built(Program)
    assert plain.mode == "eval"
    plain.set_mode("train")
    assert (plain.mode, plain._module.part.training) == ("train", True)
    assert "training" not in vars(plain._module)
    with pytest.raises(ValueError, match="the mode of Program is 'train' or 'eval', got 'on'"):
        plain.set_mode("on")


@pytest.mark.parametrize("found", [Part, Program])
def test_train_and_eval_can_be_called_from_outside(found: Any) -> None:
    host = built(found)
    assert host.find("train").function() is None
    assert host.mode == "train"
    host.find("eval").function()
    assert host.mode == "eval"


def test_modules_inside_take_back_their_own_states() -> None:
    class Outer(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.part = Stateful(), Part()

        def forward(self) -> Any:
            return self.inner()

    host = built(Outer)
    host.set_states_inside({"inner": {"memory": [1]}, "part": 1, "gone": 2})
    assert host.find("__call__").function() == [1, 0]


def test_a_train_of_the_users_own_is_called() -> None:
    assert built(Training).find("train").function() == "mine"


def test_accessors_are_public_methods() -> None:
    host = built(Part)
    host.find("set_k").function(4)
    assert host.find("get_k").function() == 4


def test_the_methods_of_dspy_and_of_dx_module_are_not_listed_as_the_users() -> None:
    class Bare(dx.Module):
        def forward(self) -> None: ...

    assert built(Bare)._own_methods() == ["forward"]


def test_the_users_state_is_taken_and_given_back() -> None:
    host = built(Stateful)
    assert host.keeps_user_state
    host._module.memory = [1, 2]
    saved = host.get_user_state()
    other = built(Stateful)
    other.set_user_state(saved)
    assert other._module.memory == [1, 2, 0]


def test_a_module_without_hooks_keeps_no_user_state() -> None:
    host = built(Program)
    assert not host.keeps_user_state
    assert host.get_user_state() is NO_STATE


def test_the_rest_of_a_checkpoint_goes_to_another_instance() -> None:
    host, other = built(Program, 7), built(Program)
    host._module.answer.config = {"n": 2}
    other.set_rest(host.get_rest())
    assert (other._module.size, other._module.answer.config) == (7, {"n": 2})
    assert host.get_rest()["attributes"][""]["size"] == 7
    assert built(Stateful).get_rest()["attributes"] == {}
