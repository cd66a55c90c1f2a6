"""A saved state that a program begins with: it fits, or the start fails with what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.errors import StartError
from dspex_runtime.modules.hosting import ModuleHost
from dspex_runtime.modules.saved_state import load

DEMOS = [{"question": "q", "answer": "a"}]


class Plain(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = dspy.Predict("question -> query")
        self.two = dspy.Predict("query, context -> answer")

    def forward(self, question: str) -> Any:
        return self.two(query=self.one(question=question).query)


class Declared(dx.Module):
    temperature = dx.Parameter(float, default=0.2)
    answer = dx.predictor("question -> answer")

    def forward(self, question: str) -> Any:
        return self.answer(question=question)


def saved(program: Any, folder: Path) -> str:
    path = folder / "state.json"
    program.save(path)
    return str(path)


@pytest.mark.parametrize("make", [Plain, Declared, lambda: dspy.Predict("question -> answer")], ids=["plain", "dx", "predict"])
def test_a_program_begins_with_its_saved_state(tmp_path: Path, make: Callable[[], Any]) -> None:
    trained, fresh = make(), make()
    trained.predictors()[0].demos = DEMOS
    if isinstance(trained, Declared):
        trained.temperature = 0.9
    load(fresh, saved(trained, tmp_path))
    assert fresh.dump_state() == trained.dump_state()


def test_later_states_are_loaded_onto_the_signature_of_the_code(tmp_path: Path) -> None:
    program = Plain()
    built = program.one.signature
    load(program, saved(Plain(), tmp_path))
    assert program.one._dspex_signature is built


def test_it_is_what_a_host_begins_with(tmp_path: Path) -> None:
    trained = Declared()
    trained.temperature = 0.9
    host = ModuleHost(Declared, saved(trained, tmp_path))
    host.build((), {})
    ((_, _, holder), _) = host.parameters()
    assert (holder.load(), host.find("get_temperature").function()) == (0.9, 0.9)


def reordered(state: Any) -> None:
    fields = state["two"]["signature"]["fields"]
    fields[0], fields[1] = fields[1], fields[0]


DAMAGE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a predictor is missing": (
        lambda state: state.pop("two"),
        r"is no state of Plain: .* nothing for 'two', only for one",
    ),
    "its fields have another order": (
        reordered,
        r"is no state of Plain: .*a state for the fields query, context, answer",
    ),
    "a key is missing": (lambda state: state["one"].pop("demos"), r"is no state of Plain: .* without 'demos'"),
    "it was not saved": (lambda state: state.pop("metadata"), r'state\.json is no saved state: expected a map with "metadata"'),
    "an LM of a class of its own": (
        lambda state: state["one"].update(lm={"model": "m", "_dspy_lm_class": "mine.Own"}),
        r"state\.json cannot be loaded into Plain: ValueError: .*unsafe",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
    tmp_path: Path, damage: Callable[[Any], Any], message: str
) -> None:
    path = saved(Plain(), tmp_path)
    state = json.loads(Path(path).read_text())
    damage(state)
    Path(path).write_text(json.dumps(state))
    program = Plain()
    before = program.dump_state()
    with pytest.raises(StartError, match=message):
        load(program, path)
    assert program.dump_state() == before


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(StartError, match=r"bad\.json"):
        load(Plain(), str(tmp_path / "bad.json"))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"gone\.json cannot be read: FileNotFoundError"):
        load(Plain(), str(tmp_path / "gone.json"))
