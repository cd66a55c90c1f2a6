"""What a client edits beside parameters is kept as they are: whoever is killed, it is there again, with the states of the edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

import dspex_runtime as dx
from dspex_runtime.errors import ParameterError
from dspex_runtime.modules.mirror.pinned import Changes, pinned
from dspex_runtime.modules.parts import named_parts
from helpers import mirrored_programs
from helpers.mirrored_programs import Nested
from helpers.runtimes import following, kill_module, kill_runtime

DEMO = {"q": "1 + 1", "a": "2"}


def replaced() -> Any:
    part = dspy.ChainOfThought("question -> answer", n=3)
    part._compiled = True
    return part


def changes(**what: Any) -> Changes:
    return Changes(**{"attributes": {}, "flags": {}, "replaced": {}, **what})


LISTED = ("cot.predict", "sub.p")
# What is changed, what is kept before, and what is from then on.
ROWS: dict[str, tuple[Changes, dict[str, Any], dict[str, Any]]] = {
    "nothing": (changes(), {}, {}),
    "demos of a parameter": (changes(attributes={"sub.p": {"demos": [DEMO]}}), {}, {}),
    "a config": (changes(attributes={"sub.p": {"config": {"n": 2}}}), {}, {"config": {"sub.p": {"n": 2}}}),
    "a key": (changes(attributes={"sub.p": {"config": {"api_key": "sk"}}}), {}, {"config": {"sub.p": {}}}),
    "a flag": (changes(flags={"": True}), {}, {"compiled": ["", "frozen"]}),
    "a flag of a predictor": (changes(flags={"sub.p": True}), {}, {"compiled": ["frozen", "sub.p"]}),
    "no flag": (changes(flags={"frozen": False}), {}, {"compiled": []}),
    "a flag as it was": (changes(flags={"frozen": True}), {}, {"compiled": ["frozen"]}),
    "one more": (
        changes(attributes={"sub.p": {"config": {}}}),
        {"compiled": [], "config": {"cot.predict": {"n": 1}}, "frozen": {"x": {}}},
        {"compiled": ["frozen"], "config": {"cot.predict": {"n": 1}, "sub.p": {}}, "frozen": {"x": {}}},
    ),
    "a part": (
        changes(replaced={"cot": replaced()}),
        {"config": {"cot.predict": {"n": 1}}},
        {"compiled": ["cot", "frozen"], "config": {"cot.predict": {"n": 3}}},
    ),
}


@pytest.mark.parametrize(("edit", "kept", "expected"), ROWS.values(), ids=ROWS)
def test_what_an_edit_says_is_kept(edit: Changes, kept: dict[str, Any], expected: dict[str, Any]) -> None:
    parts = named_parts(Nested())
    assert pinned(parts, LISTED, edit, kept) == expected
    assert parts["frozen"]._compiled, "the program is as it was"


def test_a_state_that_is_no_parameters_is_kept_as_a_whole() -> None:
    parts = named_parts(Nested())
    found = pinned(parts, LISTED, changes(attributes={"frozen.p": {"demos": [DEMO]}}), {})
    assert found["frozen"]["frozen.p"] == {**parts["frozen.p"].dump_state(), "demos": [DEMO]}
    assert parts["frozen.p"].demos == []


# -- with processes

Up = Callable[[], dx.Runtime]


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """Start one runtime after the other on the same state directory."""
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("DSPEX_SOCKET", raising=False)
    child = {"module": f"{mirrored_programs.__file__}:Nested", "backoff": "none"}
    children = [{"id": level, **child, "durability": level} for level in ("journal", "fsync", "memory")]
    config = {"version": 1, "name": "pinned", "runtime": {"spares": 1}, "tree": {"max_restarts": 100, "children": children}}
    with following() as start:
        yield lambda: start(config, state_dir=tmp_path / "state")


def edit(proxy: Any) -> None:
    """All that is no parameter, and two that are, pushed as one."""
    proxy.cot.predict.update_config(temperature=0.5, n=3)
    proxy.cot.predict.demos = [{"question": "q", "answer": "a"}]
    proxy.sub._compiled = proxy._compiled = True
    proxy.sub.p._compiled = True
    proxy.frozen.p.demos = [DEMO]
    proxy.frozen.p.config = {"n": 2}
    proxy.a[2][0].demos = [{"n": 1, "m": 2}]
    other = dspy.Predict("x -> y", n=4)
    other.demos = [{"x": 1, "y": 2}]
    proxy.d["k"] = other
    proxy.set_lm(None)


def shown(program: Any) -> Any:
    return (
        [(name, p.demos, p.config, p._compiled) for name, p in program.named_predictors()],
        {name: part._compiled for name, part in program.named_sub_modules() if isinstance(part, dspy.Module)},
        [(p.demos, p.config) for p in (program.frozen.p, program.a[2][0], program.a[3]["k"])],
    )


@pytest.mark.process
def test_an_edit_is_there_again_whoever_is_killed(up: Up) -> None:
    expected = Nested()
    for part in (expected, first := up()):
        for program in [part] if part is expected else [first.module(id) for id in ("journal", "fsync", "memory")]:
            edit(program)
    for id in ("journal", "fsync", "memory"):
        other = first.module(id)
        assert shown(other) == shown(expected), "another proxy sees it"
        kill_module(first, id)
        assert shown(first.module(id)) == shown(other) == shown(expected)
        kill_module(first, id)
        assert shown(other) == shown(expected), "the second time, too"
    kill_runtime(first)
    second = up()
    for id in ("journal", "fsync"):
        assert shown(second.module(id)) == shown(expected)
    again = second.module("journal")
    again.sub._compiled = again.frozen._compiled = False
    again.frozen.p.demos = []
    again.cot.predict.config = {}
    again.set_lm(None)
    kill_module(second, "journal")
    found = second.module("journal")
    assert (found._compiled, found.sub._compiled, found.frozen._compiled) == (True, False, False)
    assert (found.cot.predict.config, found.frozen.p.demos) == ({}, [])
    assert "frozen.p" in found.dx.params, "what is frozen no more is a parameter as any"
    found.frozen.p.demos = [DEMO, DEMO]
    found.set_lm(None)
    kill_runtime(second)
    assert up().module("journal").frozen.p.demos == [DEMO, DEMO]


@pytest.mark.process
def test_an_edit_that_is_refused_keeps_nothing(up: Up) -> None:
    rt = up()
    one, two = rt.module("journal"), rt.module("journal")
    mine = one.cot.predict
    two.cot.predict.demos = [{"question": "theirs", "answer": "a"}]
    two.set_lm(None)
    mine.demos = [{"question": "mine", "answer": "a"}]
    one.sub._compiled = True
    one.frozen.p.demos = [DEMO]
    with pytest.raises(ParameterError, match="version"), dspy.context(lm=DummyLM([])):
        one(question="q")
    assert (one.sub._compiled, one.frozen.p.demos) == (False, [])
    kill_module(rt, "journal")
    assert (two.sub._compiled, two.frozen.p.demos, len(two.cot.predict.demos)) == (False, [], 1)
