"""What a program's own code did to its parameters is there after a kill: predictors, cells anywhere in the tree, its mode."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.wire import messages as m
from helpers.hosted_process import HostedProcess

pytestmark = pytest.mark.process

DEMO = {"question": "q", "answer": "a"}


class Part(dx.Module):
    k = dx.Parameter(int, default=1)

    def __init__(self) -> None:
        self.inner = dspy.Predict("question -> answer")


class Program(dspy.Module):  # type: ignore[misc]
    """An unmodified dspy.Module, but for what is inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.part = Part()
        self.parts = {"x": Part()}
        self.frozen = Part()
        self.frozen._compiled = True

    def forward(self) -> Any:
        return {
            "demos": [dict(demo) for demo in self.answer.demos],
            "instructions": self.answer.signature.instructions,
            "k": [self.part.k, self.parts["x"].k, self.frozen.k],
            "lm": self.answer.lm and (self.answer.lm.model, self.answer.lm.kwargs.get("temperature")),
        }

    def append(self) -> None:
        self.answer.demos.append(dspy.Example(**DEMO))

    def assign(self) -> None:
        self.answer.signature = self.answer.signature.with_instructions("Be brief.")

    def put_another(self) -> None:
        self.answer = dspy.Predict("question -> answer")
        self.answer.demos = [dict(DEMO)]

    def load(self) -> None:
        other = Program()
        other.append()
        self.load_state(other.dump_state())

    def optimize(self) -> None:
        class Alone(dspy.Module):  # type: ignore[misc]
            def __init__(self, answer: Any) -> None:
                super().__init__()
                self.answer = answer

        examples = [dspy.Example(**DEMO).with_inputs("question")]
        self.answer.demos = dspy.LabeledFewShot(k=1).compile(Alone(self.answer), trainset=examples).answer.demos

    def count(self) -> None:
        self.part.k, self.parts["x"].k, self.frozen.k = 2, 3, 4

    def give_lm(self) -> None:
        self.answer.lm = dspy.LM("openai/some", temperature=0.5, api_key="sk-secret", cache=False)

    def fail(self) -> None:
        self.append()
        raise KeyError("after all")


class MadeInSetup(dx.Module):
    k = dx.Parameter(int, default=1)

    def setup(self) -> None:
        self.answer = dspy.Predict("question -> answer")

    def forward(self) -> Any:
        return len(self.answer.demos)

    def append(self) -> None:
        self.answer.demos.append(dict(DEMO))


class OnlyMadeInSetup(dspy.Module):  # type: ignore[misc]
    setup, forward, append = MadeInSetup.setup, MadeInSetup.forward, MadeInSetup.append


class Words(dx.Module):
    words = dx.Parameter(list, default=["a"])

    def forward(self) -> Any:
        return self.words

    def append(self) -> None:
        self.words.append("b")


def after_a_kill(fork: Any, process: HostedProcess, found: Any) -> Any:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again = fork()
    again.assign(found, kept=True, journal=str(process.folder / "journal"))
    again.control.send([m.CONTROL, 0, "kept", {}])
    assert again.recv()[0] == m.READY
    return again.client().call("__call__")


CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a demo appended": ("append", lambda seen: seen["demos"] == [DEMO]),
    "a signature assigned": ("assign", lambda seen: seen["instructions"] == "Be brief."),
    "another predictor": ("put_another", lambda seen: seen["demos"] == [DEMO]),
    "load_state": ("load", lambda seen: seen["demos"] == [DEMO]),
    "an optimizer": ("optimize", lambda seen: {**seen["demos"][0], **DEMO} == seen["demos"][0]),
    "parameters everywhere": ("count", lambda seen: seen["k"] == [2, 3, 4]),
    "an lm": ("give_lm", lambda seen: seen["lm"] == ("openai/some", 0.5)),
}


@pytest.mark.parametrize(("method", "is_kept"), CHANGES.values(), ids=CHANGES)
def test_what_a_call_changed_is_there_after_a_kill(fork: Any, method: str, is_kept: Callable[[Any], Any]) -> None:
    process = fork()
    process.start(Program)
    process.client().call(method)
    seen = after_a_kill(fork, process, Program)
    assert is_kept(seen), seen


def test_what_a_call_changed_before_it_failed_is_there_too(fork: Any) -> None:
    process = fork()
    process.start(Program)
    with pytest.raises(KeyError):
        process.client().call("fail")
    assert after_a_kill(fork, process, Program)["demos"] == [DEMO]


def test_no_secret_of_an_lm_is_written(fork: Any) -> None:
    process = fork()
    process.start(Program)
    process.client().call("give_lm")
    written = b"".join(path.read_bytes() for path in (process.folder / "journal").rglob("*") if path.is_file())
    assert b"openai/some" in written
    assert b"sk-secret" not in written


@pytest.mark.parametrize("found", [MadeInSetup, OnlyMadeInSetup])
def test_predictors_that_setup_makes_are_parameters_as_any(fork: Any, found: Any) -> None:
    process = fork()
    process.start(found)
    process.client().call("append")
    assert after_a_kill(fork, process, found) == 1


def test_a_list_that_a_call_changed_in_place_is_there_after_a_kill(fork: Any) -> None:
    process = fork()
    process.start(Words)
    process.client().call("append")
    assert after_a_kill(fork, process, Words) == ["a", "b"]


def test_the_mode_of_the_module_is_there_after_a_kill(fork: Any) -> None:
    class Moded(Words):
        def forward(self) -> Any:
            return self.training

    process = fork()
    process.start(Moded)
    process.client().call("train")
    assert after_a_kill(fork, process, Moded) is True
